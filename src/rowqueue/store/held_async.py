"""Held claims for async code: the same transaction, entered and left by ``await``."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import event, exc
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from rowqueue.core.errors import ConfigurationError, FeatureMissing, StoreError
from rowqueue.core.finish import Finish
from rowqueue.core.values import Claim, Seconds
from rowqueue.operations import finish
from rowqueue.store import holding
from rowqueue.store.database import Database
from rowqueue.store.drivers.faults import MARIADB_SESSION as SESSION
from rowqueue.store.drivers.sockets import notice_dead_peers
from rowqueue.store.drivers.sqlalchemy import translate
from rowqueue.store.drivers.sqlite import BUSY_TIMEOUT
from rowqueue.store.held_transaction import TRIES, HeldClaim, HeldTransaction, Request, limit_of

_NEEDED = {"sqlite": ("aiosqlite",), "mariadb": ("aiomysql",)}

if TYPE_CHECKING:
    from rowqueue.store.async_store import AsyncStore


class AsyncHeld(HeldClaim[AsyncConnection]):
    """What ``async with store.claim_in_transaction() as held`` gives."""


class AsyncWatch:
    """SQLite: gives the write lock of the file back when a claim is held for too long.

    The connection's own thread takes its statements in turn, so nothing is written after the rollback.
    A handler that blocks the loop is not stopped.
    """

    def __init__(self, raw: Any, limit: float) -> None:
        self._raw = raw
        self._passed = False
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._task = asyncio.create_task(self._watch(limit))

    def end(self) -> None:
        """Undo what was done, from any thread."""
        with suppress(RuntimeError):  # the loop is closed, and the connection with it
            self._loop.call_soon_threadsafe(self._over.set)

    async def _watch(self, limit: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), limit)
        self._passed = True
        with suppress(sqlite3.Error):
            await self._raw.execute("PRAGMA query_only = ON")
            if self._raw.in_transaction:
                await self._raw.execute("ROLLBACK")

    async def stop(self) -> bool:
        """Stop watching; True when the limit has passed."""
        if not self._passed:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        return self._passed


class AsyncHolder:
    """The held claims of an async store, and the connections for them: ``Holder``, awaited.

    Args:
        store: whose claims.
        keep: how many connections are kept for the next claims; more are opened when needed.
    """

    def __init__(self, store: AsyncStore, keep: int = 5) -> None:
        self._store = store
        self._keep = keep
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = WeakKeyDictionary()

    @asynccontextmanager
    async def claim(self, **options: Any) -> AsyncIterator[AsyncHeld | None]:
        """Claim one row and hold it for the block; see ``AsyncStore.claim_in_transaction``."""
        request = Request.of(self._store, options)
        current: AsyncHeld | None = None
        try:
            async with self._connect() as connection:
                transaction = await self._take(connection, request)
                if transaction is None:
                    yield None
                    return
                async with self._block(connection, transaction, request.limit) as current:
                    yield current
        finally:
            if current is not None and current.apart is not None:
                await self._write(current, current.apart)

    @asynccontextmanager
    async def hold(
        self, claim: Claim, *, limit: Seconds | None = None, locking: Callable[[], None] | None = None
    ) -> AsyncIterator[AsyncHeld | None]:
        """Hold a claim that is there for the block; see ``Holder.hold``. ``locking`` is called in another thread."""
        seconds = limit_of(self._store, limit)
        async with self._connect() as connection:
            if locking is not None:
                await asyncio.to_thread(locking)
            transaction = await connection.run_sync(_opened, self._store, claim, seconds, holding.LEASE)
            if transaction is None:
                yield None
                return
            async with self._block(connection, transaction, seconds) as current:
                yield current

    @asynccontextmanager
    async def _block(
        self, connection: AsyncConnection, transaction: HeldTransaction, limit: float
    ) -> AsyncIterator[AsyncHeld]:
        raw = (await connection.get_raw_connection()).driver_connection
        watch = AsyncWatch(raw, limit) if transaction.mark.whole else None
        abort = transaction.abort if watch is None else watch.end
        current = AsyncHeld(transaction.claim, connection, self._store.settings, abort)
        error: BaseException | None = None
        with holding.inside(transaction.mark):
            try:
                yield current
            except BaseException as caught:  # noqa: BLE001 - written, and raised again below
                error = caught
        stopped = watch is not None and await watch.stop()
        error = await connection.run_sync(lambda _: transaction.settle(current, error, stopped=stopped))
        if error is not None:
            raise error

    async def _write(self, current: AsyncHeld, ending: Finish) -> None:
        """Write an ending on another connection; should that fail too, its lease ends, and a rescue takes it."""
        with suppress(StoreError):
            try:
                current.outcome = (await self._store.run(finish.finish([ending])))[0]
            except FeatureMissing as missing:  # a table of the user's has no state for it
                current.outcome = (await self._store.run(finish.finish([current.decide(missing)])))[0]
                raise

    async def _take(self, connection: AsyncConnection, request: Request) -> HeldTransaction | None:
        for _ in range(TRIES):
            claims = await self._store.claim(**request.options)
            if not claims:
                break
            try:
                transaction = await connection.run_sync(_opened, self._store, claims[0], request.limit)
                if transaction is not None:
                    return transaction
            except BaseException:
                with suppress(StoreError):
                    await self._store.release(claims[0])
                raise
        return None

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[AsyncConnection]:
        try:
            connection = await self._engine_here().connect()
        except exc.DBAPIError as error:
            raise translate(error) from None
        try:
            yield connection
        finally:
            await asyncio.shield(connection.close())

    def _engine_here(self) -> AsyncEngine:
        database = self._store.database
        if database.async_engine is not None:
            return database.async_engine
        check_async(database)
        loop = asyncio.get_running_loop()
        found = self._engines.get(loop)
        if found is None:
            found = self._engines[loop] = self._make()
        return found

    def _make(self) -> AsyncEngine:
        database = self._store.database
        if database.name == "sqlite":
            return _sqlite(database)
        if database.name == "mariadb":
            return _mariadb(database, self._keep)
        return create_async_engine(
            f"{database.url.drivername}://",
            async_creator=self._open,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=self._keep,
            max_overflow=-1,
            pool_pre_ping=True,
        )

    async def _open(self) -> Any:
        raw = await self._store.database.connect_async()
        await raw.set_autocommit(False)
        return raw

    async def close(self) -> None:
        """Close the connections of this loop that are not in use."""
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.dispose()


def check_async(database: Database) -> None:
    """Raise a ConfigurationError unless the database can be worked on async connections of SQLAlchemy's."""
    if database.engine is not None:
        raise ConfigurationError(
            "an async held claim needs an async connection, and this store was given a sync Engine: give it the URL "
            "or an AsyncEngine, or hold in a def (a worker runs it in a thread; elsewhere store.synchronous())"
        )
    needed = ["greenlet", *_NEEDED.get(database.name, ())]
    if missing := [name for name in needed if find_spec(name) is None]:
        raise ConfigurationError(
            f"an async held claim needs {' and '.join(missing)}: pip install {' '.join(missing)}, or hold in a def"
        )


def _opened(
    connection: Connection, store: AsyncStore, claim: Claim, limit: float, lease: float | None = None
) -> HeldTransaction | None:
    transaction = HeldTransaction(connection, store, claim, limit)
    return transaction if transaction.open(lease) else None


def _sqlite(database: Database) -> AsyncEngine:
    """aiosqlite has a thread for each connection, so none is kept."""
    url = database.url.set(drivername="sqlite+aiosqlite")
    if (url.database or "").startswith("file:"):
        url = url.update_query_dict({"uri": "true"})
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_TIMEOUT})

    @event.listens_for(engine.sync_engine, "connect")
    def synchronous(raw: Any, _record: Any) -> None:
        raw.cursor().execute(f"PRAGMA synchronous = {database.synchronous}")

    return engine


def _mariadb(database: Database, keep: int) -> AsyncEngine:
    url = database.url.set(drivername=f"{database.url.get_backend_name()}+aiomysql")
    engine = create_async_engine(url, pool_size=keep, max_overflow=-1, pool_pre_ping=True)

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(raw: Any, _record: Any) -> None:
        notice_dead_peers(raw.driver_connection._writer.get_extra_info("socket"))  # noqa: SLF001 - it has no option for that
        cursor = raw.cursor()
        for sql in SESSION:
            cursor.execute(sql)
        cursor.close()

    return engine
