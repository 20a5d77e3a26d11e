"""Noticing commits to an SQLite file while there is nothing to do.

Every commit is written to the file's write-ahead log first. On Linux the system tells of that write;
elsewhere the log's times are asked for every 50 ms. The commit can be seen only a little later, when
it has reached the disk: until then ``PRAGMA data_version`` is asked, which takes microseconds. A thread
does it, because the loop's timers are too coarse for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from rowqueue.core.errors import StoreError
from rowqueue.operations.base import Operation
from rowqueue.operations.wake import Look
from rowqueue.store import AsyncStore
from rowqueue.store.drivers.sqlite import SQLiteConnection
from rowqueue.store.runner import run
from rowqueue.worker.inotify import Inotify

PAUSES = (0.0003,) * 6 + (0.001,) * 4 + (0.004, 0.01, 0.03)
"""Seconds between two questions after a write, until its commit can be seen: 50 ms in all."""

FINEST = 0.001
"""The shortest time for which the system waits for a descriptor (seconds)."""

EVERY = 0.05
"""Seconds between two questions for the log's times, where the system does not tell."""

AGAIN = 5.0
"""Seconds until it is tried again after a failure; the poll does its work meanwhile."""


class Writes(Protocol):
    """Whoever knows when a file is written."""

    def wait(self, timeout: float | None) -> bool:
        """Wait for a write (seconds; None: for ever, or until ``wake``); False when there was none."""
        ...

    def wake(self) -> None:
        """Let ``wait`` return, from any thread."""
        ...

    def close(self) -> None:
        """Watch no more."""
        ...


class Watching:
    """Watches while the worker rests; what happens while it works costs nothing, and is noticed at the next rest.

    Args:
        store: over an SQLite file; the watch has a connection of its own.
        see: what to look for after a commit; None does not look.
        seen: called in the loop's thread with what was seen, when that is news.
        writes: makes what knows of writes to a file.
    """

    def __init__(
        self,
        store: AsyncStore,
        see: Operation[Look] | None,
        seen: Callable[[Look | None], None],
        writes: Callable[[Path], Writes] | None = None,
    ) -> None:
        self._database = store.database
        self._statements = store.database.statements(store.tables)
        self._see = see
        self._seen = seen
        self._writes = writes or best_writes
        self._loop = asyncio.get_running_loop()
        self._resting = threading.Event()
        self._stopped = threading.Event()
        self._waiting: Writes | None = None
        self._lock = threading.Lock()

    def rests(self, queues: Collection[str], after_work: bool) -> None:  # noqa: ARG002 - a commit is for all queues
        """There are free slots."""
        self._resting.set()

    def works(self) -> None:
        """There may be something to do."""
        self._resting.clear()

    async def run(self) -> None:
        """Watch until cancelled."""
        thread = threading.Thread(target=self._run, name="rowqueue-watch", daemon=True)
        thread.start()
        try:
            await asyncio.Event().wait()
        finally:
            self._stopped.set()
            self._resting.set()
            with self._lock:
                if self._waiting is not None:
                    self._waiting.wake()
            await asyncio.to_thread(thread.join, 1.0)

    # in the thread

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._watch()
            except (StoreError, OSError, sqlite3.Error) as error:
                logging.getLogger("rowqueue").debug("watching the file failed: %s", error)
                self._stopped.wait(AGAIN)

    def _watch(self) -> None:
        path = self._database.file()
        with (
            contextlib.closing(self._database.connect()) as connection,
            contextlib.closing(self._writes(Path(f"{path}-wal"))) as writes,
        ):
            self._wait_on(writes)
            try:
                self._look_on(connection, writes)
            finally:
                self._wait_on(None)

    def _wait_on(self, writes: Writes | None) -> None:
        with self._lock:  # or a descriptor could be closed just when it is to be woken
            self._waiting = writes

    def _look_on(self, connection: sqlite3.Connection, writes: Writes) -> None:
        known, written = 0, True  # a write before the watch began may not be committed yet
        while not self._stopped.is_set():
            self._resting.wait()
            known = self._look(connection, known)
            if written:
                known = self._follow(connection, writes, known)
            written = writes.wait(None)

    def _follow(self, connection: sqlite3.Connection, writes: Writes, known: int) -> int:
        """Look when the commit can be seen whose writes were told of: the first one after them.

        A commit before it was there already when they were told of, because there is one writer at a time.
        """
        pauses = iter(PAUSES)
        while self._resting.is_set() and (pause := next(pauses, None)) is not None:
            if pause < FINEST:
                time.sleep(pause)
            again = writes.wait(0.0 if pause < FINEST else pause)
            before, known = known, self._look(connection, known)
            if again:
                pauses = iter(PAUSES)
            elif known != before:
                break
        return known

    def _look(self, connection: sqlite3.Connection, known: int) -> int:
        """Look if there was a commit; returns what tells of the next one."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version != known:
            look = (
                None if self._see is None else run(self._see, SQLiteConnection(connection, self._statements))
            )
            if look is None or look.ready or look.due is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has stopped
                    self._loop.call_soon_threadsafe(self._seen, look)
        return int(version)


class Times:
    """Asks for a file's times: for systems that do not tell of writes.

    Args:
        path: the file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._woken = threading.Event()
        self._known = self._times()

    def wait(self, timeout: float | None) -> bool:
        """Wait for a write; False when there was none."""
        ends = None if timeout is None else time.monotonic() + timeout
        while (now := self._times()) == self._known:
            if self._woken.wait(EVERY if ends is None else min(EVERY, max(0.0, ends - time.monotonic()))):
                return False
            if ends is not None and time.monotonic() >= ends:
                return False
        self._known = now
        return True

    def wake(self) -> None:
        """Let ``wait`` return."""
        self._woken.set()

    def close(self) -> None:
        """There is nothing to close."""

    def _times(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_size, found.st_ino)


def best_writes(path: Path) -> Writes:
    """What the system has to offer."""
    try:
        return Inotify(path)
    except OSError:
        return Times(path)
