"""Stores: the operations run against a database, sync or async, on connections of ours or of the caller's."""

from rowqueue.store.async_store import AsyncStore
from rowqueue.store.store import Store

__all__ = ["AsyncStore", "Store"]
