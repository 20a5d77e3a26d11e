"""The few connections that a store keeps, and the transactions around an operation."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from rowqueue.core.errors import DatabaseBusy, StoreError, TransactionConflict
from rowqueue.operations.base import Access, Operation
from rowqueue.sql.compiled import Call
from rowqueue.sql.statements.catalog import Statements
from rowqueue.store import holding
from rowqueue.store.database import Database
from rowqueue.store.runner import run, run_async
from rowqueue.store.silence import Silence
from rowqueue.store.together import Entry, Fate, Together, Writer

T = TypeVar("T")

_TRIES = 8
"""How often a transaction of ours is run again after a deadlock or a lock time-out."""


class _Connections:
    """What the pools go by.

    Args:
        database: where to connect.
        statements: the store's statements for rowqueue's own driver.
        size: the most connections (PostgreSQL); of an async pool, for each event loop.
        whole: every writing operation is a transaction, because on mapped tables they take several statements.
        silence: how long an operation waits for a server (seconds); then it hangs up. None waits for ever.
    """

    def __init__(
        self,
        database: Database,
        statements: Statements,
        size: int,
        *,
        whole: bool = False,
        silence: float | None = None,
    ) -> None:
        self._database = database
        self._statements = statements
        # Without RETURNING a write takes several statements.
        self._whole = whole or not statements.dialect.has_returning
        self._size = size
        self._table = statements.layout.base.fullname
        self._patience = None if database.name == "sqlite" else silence
        self._reset()

    def _reset(self) -> None:
        """Begin without connections."""
        raise NotImplementedError

    def refuse_inside(self, operation: Operation[Any]) -> None:
        """Refuse what would wait for a held claim that this thread or task is inside of.

        Raises:
            ConfigurationError: it would wait for ever.
        """
        holding.refuse_inside(self._database, self._table, operation)

    def _opens(self, access: Access) -> bool:
        return access is Access.TRANSACTION or (access is Access.WRITE and self._whole)


class Pool(_Connections):
    """Sync connections: at most ``size`` of them, opened when needed and kept.

    On SQLite there is one writer and one reader, because a file takes one writer at a time; writing operations
    that wait for it share a transaction.
    """

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: dict[str, list[Writer]] = {"read": [], "write": []}
        self._silence = None if self._patience is None else Silence(self._patience)
        self._seats: dict[str, AbstractContextManager[Any]]
        self._single = self._database.name == "sqlite"
        if self._single:  # a lock takes a tenth of a semaphore's time
            self._seats = {"read": threading.Lock(), "write": threading.Lock()}
        else:
            seats = threading.BoundedSemaphore(self._size)
            self._seats = {"read": seats, "write": seats}
        self._together = Together(self.connection)

    def run(self, operation: Operation[T]) -> T:
        """Run an operation in a transaction of ours, again after a deadlock.

        Raises:
            StoreError: what the database answered, typed.
            ConfigurationError: it would wait for a held claim that this thread is inside of.
        """
        self.refuse_inside(operation)
        return _again(lambda: self._run_once(operation))

    def run_soon(self, operation: Operation[T], threads: Callable[[Callable[[], None]], object]) -> Future[T]:
        """``run`` without waiting: an operation that waits for the writer takes no thread.

        Args:
            operation: what to run.
            threads: runs a call in a thread.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()

        def settle() -> None:
            try:
                # Not by ``run``, which may wait for one whose turn has come, but who has no thread.
                future.set_result(_again(lambda: self._together.settle(entry)))
            except BaseException as error:  # noqa: BLE001 - whoever waits for it raises it
                future.set_exception(error)

        def wake() -> None:
            if entry.fate is Fate.WRITTEN:
                future.set_result(entry.result)
            else:
                threads(settle)

        self._forget_parent()
        entry = Entry(operation, wake)
        if self._together.join(entry):
            threads(settle)
        return future

    def shares(self, operation: Operation[Any]) -> bool:
        """It waits for the one writer, and shares a transaction with others that do."""
        return self._single and operation.access is not Access.READ

    def _run_once(self, operation: Operation[T]) -> T:
        if self.shares(operation):
            self._forget_parent()
            return self._together.run(operation)
        with self.connection(operation.access) as connection:
            if self._silence is None:
                return self._run_on(connection, operation)
            with self._silence.over(connection):
                return self._run_on(connection, operation)

    def _run_on(self, connection: Any, operation: Operation[T]) -> T:
        after: list[Call] = []
        if not self._opens(operation.access):
            result = run(operation, connection, after)
        else:
            connection.begin()
            try:
                result = run(operation, connection, after)
            except BaseException:
                connection.rollback()
                raise
            connection.commit()
        with suppress(StoreError):
            for call in after:
                connection.execute(call)
        return result

    @contextmanager
    def connection(self, access: Access = Access.WRITE) -> Iterator[Any]:
        """Lend a connection; one that fails is closed, because its state is unknown."""
        self._forget_parent()
        kind = "read" if self._single and access is Access.READ else "write"
        with self._seats[kind]:
            idle = self._idle[kind]
            connection = self._take(idle)
            try:
                yield connection
            except BaseException:
                if connection.usable():
                    self._give_back(connection, kind, idle)
                else:
                    connection.close()
                raise
            self._give_back(connection, kind, idle)

    def _forget_parent(self) -> None:
        if self._pid != os.getpid():  # a fork must not share its parent's sockets and file locks
            self._reset()

    def _take(self, idle: list[Writer]) -> Writer:
        while (connection := _pop(idle)) is not None:
            if connection.usable():
                return connection
            connection.close()
        return _wrap(self._database, self._statements, self._database.connect())

    def _give_back(self, connection: Writer, kind: str, idle: list[Writer]) -> None:
        with self._lock:
            if idle is self._idle[kind]:
                idle.append(connection)
                return
        connection.close()  # the pool was closed while it was lent, and nobody would close it

    def close(self) -> None:
        """Close what is idle; what is lent is closed when it is given back."""
        if self._silence is not None:
            self._silence.close()
        with self._lock:
            closed, self._idle = self._idle, {"read": [], "write": []}
        for idle in closed.values():
            while (connection := _pop(idle)) is not None:
                connection.close()


class AsyncPool(_Connections):
    """Async connections of psycopg's, at most ``size`` for each event loop."""

    def _reset(self) -> None:
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[list[Any], asyncio.Semaphore]]
        self._loops = WeakKeyDictionary()

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation in a transaction of ours, again after a deadlock.

        Raises:
            StoreError: what the database answered, typed.
            ConfigurationError: it would wait for a held claim that this task is inside of.
        """
        self.refuse_inside(operation)
        for left in reversed(range(_TRIES)):
            try:
                return await self._run_once(operation)
            except (TransactionConflict, DatabaseBusy):
                if not left:
                    raise
                await asyncio.sleep(_pause(_TRIES - left))
        raise AssertionError("unreachable")

    async def _run_once(self, operation: Operation[T]) -> T:
        async with self.connection() as connection:
            if self._patience is None:
                return await self._run_on(connection, operation)
            timer = asyncio.get_running_loop().call_later(self._patience, connection.hang_up)
            try:
                return await self._run_on(connection, operation)
            finally:
                timer.cancel()

    async def _run_on(self, connection: Any, operation: Operation[T]) -> T:
        after: list[Call] = []
        if not self._opens(operation.access):
            result = await run_async(operation, connection, after)
        else:
            await connection.begin()
            try:
                result = await run_async(operation, connection, after)
            except StoreError:
                await connection.rollback()
                raise
            await connection.commit()
        with suppress(StoreError):
            for call in after:
                await connection.execute(call)
        return result

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Lend a connection; one that fails or is cancelled in the middle is closed."""
        idle, seats = self._here()
        async with seats:
            connection = await self._take(idle)
            try:
                yield connection
            except BaseException:
                if connection.usable():
                    await self._give_back(connection, idle)
                else:
                    await connection.close()
                raise
            await self._give_back(connection, idle)

    async def _give_back(self, connection: Any, idle: list[Any]) -> None:
        if idle is self._here()[0]:
            idle.append(connection)
        else:  # the pool was closed while it was lent, and nobody would close it
            await connection.close()

    async def _take(self, idle: list[Any]) -> Any:
        from rowqueue.store.drivers.psycopg import AsyncPsycopgConnection

        while idle:
            connection = idle.pop()
            if connection.usable():
                return connection
            await connection.close()
        return AsyncPsycopgConnection(await self._database.connect_async(), self._statements)

    def _here(self) -> tuple[list[Any], asyncio.Semaphore]:
        loop = asyncio.get_running_loop()
        found = self._loops.get(loop)
        if found is None:
            found = self._loops[loop] = ([], asyncio.Semaphore(self._size))
        return found

    async def close(self) -> None:
        """Close what is idle on this loop; what is lent is closed when it is given back."""
        idle, _ = self._loops.pop(asyncio.get_running_loop(), ([], None))
        while idle:
            await idle.pop().close()


class ThreadPool:
    """A sync pool behind a few threads, for async code: one hop for each operation.

    Args:
        pool: the sync pool.
        size: the most threads.
    """

    def __init__(self, pool: Pool, size: int) -> None:
        self._pool = pool
        self._size = size
        self._threads = self._new_threads()

    def _new_threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._size, thread_name_prefix="rowqueue-store")

    async def run(self, operation: Operation[T]) -> T:
        """``Pool.run`` in a thread, which knows nothing of the task's held claims."""
        self._pool.refuse_inside(operation)
        if self._pool.shares(operation):
            return await asyncio.wrap_future(self._pool.run_soon(operation, self._in_thread))
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._pool.run, operation)

    def _in_thread(self, call: Callable[[], None]) -> None:
        try:
            self._threads.submit(call)
        except RuntimeError:  # closed this very moment: in the thread of whoever wakes it
            call()

    async def close(self) -> None:
        """Close what is idle; the threads end with the last work."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._pool.close)
        self._threads.shutdown(wait=False)
        self._threads = self._new_threads()


def _again(call: Callable[[], T]) -> T:
    """Call it again after a deadlock, or when the file was busy."""
    for left in reversed(range(_TRIES)):
        try:
            return call()
        except (TransactionConflict, DatabaseBusy):
            if not left:
                raise
            time.sleep(_pause(_TRIES - left))
    raise AssertionError("unreachable")


def _pop(idle: list[Writer]) -> Writer | None:
    try:
        return idle.pop()  # not "if there is one": another thread may take it in between
    except IndexError:
        return None


def _wrap(database: Database, statements: Statements, raw: Any) -> Writer:
    if database.name == "sqlite":
        from rowqueue.store.drivers.sqlite import SQLiteConnection

        return SQLiteConnection(raw, statements)
    if database.name == "mariadb":
        from rowqueue.store.drivers.pymysql import PyMySQLConnection

        return PyMySQLConnection(raw, statements)
    from rowqueue.store.drivers.psycopg import PsycopgConnection

    return PsycopgConnection(raw, statements)


def _pause(tries: int) -> float:
    # 1 ms doubling to 128 ms, with full jitter, so that two transactions do not meet again.
    return random.random() * 0.001 * float(2**tries)  # noqa: S311 - not a secret
