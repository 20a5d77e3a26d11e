"""One run of a worker: its parts wired together, and the order in which they stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from rowqueue.app import App
from rowqueue.core.errors import SchemaError
from rowqueue.core.finish import Finish
from rowqueue.core.states import Verb
from rowqueue.store import AsyncStore, Store
from rowqueue.worker import events as happened
from rowqueue.worker.attempt import Held, Interruption
from rowqueue.worker.children import Children
from rowqueue.worker.claiming import Claiming
from rowqueue.worker.dispatch import Dispatch
from rowqueue.worker.endings import Endings
from rowqueue.worker.events import Events
from rowqueue.worker.execute import Execution
from rowqueue.worker.finishing import Finishing
from rowqueue.worker.options import WorkerOptions
from rowqueue.worker.patience import Patience
from rowqueue.worker.renewal import Renewal
from rowqueue.worker.slots import Slots
from rowqueue.worker.threads import Threads
from rowqueue.worker.upkeep import Upkeep
from rowqueue.worker.wake import Wake

UNWIND = 2.0
"""Seconds that cancelled handlers get for their ``finally`` blocks before their jobs are given back."""

FLUSH = 10.0
"""Seconds that a stopping worker waits at most for a database that does not take its last writes."""


class Runtime:
    """What exists between a worker's start and its stop; everything here is for the loop's thread.

    Connections: two of ``store`` (claims on one while endings are written on the other; upkeep
    takes whichever is free) and one of the renewal's. LISTEN will have the fourth.

    Args:
        app: jobs and database.
        options: the worker's.
        events: who is told.
        loop: the running loop.
        app_path: where child processes find the app.
    """

    def __init__(
        self,
        app: App,
        options: WorkerOptions,
        events: Events,
        loop: asyncio.AbstractEventLoop,
        app_path: str | None,
    ) -> None:
        self._options = options
        self._events = events
        self._loop = loop
        self._held = Held()
        self._changed = Wake()
        self._hard = False
        self._stopping = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        database, settings = app.stores.database, app.stores.settings
        self._store = AsyncStore.over(database, settings, pool_size=2)
        patience = Patience(events)
        self._patience = patience
        self._threads = Threads(options.concurrency, "rowqueue-handler")
        self._slots = Slots(options.queues, options.concurrency, self._look)
        self._finishing = Finishing(self._store, self._held, patience, events, self._written)
        endings = Endings(settings.retry, settings.payload_limit)
        self._children = Children(app_path)
        execution = Execution(
            loop, self._threads, self._children, self._slots, endings, self._finishing, events
        )
        self._dispatch = Dispatch(
            app.jobs, app.stores, self._store, self._held, execution, patience, events, self._look
        )
        self._claiming = Claiming(
            options, self._store, self._slots, self._dispatch, self._unwritten, patience, self._nothing_left
        )
        self._upkeep = Upkeep(options, app.jobs.keys(), self._store, patience, self._claiming.ready, events)
        self._renewal = Renewal(
            options, Store.over(database, settings, pool_size=1), self._held, loop, events
        )

    # run and stop

    async def run(self) -> int:
        """Work until stopped or drained; returns the exit code."""
        try:
            if await self._opened():
                return await self._work()
            return 0
        finally:
            await self._close()

    def stop(self, hard: bool) -> None:
        """Stop; a second time with ``hard`` to wait for no handler."""
        self._hard = self._hard or hard
        self._events.emit(happened.WorkerStopping, self._options.worker_id, self._hard)
        self._stopping.set()
        self._changed.up()

    def stop_from_anywhere(self, hard: bool) -> None:
        """``stop`` from another thread, or from a handler."""
        try:
            self._loop.call_soon_threadsafe(self.stop, hard)
        except RuntimeError:  # its loop is closed: it has stopped
            return

    async def _opened(self) -> bool:
        """Wait until the database is there; False when stopped before it was."""

        async def check() -> None:
            try:
                await self._store.check_schema()
            except SchemaError as error:
                wrong.append(error)

        wrong: list[SchemaError] = []
        opening = self._task(self._patience.ask("opening the store", check))
        await self._either(opening)
        await self._ended([opening])
        if wrong:  # at the start a person is there to mend it; later it is waited for
            raise wrong[0]
        return not self._stopping.is_set()

    async def _work(self) -> int:
        options = self._options
        self._renewal.start()
        self._loops += map(
            self._task, self._finishing.loops() + self._dispatch.loops() + self._upkeep.loops()
        )
        self._events.emit(happened.WorkerStarted, options.worker_id, dict(options.queues))
        claiming = self._task(self._claiming.run())
        try:
            await self._either(claiming)
        except BaseException:  # cancelled from outside, or a fault of ours: nobody waits for handlers
            self._hard = True
            await self._wind_down(claiming)
            raise
        return await self._wind_down(claiming)

    async def _wind_down(self, claiming: asyncio.Task[None]) -> int:
        self._claiming.stop()
        await self._until(claiming.done, FLUSH)  # its last claim may be under way
        if not await self._until(
            lambda: not self._slots.busy, self._options.grace, or_when=lambda: self._hard
        ):
            await self._give_back()
        await self._until(lambda: not self._unwritten(), min(FLUSH, self._options.lease))
        await self._ended([claiming])
        left = self._slots.busy
        self._events.emit(happened.WorkerStopped, self._options.worker_id, left)
        return 1 if left else 0

    async def _give_back(self) -> None:
        """Tell every handler to stop, and give back the jobs of those that do not."""
        for attempt in self._held.now():
            attempt.interrupt(Interruption.STOP)
        await self._until(lambda: not self._endable_left(), UNWIND)
        for attempt in self._held.now():
            # An open transaction of complete_in locks its row. It ends with the process; then
            # the job is completed, or its lease runs out.
            if not attempt.ended and not attempt.control.completing:
                attempt.ended = True
                self._finishing.add(attempt, Finish(attempt.claim, Verb.RELEASE), raised=False)

    def _endable_left(self) -> bool:
        return any(attempt.can_be_ended and not attempt.ended for attempt in self._held.now())

    async def _close(self) -> None:
        await self._ended(self._loops)
        await asyncio.to_thread(self._children.close)
        self._threads.close()
        goodbye = self._task(self._forget())
        await self._until(goodbye.done, FLUSH)
        await self._ended([goodbye])
        await asyncio.to_thread(self._renewal.stop, 1.0)

    async def _forget(self) -> None:
        try:
            await self._store.forget_worker(self._options.worker_id)
        except Exception:  # noqa: BLE001 - others forget it when it is silent for long
            return
        finally:
            await self._store.close()

    # what the parts tell each other

    def _look(self) -> None:
        self._claiming.look()
        self._changed.up()

    def _written(self, again: float | None) -> None:
        if again is not None and again <= 0:
            self._claiming.ready()
        elif again is not None:
            self._upkeep.due_in(again)
        self._look()

    def _unwritten(self) -> int:
        return len(self._finishing) + len(self._dispatch)

    async def _nothing_left(self) -> bool:
        return self._options.queues.keys().isdisjoint(await self._upkeep.promote())

    # waiting

    def _task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        task.add_done_callback(lambda _: self._changed.up())
        return task

    async def _either(self, task: asyncio.Task[None]) -> None:
        """Wait until a task ends, and raise what it raised, or until a stop is asked for."""
        stop = self._loop.create_task(self._stopping.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._ended([stop])
        if task.done():
            task.result()

    async def _until(
        self, condition: Callable[[], bool], seconds: float, or_when: Callable[[], bool] = lambda: False
    ) -> bool:
        """Wait for a condition; False when the time was up first, or ``or_when`` came true."""
        ends = time.monotonic() + seconds
        while not condition():
            left = ends - time.monotonic()
            if left <= 0 or or_when():
                return False
            await self._changed.sleep(min(left, 0.1))
        return True

    async def _ended(self, tasks: list[Any]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
