"""A job's enqueue inside a transaction of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec

from rowqueue.app.arguments import Arguments
from rowqueue.core.values import Enqueued, NewJob
from rowqueue.store.borrowed import AsyncBoundStore, BoundStore

P = ParamSpec("P")
Batch = Sequence[Arguments | tuple[Any, ...]]


class Bound(Generic[P]):
    """What it enqueues exists exactly when the caller's transaction commits."""

    def __init__(
        self, store: BoundStore, one: Callable[P, NewJob], many: Callable[[Batch], Sequence[NewJob]]
    ) -> None:
        self._store = store
        self._one = one
        self._many = many

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Enqueued:
        """Enqueue the job in the caller's transaction."""
        return self._store.enqueue(self._one(*args, **kwargs))

    def enqueue_many(self, batch: Batch) -> list[Enqueued]:
        """Enqueue it once for each element (``args(...)`` or a tuple), in the caller's transaction."""
        return self._store.enqueue_many(self._many(batch))


class AsyncBound(Generic[P]):
    """``Bound`` on an async connection: the same, awaited."""

    def __init__(
        self, store: AsyncBoundStore, one: Callable[P, NewJob], many: Callable[[Batch], Sequence[NewJob]]
    ) -> None:
        self._store = store
        self._one = one
        self._many = many

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Enqueued:
        """Enqueue the job in the caller's transaction."""
        return await self._store.enqueue(self._one(*args, **kwargs))

    async def enqueue_many(self, batch: Batch) -> list[Enqueued]:
        """Enqueue it once for each element (``args(...)`` or a tuple), in the caller's transaction."""
        return await self._store.enqueue_many(self._many(batch))
