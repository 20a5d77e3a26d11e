"""One run of a worker: its parts wired together, and the order in which they stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from rowqueue.app import App
from rowqueue.app.table_job import TableJob
from rowqueue.core.errors import SchemaError
from rowqueue.worker import events as happened
from rowqueue.worker.children import Children
from rowqueue.worker.drain import Drain
from rowqueue.worker.events import Events
from rowqueue.worker.options import WorkerOptions
from rowqueue.worker.patience import Patience
from rowqueue.worker.source import Shared, Source
from rowqueue.worker.threads import Threads
from rowqueue.worker.wake import Wake

UNWIND = 2.0
"""Seconds that cancelled handlers get for their ``finally`` blocks before their jobs are given back."""

RETURN = 0.5
"""Seconds that it waits for threads whose jobs are given back: one that listens returns a moment later."""

FLUSH = 10.0
"""Seconds that a stopping worker waits at most for a database that does not take its last writes."""


class Runtime:
    """What exists between a worker's start and its stop; everything here is for the loop's thread.

    Args:
        app: jobs and database; None works tables only.
        options: the worker's; without queues the default table is not worked.
        tables: jobs of tables of the user's, each with the options for it.
        events: who is told.
        loop: the running loop.
        app_path: where child processes find the app.
    """

    def __init__(
        self,
        app: App | None,
        options: WorkerOptions,
        tables: Sequence[tuple[TableJob[..., Any], WorkerOptions]],
        events: Events,
        loop: asyncio.AbstractEventLoop,
        app_path: str | None,
    ) -> None:
        self._options = options
        self._events = events
        self._loop = loop
        self._changed = Wake()
        self._hard = False
        self._stopping = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._patience = Patience(events)
        with_queues = app if options.queues else None
        most = sum(each.concurrency for _, each in tables)
        self._threads = Threads(
            most + (options.concurrency if with_queues is not None else 0), "rowqueue-handler"
        )
        self._children = Children(app_path)
        shared = Shared(
            loop,
            self._threads,
            self._children,
            self._patience,
            events,
            self._look,
            Drain(self._idle, self._look_all),
        )
        self._sources = [] if with_queues is None else [Source.of_app(with_queues, options, shared)]
        self._sources += [Source.of_table(job, each, shared) for job, each in tables]
        self._queues = dict(options.queues) | {job.kind: each.concurrency for job, each in tables}

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
        for source in self._sources:
            source.stop()  # first, or what the event says would not be true yet
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
                for source in self._sources:
                    await source.check()
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
        for source in self._sources:
            source.renewal.start()
            self._loops += map(self._task, source.loops())
        self._events.emit(happened.WorkerStarted, self._options.worker_id, self._queues)
        claiming = self._task(self._claim())
        try:
            await self._either(claiming)
        except BaseException:  # cancelled from outside, or a fault of ours: nobody waits for handlers
            self._hard = True
            await self._wind_down(claiming)
            raise
        return await self._wind_down(claiming)

    async def _wind_down(self, claiming: asyncio.Task[None]) -> int:
        for source in self._sources:
            source.stop()  # drained, or cancelled from outside
        await self._until(claiming.done, FLUSH)  # its last claim may be under way
        if not await self._until(lambda: not self._busy(), self._options.grace, or_when=lambda: self._hard):
            await self._give_back()
        await self._until(
            lambda: all(source.is_written for source in self._sources), min(FLUSH, self._options.lease)
        )
        await self._ended([claiming])
        await self._until(lambda: not self._busy(), RETURN)
        left = self._busy()
        self._events.emit(happened.WorkerStopped, self._options.worker_id, left)
        return 1 if left else 0

    async def _claim(self) -> None:
        """Claim from all sources until stopped, or until all are drained."""
        claims = [self._task(source.claiming.run()) for source in self._sources]
        try:
            await asyncio.gather(*claims)
        finally:
            await self._ended(claims)

    async def _give_back(self) -> None:
        """Tell every handler to stop, and give back the jobs of those that do not."""
        for source in self._sources:
            source.interrupt()
        await self._until(lambda: not any(source.endable_left for source in self._sources), UNWIND)
        for source in self._sources:
            source.give_back()

    async def _close(self) -> None:
        await self._ended(self._loops)
        await asyncio.to_thread(self._children.close)
        self._threads.close()
        goodbyes = [self._task(source.close()) for source in self._sources]
        await self._until(lambda: all(goodbye.done() for goodbye in goodbyes), FLUSH)
        await self._ended(goodbyes)
        await asyncio.gather(*(asyncio.to_thread(source.renewal.stop, 1.0) for source in self._sources))

    # what the parts tell each other

    def _look(self) -> None:
        self._changed.up()
        if self._options.drain and len(self._sources) > 1 and self._idle():
            self._look_all()

    def _look_all(self) -> None:
        for source in self._sources:
            source.claiming.look()

    def _idle(self) -> bool:
        return all(source.is_idle for source in self._sources)

    def _busy(self) -> int:
        return sum(source.slots.busy for source in self._sources)

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
