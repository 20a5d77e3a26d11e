"""The stores of an app, made when they are first needed."""

from __future__ import annotations

from threading import Lock

from rowqueue.operations.settings import StoreSettings
from rowqueue.store import AsyncStore, Store
from rowqueue.store.database import Database


class Stores:
    """A sync and an async store over the same database and settings; safe in any thread.

    Args:
        database: where; nothing connects before the first operation.
        settings: the checked settings.
        pool_size: the most connections that each store keeps.
    """

    def __init__(self, database: Database, settings: StoreSettings, pool_size: int) -> None:
        self.database = database
        self.settings = settings
        self._pool_size = pool_size
        self._lock = Lock()
        self._sync: Store | None = None
        self._async: AsyncStore | None = None

    @property
    def sync(self) -> Store:
        """The sync store."""
        if self._sync is None:
            with self._lock:
                self._sync = self._sync or Store.over(self.database, self.settings, pool_size=self._pool_size)
        return self._sync

    @property
    def asynchronous(self) -> AsyncStore:
        """The async store."""
        if self._async is None:
            with self._lock:
                self._async = self._async or AsyncStore.over(
                    self.database, self.settings, pool_size=self._pool_size
                )
        return self._async

    def close(self) -> None:
        """Close the sync store's connections; the next use opens new ones."""
        with self._lock:
            store, self._sync = self._sync, None
        if store is not None:
            store.close()

    async def aclose(self) -> None:
        """Close the connections of both."""
        with self._lock:
            store, self._async = self._async, None
        if store is not None:
            await store.close()
        self.close()
