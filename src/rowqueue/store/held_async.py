"""Held claims for async code: the same transaction, entered and left by ``await``."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import event, exc
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from rowqueue.core.errors import ConfigurationError, StoreError
from rowqueue.core.values import Claim
from rowqueue.operations import finish
from rowqueue.store import holding
from rowqueue.store.database import Database
from rowqueue.store.drivers.sqlalchemy import translate
from rowqueue.store.drivers.sqlite import BUSY_TIMEOUT
from rowqueue.store.held_transaction import TRIES, HeldClaim, HeldTransaction, Request

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
        self._task = asyncio.create_task(self._watch(limit))

    async def _watch(self, limit: float) -> None:
        await asyncio.sleep(limit)
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
    """The held claims of an async store, and the connections for them; ``Holder`` says how a worker uses it.

    Args:
        store: whose claims.
    """

    def __init__(self, store: AsyncStore) -> None:
        self._store = store
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = WeakKeyDictionary()

    @asynccontextmanager
    async def claim(self, **options: Any) -> AsyncIterator[AsyncHeld | None]:
        """Claim one row and hold it for the block; see ``AsyncStore.claim_in_transaction``."""
        request = Request.of(self._store, options)
        failure: BaseException | None = None
        async with self._connect() as connection:
            transaction = await self._take(connection, request)
            if transaction is None:
                yield None
                return
            current = AsyncHeld(transaction.claim, connection, self._store.settings)
            raw = (await connection.get_raw_connection()).driver_connection
            watch = AsyncWatch(raw, request.limit) if transaction.mark.whole else None
            with holding.inside(transaction.mark):
                try:
                    yield current
                except BaseException as caught:  # noqa: BLE001 - written, and raised again below
                    failure = caught
            stopped = watch is not None and await watch.stop()
            apart, error = await connection.run_sync(
                lambda _: transaction.settle(current, failure, stopped=stopped)
            )
        if apart is not None:
            with suppress(StoreError):  # then its lease ends, and a rescue takes it
                current.outcome = (await self._store.run(finish.finish([apart])))[0]
        if error is not None:
            raise error

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
        if database.engine is not None:
            raise ConfigurationError(
                "an async held claim needs an async connection, and this store was given a sync Engine: give it the "
                "URL or an AsyncEngine, or claim in a thread with store.synchronous()"
            )
        loop = asyncio.get_running_loop()
        found = self._engines.get(loop)
        if found is None:
            found = self._engines[loop] = self._make()
        return found

    def _make(self) -> AsyncEngine:
        database = self._store.database
        try:
            if database.name == "sqlite":
                return _sqlite(database)
            return create_async_engine(
                f"{database.url.drivername}://",
                async_creator=self._open,
                poolclass=AsyncAdaptedQueuePool,
                max_overflow=-1,
                pool_pre_ping=True,
            )
        except ImportError as error:
            raise ConfigurationError(
                f"an async held claim needs {error.name}: pip install 'sqlalchemy[asyncio]' aiosqlite"
            ) from None

    async def _open(self) -> Any:
        raw = await self._store.database.connect_async()
        await raw.set_autocommit(False)
        return raw

    async def close(self) -> None:
        """Close the connections of this loop that are not in use."""
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.dispose()


def _opened(connection: Connection, store: AsyncStore, claim: Claim, limit: float) -> HeldTransaction | None:
    transaction = HeldTransaction(connection, store, claim, limit)
    return transaction if transaction.open() else None


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
