"""What wakes a worker besides its poll, by database."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Mapping
from typing import Any

from rowqueue.core.states import State
from rowqueue.operations.wake import look, say_idle
from rowqueue.sql.statements.wake import channel_of
from rowqueue.store import AsyncStore
from rowqueue.worker.claiming import Claiming
from rowqueue.worker.events import Events
from rowqueue.worker.idling import Idling
from rowqueue.worker.options import WorkerOptions
from rowqueue.worker.patience import Patience
from rowqueue.worker.upkeep import Upkeep
from rowqueue.worker.watching import Watching

Loops = list[Coroutine[Any, Any, None]]


def wake(
    options: WorkerOptions,
    store: AsyncStore,
    claiming: Claiming,
    upkeep: Upkeep,
    patience: Patience,
    events: Events,
) -> Loops:
    """Have the database wake the claiming; returns what must run for that, for ever.

    An SQLite file is watched, whoever writes to it. PostgreSQL tells of our own jobs only, because
    other programs that insert into a table of the user's tell nobody.

    Args:
        options: the worker's, for this table.
        store: its table.
        claiming: what is woken.
        upkeep: what is told of jobs that are due later.
        patience: waits for a database that is away.
        events: who is told of that.
    """
    if not options.listen or options.drain:
        return []
    if store.database.name == "sqlite":
        see = None if store.table is not None else look(list(options.queues))
        claiming.rest = watching = Watching(store, see, claiming.seen)
        return [watching.run()]
    if not store.can_wake:
        return []
    return _listen(options, store, claiming, upkeep, patience, events)


def _listen(
    options: WorkerOptions,
    store: AsyncStore,
    claiming: Claiming,
    upkeep: Upkeep,
    patience: Patience,
    events: Events,
) -> Loops:
    from rowqueue.worker.listening import Listening  # it needs the driver

    def told(state: State, queue: str) -> None:
        if state is State.SCHEDULED:
            upkeep.ask()
        else:
            claiming.ready([queue])

    def up() -> None:
        idling.up()
        claiming.look_after(0.0)

    def say(seconds: Mapping[str, float]) -> Awaitable[None]:
        return store.run(say_idle(options.worker_id, seconds))

    listening = Listening(store.database, channel_of(store.tables), told, up, events)
    claiming.rest = idling = Idling(say, lambda: listening.up, claiming.look_after, patience)
    return [listening.run(), idling.run()]
