"""The async store: one line for each verb."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rowqueue.core.finish import Finish
from rowqueue.core.payload import PAYLOAD_LIMIT
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.states import State
from rowqueue.core.values import (
    Claim,
    Enqueued,
    Json,
    NewJob,
    Outcome,
    Seconds,
    seconds_of,
)
from rowqueue.operations import claim as claiming
from rowqueue.operations import enqueue, finish, operate, schema
from rowqueue.operations.base import Operation
from rowqueue.operations.settings import StoreSettings
from rowqueue.sql.layout import Layout
from rowqueue.sql.mapping import JobTable
from rowqueue.store import plans
from rowqueue.store.async_management import AsyncManagement
from rowqueue.store.database import Database
from rowqueue.store.holding import LEASE
from rowqueue.store.pools import AsyncPool, Pool, ThreadPool

if TYPE_CHECKING:
    from rowqueue.store.held_async import AsyncHeld, AsyncHolder
    from rowqueue.store.store import Store

T = TypeVar("T")


class AsyncStore(AsyncManagement):
    """``Store`` with every method awaited; it takes the same arguments, and its methods mean the same.

    Given a PostgreSQL URL, it works on async connections of psycopg's. SQLite, and an Engine of the
    caller's, are worked by a few threads: one hop for each operation (55 to 84 us), not each statement.

    Example:
        >>> store = AsyncStore("postgresql://localhost/app")  # doctest: +SKIP
        >>> await store.enqueue(NewJob(kind="mail", args={"to": 7}))  # doctest: +SKIP
    """

    def __init__(
        self,
        database: Any,
        table: JobTable | None = None,
        *,
        prefix: str = "rowqueue_",
        schema: str | None = None,
        lease: Seconds = 30.0,
        retry: RetryPolicy | None = None,
        max_attempts: int = 25,
        max_rescues: int = 3,
        max_failures: int | None = None,
        payload_limit: int = PAYLOAD_LIMIT,
        synchronous: str = "FULL",
        prepared: bool = True,
        pool_size: int = 4,
    ) -> None:
        settings = StoreSettings(
            prefix=prefix,
            schema=schema,
            lease=lease,
            retry=retry or RetryPolicy.exponential(),
            max_attempts=max_attempts,
            max_rescues=max_rescues,
            max_failures=max_failures,
            payload_limit=payload_limit,
        )
        self._begin(
            Database(database, synchronous=synchronous, prepared=prepared), settings, pool_size, table
        )

    @classmethod
    def over(
        cls,
        database: Database,
        settings: StoreSettings,
        *,
        table: JobTable | None = None,
        layout: Layout | None = None,
        pool_size: int = 4,
        silence: float | None = None,
    ) -> AsyncStore:
        """A store over a database and settings that are there already, with connections of its own.

        They hang up on a server that did not answer for ``silence`` seconds.
        """
        store = cls.__new__(cls)
        store._begin(database, settings, pool_size, table, layout, silence)  # noqa: SLF001 - its own class
        return store

    def _begin(
        self,
        database: Database,
        settings: StoreSettings,
        pool_size: int,
        table: JobTable | None,
        layout: Layout | None = None,
        silence: float | None = None,
    ) -> None:
        super().__init__(database, settings, table, layout)
        kind = AsyncPool if database.native_async else Pool
        pool = kind(database, self._statements, pool_size, whole=table is not None, silence=silence)
        self._pool = ThreadPool(pool, pool_size) if isinstance(pool, Pool) else pool
        self._checked = table is not None
        self._held: AsyncHolder | None = None

    def synchronous(self, *, pool_size: int = 4) -> Store:
        """The same store for sync code, with connections of its own."""
        from rowqueue.store.store import Store

        return Store.over(
            self.database, self.settings, table=self.table, layout=self.layout, pool_size=pool_size
        )

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation; the first one also checks that the tables fit this version.

        Raises:
            SchemaError: the tables are missing, too old or too new.
            StoreError: what else the database answered, typed.
        """
        if not self._checked:
            await self.check_schema()
        return await self._pool.run(operation)

    async def init(self) -> int:
        """Create the tables or upgrade them; returns the schema's version."""
        version = await self._pool.run(schema.init())
        self._checked = True
        return version

    async def check_schema(self) -> int:
        """Raise a SchemaError unless the tables fit this version; returns the schema's version."""
        version = await self._pool.run(schema.check())
        self._checked = True
        return version

    async def close(self) -> None:
        """Close the connections; the store opens new ones when it is used again."""
        await self._pool.close()
        if self._held is not None:
            await self._held.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # enqueue, claim, extend

    async def enqueue(self, job: NewJob) -> Enqueued:
        """Enqueue a job; a taken unique key answers with the row that has it."""
        return (await self.run(enqueue.enqueue([job], self.settings)))[0]

    async def enqueue_many(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Enqueue jobs, all or none; answers in the order given."""
        return await self.run(enqueue.enqueue(jobs, self.settings)) if jobs else []

    async def claim(
        self,
        limit: int = 1,
        *,
        queues: Mapping[str, int] | Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        where: claiming.Where | None = None,
        lease: Seconds | None = None,
        worker: str | None = None,
    ) -> list[Claim]:
        """Claim ready jobs, in order of priority, time and id."""
        if (began := time.monotonic()) >= self._refresh_at:
            await self.refresh()
            self._refreshed(began)
        return await self.run(claiming.claim(self.settings, limit, queues, kinds, where, lease, worker))

    def claim_in_transaction(
        self,
        *,
        queues: Mapping[str, int] | Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        where: claiming.Where | None = None,
        lease: Seconds = LEASE,
        limit: Seconds | None = None,
        worker: str | None = None,
        independent: bool = False,
    ) -> AbstractAsyncContextManager[AsyncHeld | None]:
        """Claim one job and hold it, in ``async with``: ``held.connection`` is an AsyncConnection of SQLAlchemy's."""
        if self._held is None:
            from rowqueue.store.held_async import AsyncHolder

            self._held = AsyncHolder(self)
        return self._held.claim(
            queues=queues,
            kinds=kinds,
            where=where,
            lease=lease,
            limit=limit,
            worker=worker,
            independent=independent,
        )

    async def extend(self, claims: Sequence[Claim], *, lease: Seconds | None = None) -> list[Outcome]:
        """Renew the leases of claims; an outcome also tells whether somebody asked to cancel."""
        return await self.run(claiming.extend(self.settings, claims, lease))

    # a worker's verbs

    async def complete(self, claim: Claim, result: Json = None) -> Outcome:
        """The work is done: running → completed."""
        return (await self.run(plans.complete([claim], [result], self.settings)))[0]

    async def complete_many(
        self, claims: Sequence[Claim], results: Sequence[Json] | None = None
    ) -> list[Outcome]:
        """``complete`` for many, in one statement."""
        return await self.run(plans.complete(claims, results, self.settings))

    async def fail(
        self,
        claim: Claim,
        error: str | BaseException,
        *,
        state: State | None = None,
        delay: Seconds | None = None,
        trace: str = "",
    ) -> Outcome:
        """The attempt failed: running → retryable, available or discarded."""
        return (await self.run(plans.fail([claim], [error], state, delay, trace, self.settings)))[0]

    async def fail_many(
        self,
        claims: Sequence[Claim],
        errors: Sequence[str | BaseException],
        *,
        state: State | None = None,
        delay: Seconds | None = None,
    ) -> list[Outcome]:
        """``fail`` for many, in one statement."""
        return await self.run(plans.fail(claims, errors, state, delay, "", self.settings))

    async def snooze(self, claim: Claim, delay: Seconds) -> Outcome:
        """Not now: running → scheduled, the attempt given back."""
        return (await self.run(plans.snooze([claim], delay)))[0]

    async def snooze_many(self, claims: Sequence[Claim], delay: Seconds) -> list[Outcome]:
        """``snooze`` for many, in one statement."""
        return await self.run(plans.snooze(claims, delay))

    async def snooze_unknown(self, claims: Sequence[Claim], delay: Seconds = 60.0) -> list[Outcome]:
        """Give back jobs of kinds that nobody here knows, counted for ``stats``."""
        return await self.run(operate.snooze_unknown(claims, seconds_of(delay, "delay")))

    async def release(self, claim: Claim) -> Outcome:
        """Give a job back unworked: running → available, the attempt given back."""
        return (await self.run(plans.release([claim])))[0]

    async def release_many(self, claims: Sequence[Claim]) -> list[Outcome]:
        """``release`` for many, in one statement."""
        return await self.run(plans.release(claims))

    async def finish(self, finishes: Sequence[Finish]) -> list[Outcome]:
        """Write a mixed batch of endings; answers in the order given."""
        return await self.run(finish.finish(finishes)) if finishes else []

    async def settled(self, claims: Sequence[Claim]) -> list[Outcome]:
        """How claims stand now: the way to resolve a finish whose reply was lost."""
        return await self.run(finish.settled(claims))

    async def progress(self, claim: Claim, fraction: float, message: str = "") -> Outcome:
        """Say how far a running job is: a fraction from 0 to 1, and a line of text."""
        return await self.run(finish.progress(claim, fraction, message))

    async def add_log(self, claim: Claim, entry: Json) -> int | Outcome:
        """Add an entry to a running job's log; returns its number, or why it was refused."""
        return await self.run(finish.add_log(claim, entry))

    async def update_log(self, claim: Claim, seq: int, entry: Json) -> Outcome:
        """Replace an entry that this claim added."""
        return await self.run(finish.update_log(claim, seq, entry))
