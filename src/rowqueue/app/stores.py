"""The stores of an app, made when they are first needed."""

from __future__ import annotations

from threading import Lock
from typing import Protocol

from rowqueue.operations.settings import StoreSettings
from rowqueue.sql.layout import Layout
from rowqueue.sql.mapping import JobTable
from rowqueue.store import AsyncStore, Store
from rowqueue.store.database import Database


class Interceptor(Protocol):
    """Stands between an app's jobs and its stores, as ``rowqueue.testing`` does."""

    def sync(self, store: Store) -> Store:
        """What takes a sync store's place; may be itself."""
        ...

    def asynchronous(self, store: AsyncStore) -> AsyncStore:
        """What takes an async store's place; may be itself."""
        ...


class Stores:
    """A sync and an async store over the same database and settings; safe in any thread.

    Args:
        database: where; nothing connects before the first operation.
        settings: the checked settings.
        pool_size: the most connections that each store keeps.

    Attributes:
        interceptor: asked at each use for what takes a store's place; None but in tests.
    """

    def __init__(self, database: Database, settings: StoreSettings, pool_size: int) -> None:
        self.database = database
        self.settings = settings
        self._pool_size = pool_size
        self._table: JobTable | None = None
        self._layout: Layout | None = None
        self._lock = Lock()
        self._sync: Store | None = None
        self._async: AsyncStore | None = None
        self.interceptor: Interceptor | None = None

    @classmethod
    def of(cls, store: Store) -> Stores:
        """A store that is there, with an async one beside it over the same table."""
        stores = cls(store.database, store.settings, 4)
        stores._table, stores._layout, stores._sync = store.table, store.layout, store
        return stores

    @property
    def sync(self) -> Store:
        """The sync store."""
        store = self._sync
        if store is None:
            with self._lock:
                store = self._sync or Store.over(
                    self.database,
                    self.settings,
                    table=self._table,
                    layout=self._layout,
                    pool_size=self._pool_size,
                )
                self._sync = store
        return store if self.interceptor is None else self.interceptor.sync(store)

    @property
    def asynchronous(self) -> AsyncStore:
        """The async store."""
        store = self._async
        if store is None:
            with self._lock:
                store = self._async or AsyncStore.over(
                    self.database,
                    self.settings,
                    table=self._table,
                    layout=self._layout,
                    pool_size=self._pool_size,
                )
                self._async = store
        return store if self.interceptor is None else self.interceptor.asynchronous(store)

    def close(self) -> None:
        """Close the sync store's connections; the next use opens new ones."""
        with self._lock:
            store, self._sync = self._sync, None
        if store is not None:
            store.close()

    async def aclose(self) -> None:
        """Close the connections of both."""
        await self.aclose_async()
        self.close()

    async def aclose_async(self) -> None:
        """Close the async store's connections, as before its loop ends."""
        with self._lock:
            store, self._async = self._async, None
        if store is not None:
            await store.close()
