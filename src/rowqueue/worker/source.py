"""One table that a worker works: all that stands between its claims and its endings."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rowqueue.app import App
from rowqueue.app.stores import Stores
from rowqueue.app.table_job import Handler, TableJob
from rowqueue.core.errors import StoreError
from rowqueue.core.finish import Finish
from rowqueue.core.states import Verb
from rowqueue.core.values import Claim
from rowqueue.operations.claim import claim
from rowqueue.operations.wake import Look, look
from rowqueue.store import AsyncStore, Store
from rowqueue.worker.attempt import Attempt, Held, Interruption
from rowqueue.worker.buffer import Buffer
from rowqueue.worker.children import Children
from rowqueue.worker.claiming import Claiming, Take
from rowqueue.worker.dispatch import Dispatch
from rowqueue.worker.drain import Drain
from rowqueue.worker.endings import Endings
from rowqueue.worker.events import Events
from rowqueue.worker.execute import Execution
from rowqueue.worker.finishing import Finishing
from rowqueue.worker.marks import Marks
from rowqueue.worker.options import WorkerOptions
from rowqueue.worker.patience import Patience
from rowqueue.worker.renewal import Renewal
from rowqueue.worker.slots import Slots, TableSlots
from rowqueue.worker.threads import Threads
from rowqueue.worker.upkeep import Upkeep
from rowqueue.worker.waking import wake

if TYPE_CHECKING:
    from rowqueue.worker.holds import Ends, Holds

SILENCE = 60.0
"""Seconds that a PostgreSQL server may keep a worker waiting for an answer; then it hangs up, and asks on a new connection."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all sources of a worker have in common.

    Attributes:
        loop: where async handlers run.
        threads: where the others run.
        children: whose processes run jobs with ``process=True``.
        patience: waits for a database that is away.
        events: who is told.
        on_change: called when a slot got free or an ending was written.
        drain: what all of them know of being empty.
        turn: on SQLite, whose held job has the write lock of the file.
    """

    loop: asyncio.AbstractEventLoop
    threads: Threads
    children: Children
    patience: Patience
    events: Events
    on_change: Callable[[], None]
    drain: Drain
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Source:
    """Works one table. Connections: two of ``store``, claims on one while endings are written on the other,
    one of the renewal's, and one that listens.

    Args:
        options: the worker's, for this table.
        shared: the worker's parts.
        stores: what handlers' contexts use, and the settings.
        jobs: the job of a kind.
        kinds: the kinds it knows, for people to see.
        table: a table of the user's, and its only job; None is the default table.
    """

    def __init__(
        self,
        options: WorkerOptions,
        shared: Shared,
        stores: Stores,
        jobs: Callable[[str], Handler | None],
        kinds: Sequence[str] = (),
        table: TableJob[..., Any] | None = None,
    ) -> None:
        settings, patience, events = stores.settings, shared.patience, shared.events
        mapping, layout = (None, None) if table is None else (table.store.table, table.store.layout)
        self._options = options
        self._ours = table is None
        self._on_change = shared.on_change
        # Of a claim that takes longer than its lease nothing would be left.
        silence = max(SILENCE, options.lease)
        self.store = AsyncStore.over(
            stores.database, settings, table=mapping, layout=layout, pool_size=2, silence=silence
        )
        self.held = Held()
        self.slots: Slots
        if table is None:
            self.slots = Slots(options.queues, options.concurrency, self._changed)
        else:
            self.slots = TableSlots(table.kind, options.concurrency, self._changed)
        self._patience, self._events = patience, events
        self._change_told = False
        self._finishing = Finishing(self.store, self.held, patience, events, self._written)
        endings = Endings(settings.retry, settings.payload_limit)
        execution = Execution(
            shared.loop,
            shared.threads,
            shared.children,
            self.slots,
            endings,
            self._finishing,
            events,
            self._make_holds,
        )
        self._execution, self._shared, self._endings = execution, shared, endings
        self._buffer = Buffer(options.prefetch, self.slots, execution.start, self.held, self._finishing)
        self._dispatch = Dispatch(
            jobs, stores, self.store, self.held, self._buffer, patience, events, self._changed
        )
        self.claiming = Claiming(
            options,
            _take(self.store, options) if table is None else _take_rows(self.store, options, table),
            self.slots,
            self._dispatch,
            self._unwritten,
            patience,
            shared.drain,
            self._nothing_left,
            fickle=table is not None and table.before_claim is not None,
            see=self._see if self._ours else None,
            on_due=lambda due: self._upkeep.due_is(due),  # noqa: PLW0108 - it is made below
        )
        self._upkeep = Upkeep(
            options,
            kinds,
            self.store,
            patience,
            self.claiming.ready,
            events,
            lambda: self.claiming.resting,
            ours=self._ours,
        )
        self._renewing = Store.over(
            stores.database, settings, table=mapping, layout=layout, pool_size=1, silence=silence
        )
        self.renewal = Renewal(options, self._renewing, self.held, shared.loop, events)

    @classmethod
    def of_app(cls, app: App, options: WorkerOptions, shared: Shared) -> Source:
        """The app's default table."""
        return cls(options, shared, app.stores, app.jobs.get, list(app.jobs))

    @classmethod
    def of_table(cls, job: TableJob[..., Any], options: WorkerOptions, shared: Shared) -> Source:
        """A table of the user's."""
        return cls(options, shared, job.stores, lambda _: job, table=job)

    async def check(self) -> None:
        """Raise a SchemaError where a table is missing, too old or too new.

        It also takes the connection of the renewals: a full server must not refuse it once jobs run.
        """
        await asyncio.to_thread(self._renewing.connect)
        if self._ours:
            await self.store.check_schema()
        else:
            await self._upkeep.rescue()  # it touches the table, and what stands beside it

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What must run for ever, beside the claiming."""
        wakes = wake(self._options, self.store, self.claiming, self._upkeep, self._patience, self._events)
        return self._finishing.loops() + self._dispatch.loops() + self._upkeep.loops() + wakes

    def stop(self) -> None:
        """Claim no more, and give back what was claimed ahead."""
        self.claiming.stop()
        self._buffer.stop()

    @property
    def is_idle(self) -> bool:
        """Nothing runs or waits for a slot, and all endings are written."""
        return not self.slots.busy and not self._buffer and not self._unwritten()

    @property
    def is_written(self) -> bool:
        """All endings are written."""
        return not self._unwritten()

    def interrupt(self) -> None:
        """Tell every handler to stop."""
        for attempt in self.held.now():
            attempt.interrupt(Interruption.STOP)

    @property
    def endable_left(self) -> bool:
        """A handler that can be made to stop has not yet."""
        return any(attempt.can_be_ended and not attempt.ended for attempt in self.held.now())

    def give_back(self) -> None:
        """Release the jobs of handlers that did not stop."""
        for attempt in self.held.now():
            # An open transaction of complete_in locks its row. It ends with the process; then
            # the job is completed, or its lease runs out.
            if not attempt.ended and not attempt.control.completing:
                self._release(attempt)

    def _release(self, attempt: Attempt) -> None:
        attempt.ended = True
        if attempt.abort is not None:  # its row is locked until its transaction ends
            threading.Thread(target=_abort, args=[attempt.abort], name="rowqueue-abort", daemon=True).start()
        self._finishing.add(attempt, Finish(attempt.claim, Verb.RELEASE), raised=False)

    async def close(self) -> None:
        """Say goodbye where others know of this worker, and close the connections."""
        try:
            if self._ours:
                await self._upkeep.forget()
        except Exception:  # noqa: BLE001 - others forget it when it is silent for long
            return
        finally:
            await self._execution.close()
            await self.store.close()

    def _make_holds(self, ends: Ends) -> Holds:
        from rowqueue.worker.holds import Holds

        shared = self._shared
        return Holds(
            self._renewing,
            self.store,
            shared.loop,
            shared.threads,
            self._endings,
            shared.turn,
            self._options.concurrency,
            self.renewal.leave_out,
            ends,
        )

    # what the parts tell each other

    def _changed(self) -> None:
        """A slot got free, or endings were written: told once for all that happens in this turn of the loop."""
        if (
            not self._change_told and not self._shared.loop.is_closed()
        ):  # as when a left coroutine is collected
            self._change_told = True
            self._shared.loop.call_soon(self._tell_change)

    def _tell_change(self) -> None:
        self._change_told = False
        self._buffer.fill()
        self.claiming.look()
        self._on_change()

    def _written(self, again: float | None) -> None:
        if again is not None and again <= 0:
            self.claiming.ready()
        elif again is not None:
            self._upkeep.due_in(again)
        self._changed()

    def _unwritten(self) -> int:
        return len(self._finishing) + len(self._dispatch)

    def _see(self, queues: list[str]) -> Awaitable[Look]:
        return self.store.run(look(queues))

    async def _nothing_left(self) -> bool:
        promoted = await self._upkeep.promote()
        return self._options.queues.keys().isdisjoint(self.slots.slot_of(queue) for queue in promoted)


def _abort(abort: Callable[[], None]) -> None:
    with suppress(StoreError):  # then it ends with the process, and a rescue takes the row
        abort()


def _take(store: AsyncStore, options: WorkerOptions) -> Take:
    """Claims from the queues of the default table."""
    marks = Marks()

    async def take(wanted: dict[str, int], limit: int) -> list[Claim] | None:
        after, began = marks.now(), time.monotonic()
        operation = claim(store.settings, limit, wanted, None, None, options.lease, options.worker_id, after)
        claims = await store.run(operation)
        marks.note(wanted, after, claims, time.monotonic() - began)
        return claims

    return take


def _take_rows(store: AsyncStore, options: WorkerOptions, job: TableJob[..., Any]) -> Take:
    """Claims rows of a table of the user's, as far as ``before_claim`` allows."""

    async def take(wanted: dict[str, int], limit: int) -> list[Claim] | None:
        where = None if job.before_claim is None else job.before_claim()
        if inspect.isawaitable(where):
            where = await where
        if where is False:
            return None
        limit = min(limit, sum(wanted.values()))
        return await store.claim(limit, where=where, lease=options.lease, worker=options.worker_id)

    return take
