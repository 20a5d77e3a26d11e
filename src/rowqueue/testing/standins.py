"""Stores that take the place of an app's while it is tested.

A stand-in runs its operations where it is told to (on the app's own connections, or in a transaction of
the caller's) and hands on what was enqueued, so that it can be run at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from rowqueue.app.stores import Stores
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.values import Enqueued, NewJob
from rowqueue.operations.base import Operation
from rowqueue.store import AsyncStore, Store
from rowqueue.store.borrowed import AsyncBoundStore, BoundStore

T = TypeVar("T")
Run: TypeAlias = Callable[[Operation[Any]], Any]
AsyncRun: TypeAlias = Callable[[Operation[Any]], Awaitable[Any]]


class Host(Protocol):
    """Who is told what was enqueued, and answers what the caller gets."""

    def enqueued(self, stores: Stores, made: list[Enqueued]) -> list[Enqueued]:
        """On a sync store."""
        ...

    async def enqueued_async(self, stores: Stores, made: list[Enqueued]) -> list[Enqueued]:
        """On an async one."""
        ...

    def join(self, bound: BoundStore | AsyncBoundStore) -> Stores:
        """Stores in the transaction of a caller's connection."""
        ...


class StandIn(Store):
    """A sync store that shares everything with another but where its operations run.

    Args:
        store: the app's own.
        run: runs an operation.
        host: who is told.
        stores: the pair that it belongs to.
    """

    def __init__(self, store: Store, run: Run, host: Host, stores: Stores) -> None:
        vars(self).update(vars(store))
        self._run = run
        self._host = host
        self._stores = stores

    def run(self, operation: Operation[T]) -> T:
        """Run an operation."""
        return self._run(operation)  # type: ignore[no-any-return]

    def enqueue(self, job: NewJob) -> Enqueued:
        """Enqueue a job."""
        return self._host.enqueued(self._stores, [super().enqueue(job)])[0]

    def enqueue_many(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Enqueue jobs."""
        return self._host.enqueued(self._stores, super().enqueue_many(jobs))

    def on(self, connection: Any) -> BoundStore | AsyncBoundStore:
        """The verbs in the transaction of a connection of the caller's."""
        return _bound(self._host, super().on(connection))


class AsyncStandIn(AsyncStore):
    """``StandIn``, awaited."""

    def __init__(self, store: AsyncStore, run: AsyncRun, host: Host, stores: Stores) -> None:
        vars(self).update(vars(store))
        self._run = run
        self._host = host
        self._stores = stores

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation."""
        return await self._run(operation)  # type: ignore[no-any-return]

    async def enqueue(self, job: NewJob) -> Enqueued:
        """Enqueue a job."""
        return (await self._host.enqueued_async(self._stores, [await super().enqueue(job)]))[0]

    async def enqueue_many(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Enqueue jobs."""
        return await self._host.enqueued_async(self._stores, await super().enqueue_many(jobs))

    def on(self, connection: Any) -> BoundStore | AsyncBoundStore:
        """The verbs in the transaction of a connection of the caller's."""
        return _bound(self._host, super().on(connection))


class _Bound(BoundStore):
    def __init__(self, bound: BoundStore, host: Host, stores: Stores) -> None:
        vars(self).update(vars(bound))
        self._host = host
        self._stores = stores

    def enqueue_many(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        return self._host.enqueued(self._stores, super().enqueue_many(jobs))


class _AsyncBound(AsyncBoundStore):
    def __init__(self, bound: AsyncBoundStore, host: Host, stores: Stores) -> None:
        vars(self).update(vars(bound))
        self._host = host
        self._stores = stores

    async def enqueue_many(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        return await self._host.enqueued_async(self._stores, await super().enqueue_many(jobs))


def _bound(host: Host, bound: BoundStore | AsyncBoundStore) -> BoundStore | AsyncBoundStore:
    stores = host.join(bound)
    if isinstance(bound, AsyncBoundStore):
        return _AsyncBound(bound, host, stores)
    return _Bound(bound, host, stores)


class Joined(Stores):
    """A sync and an async store that run their operations in one place.

    Args:
        stores: the app's.
        plain: its own sync and async store.
        host: who is told what was enqueued.
        bound: the transaction of a caller's; None: on the app's own connections.
    """

    def __init__(
        self,
        stores: Stores,
        plain: tuple[Store, AsyncStore],
        host: Host,
        bound: BoundStore | AsyncBoundStore | None,
    ) -> None:
        super().__init__(stores.database, stores.settings, 1)
        self.bound = bound
        run: Run
        run_async: AsyncRun
        if isinstance(bound, AsyncBoundStore):
            run, run_async = _blocking(bound.run), bound.run
        elif bound is not None:
            run, run_async = bound.run, _awaited(bound.run)
        else:
            run, run_async = plain[0].run, plain[1].run
        self._sync = StandIn(plain[0], run, host, self)
        self._async = AsyncStandIn(plain[1], run_async, host, self)


def _awaited(run: Run) -> AsyncRun:
    """An async way to run operations, on a sync connection that is at hand."""

    async def run_async(operation: Operation[Any]) -> Any:
        return run(operation)

    return run_async


def _blocking(run: AsyncRun) -> Run:
    """A sync way to run operations on an async connection, for ``def`` handlers in threads beside its loop."""
    loop = _running()

    async def once(operation: Operation[Any]) -> Any:
        return await run(operation)

    def run_sync(operation: Operation[Any]) -> Any:
        if loop is None or _running() is loop:
            raise ConfigurationError(
                "this would block the loop that the connection lives in: use the twin that ends in _async, and await it"
            )
        return asyncio.run_coroutine_threadsafe(once(operation), loop).result()

    return run_sync


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
