"""The sync store: one line for each verb."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
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
from rowqueue.store.database import Database
from rowqueue.store.holding import LEASE
from rowqueue.store.management import Management
from rowqueue.store.pools import Pool

if TYPE_CHECKING:
    from rowqueue.store.async_store import AsyncStore
    from rowqueue.store.held import Held, Holder

T = TypeVar("T")


class Store(Management):
    """A queue in a database: every method is one short transaction, and safe in any thread.

    It may be the subject of ``with``, which closes it at the end.

    Args:
        database: a URL (``sqlite:///jobs.db``, ``postgresql://…``, ``mariadb://…``) or a SQLAlchemy Engine or AsyncEngine.
        table: a mapping of a table of yours that is the queue; None is the default table.
        prefix: what every table name begins with.
        schema: the database schema of the tables; None is the connection's own.
        lease: how long a claim lasts without renewal (seconds or timedelta, at least 1 s).
        retry: when a failed job runs again, unless its kind says otherwise.
        max_attempts: starts before a failure is final, unless the job says otherwise.
        max_rescues: crashes before a job is discarded.
        max_failures: on a table of yours: failures before one is final; None goes by max_attempts.
        payload_limit: the longest encoded arguments, meta or result (bytes).
        synchronous: SQLite only: FULL (every acknowledged row survives a power loss) or NORMAL.
        prepared: PostgreSQL only: False behind a pooler that cannot keep prepared statements.
        pool_size: the most connections that it keeps (not on SQLite).

    Raises:
        ConfigurationError: an option is wrong, or the database's driver is not installed.

    Example:
        >>> store = Store("sqlite:///jobs.db")  # doctest: +SKIP
        >>> store.init()  # doctest: +SKIP
        >>> store.enqueue(NewJob(kind="mail", args={"to": 7}))  # doctest: +SKIP
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
    ) -> Store:
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
        self._pool = Pool(database, self._statements, pool_size, whole=table is not None, silence=silence)
        self._checked = table is not None
        self._held: Holder | None = None
        self._first_hold = threading.Lock()

    def asynchronous(self, *, pool_size: int = 4) -> AsyncStore:
        """The same store for async code, with connections of its own."""
        from rowqueue.store.async_store import AsyncStore

        return AsyncStore.over(
            self.database, self.settings, table=self.table, layout=self.layout, pool_size=pool_size
        )

    def run(self, operation: Operation[T]) -> T:
        """Run an operation; the first one also checks that the tables fit this version.

        Raises:
            SchemaError: the tables are missing, too old or too new.
            StoreError: what else the database answered, typed.
        """
        if not self._checked:
            self.check_schema()
        return self._pool.run(operation)

    def init(self) -> int:
        """Create the tables or upgrade them; returns the schema's version."""
        version = self._pool.run(schema.init())
        self._checked = True
        return version

    def check_schema(self) -> int:
        """Raise a SchemaError unless the tables fit this version; returns the schema's version."""
        version = self._pool.run(schema.check())
        self._checked = True
        return version

    def connect(self) -> None:
        """Open a connection, unless there is one, and keep it: what the first operation would find out is known now."""
        with self._pool.connection():
            pass

    def close(self) -> None:
        """Close the connections; the store opens new ones when it is used again."""
        self._pool.close()
        if self._held is not None:
            self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # enqueue, claim, extend

    def enqueue(self, job: NewJob) -> Enqueued:
        """Enqueue a job; a taken unique key answers with the row that has it."""
        return self.run(enqueue.enqueue([job], self.settings))[0]

    def enqueue_many(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Enqueue jobs, all or none; answers in the order given."""
        return self.run(enqueue.enqueue(jobs, self.settings)) if jobs else []

    def claim(
        self,
        limit: int = 1,
        *,
        queues: Mapping[str, int] | Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        where: claiming.Where | None = None,
        lease: Seconds | None = None,
        worker: str | None = None,
    ) -> list[Claim]:
        """Claim ready jobs, in order of priority, time and id.

        Args:
            limit: the most jobs to claim.
            queues: names, or names with the most jobs of each; None is every queue with ready jobs.
            kinds: only jobs of these kinds.
            where: a function from the job table to one more SQLAlchemy condition.
            lease: how long this claim lasts (seconds or timedelta); None is the store's lease.
            worker: who claims, for people to read.

        Returns:
            Claims in claim order; fewer than ``limit`` does not mean that the queue is empty.
        """
        if (began := time.monotonic()) >= self._refresh_at:
            self.refresh()
            self._refreshed(began)
        return self.run(claiming.claim(self.settings, limit, queues, kinds, where, lease, worker))

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
    ) -> AbstractContextManager[Held | None]:
        """Claim one job and hold it: its row is locked in the transaction that the work is done in.

        The block gets a ``Held``, or None where there is nothing to claim. What it does on ``held.connection``
        commits together with the completion, so it takes effect exactly once. An exception undoes the work, writes
        the failure by the retry policy and is raised again; Retry, Snooze, Skip, Cancel and Discard choose another
        ending and are not. A crash undoes the work too: the row is rescued once ``lease`` is over, and counted.

        It takes a connection for each held job and keeps PostgreSQL from cleaning up behind it, so work that takes
        minutes is better claimed by ``claim``. On SQLite it holds the write lock of the file: one at a time, and
        jobs are enqueued by ``job.on(held.connection)``. Cancelling a held job by its key waits for its end.

        Args:
            queues: names, or names with slots; None is every queue with ready jobs.
            kinds: only jobs of these kinds.
            where: a function from the job table to one more SQLAlchemy condition.
            lease: how soon after a crash the row can be rescued (seconds or timedelta).
            limit: the longest hold (seconds or timedelta), 10 minutes on PostgreSQL and 5 seconds on SQLite by
                default; after it the work is undone. PostgreSQL before 17 counts only the time without a statement.
            worker: who claims, for people to read.
            independent: allow several held claims of this store in one thread (PostgreSQL); beware of two that
                wait for each other.

        Raises:
            ConfigurationError: it is inside another held claim that it would wait for.

        Example:
            >>> with store.claim_in_transaction(queues=["bills"]) as held:  # doctest: +SKIP
            ...     if held is not None:
            ...         held.connection.execute(insert(bills).values(order=held.job.args["order"]))
        """
        with self._first_hold:
            if self._held is None:
                from rowqueue.store.held import Holder

                self._held = Holder(self)
        return self._held.claim(
            queues=queues,
            kinds=kinds,
            where=where,
            lease=lease,
            limit=limit,
            worker=worker,
            independent=independent,
        )

    def extend(self, claims: Sequence[Claim], *, lease: Seconds | None = None) -> list[Outcome]:
        """Renew the leases of claims; an outcome also tells whether somebody asked to cancel."""
        return self.run(claiming.extend(self.settings, claims, lease))

    # a worker's verbs

    def complete(self, claim: Claim, result: Json = None) -> Outcome:
        """The work is done: running → completed."""
        return self.run(plans.complete([claim], [result], self.settings))[0]

    def complete_many(self, claims: Sequence[Claim], results: Sequence[Json] | None = None) -> list[Outcome]:
        """``complete`` for many, in one statement."""
        return self.run(plans.complete(claims, results, self.settings))

    def fail(
        self,
        claim: Claim,
        error: str | BaseException,
        *,
        state: State | None = None,
        delay: Seconds | None = None,
        trace: str = "",
    ) -> Outcome:
        """The attempt failed: running → retryable, available or discarded.

        Args:
            claim: whose attempt.
            error: what went wrong; an exception is stored as its type and message.
            state: where to, whatever the policy says.
            delay: how long to wait, whatever the policy says (seconds or timedelta).
            trace: the traceback.
        """
        return self.run(plans.fail([claim], [error], state, delay, trace, self.settings))[0]

    def fail_many(
        self,
        claims: Sequence[Claim],
        errors: Sequence[str | BaseException],
        *,
        state: State | None = None,
        delay: Seconds | None = None,
    ) -> list[Outcome]:
        """``fail`` for many, in one statement."""
        return self.run(plans.fail(claims, errors, state, delay, "", self.settings))

    def snooze(self, claim: Claim, delay: Seconds) -> Outcome:
        """Not now: running → scheduled, the attempt given back."""
        return self.run(plans.snooze([claim], delay))[0]

    def snooze_many(self, claims: Sequence[Claim], delay: Seconds) -> list[Outcome]:
        """``snooze`` for many, in one statement."""
        return self.run(plans.snooze(claims, delay))

    def snooze_unknown(self, claims: Sequence[Claim], delay: Seconds = 60.0) -> list[Outcome]:
        """Give back jobs of kinds that nobody here knows, counted for ``stats``."""
        return self.run(operate.snooze_unknown(claims, seconds_of(delay, "delay")))

    def release(self, claim: Claim) -> Outcome:
        """Give a job back unworked: running → available, the attempt given back."""
        return self.run(plans.release([claim]))[0]

    def release_many(self, claims: Sequence[Claim]) -> list[Outcome]:
        """``release`` for many, in one statement."""
        return self.run(plans.release(claims))

    def finish(self, finishes: Sequence[Finish]) -> list[Outcome]:
        """Write a mixed batch of endings; answers in the order given."""
        return self.run(finish.finish(finishes)) if finishes else []

    def settled(self, claims: Sequence[Claim]) -> list[Outcome]:
        """How claims stand now: the way to resolve a finish whose reply was lost."""
        return self.run(finish.settled(claims))

    def progress(self, claim: Claim, fraction: float, message: str = "") -> Outcome:
        """Say how far a running job is: a fraction from 0 to 1, and a line of text."""
        return self.run(finish.progress(claim, fraction, message))

    def add_log(self, claim: Claim, entry: Json) -> int | Outcome:
        """Add an entry to a running job's log; returns its number, or why it was refused."""
        return self.run(finish.add_log(claim, entry))

    def update_log(self, claim: Claim, seq: int, entry: Json) -> Outcome:
        """Replace an entry that this claim added."""
        return self.run(finish.update_log(claim, seq, entry))
