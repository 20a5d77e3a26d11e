"""River's client: the verbs in transactions of their own, claiming, upkeep, queues."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import State
from rowqueue.core.values import Outcome, Seconds
from rowqueue.operations.base import Operation
from rowqueue.profiles.river import management, queues
from rowqueue.profiles.river.insert import queue_name
from rowqueue.profiles.river.management import Stuck
from rowqueue.profiles.river.queues import Queue
from rowqueue.profiles.river.rows import ErrNotFound, Job, JobRow, JobScheduleResult, JobState, job_of
from rowqueue.profiles.river.table import RETRY, table
from rowqueue.profiles.river.verbs import Verbs
from rowqueue.store import Store
from rowqueue.store.borrowed import BoundStore

T = TypeVar("T")

RETENTION: Mapping[JobState, float] = {
    JobState.CANCELLED: 86_400.0,
    JobState.COMPLETED: 86_400.0,
    JobState.DISCARDED: 7 * 86_400.0,
}
"""How long River keeps final jobs (seconds)."""


class Client(Verbs):
    """A client on River's tables, beside River's own: it inserts, works, cancels and tidies the same jobs.

    ``store`` is the same table with every verb of rowqueue's, for a ``rowqueue.Worker`` or async code.

    Args:
        database: a PostgreSQL URL, or a SQLAlchemy Engine.
        schema: the database schema of River's tables; None is the connection's own.
        id: who works, for ``attempted_by``; None makes one up.
        max_attempts: total runs of an inserted job, unless its options say otherwise.
        lease: how long a claim of ours lasts without ``extend`` (seconds or timedelta).
        rescue_stuck_jobs_after: how old a job that another program runs must be to be rescued (seconds).
        notify: tell River's clients about inserts, so that they need not poll.
        seed_answers: answer as River does where that is a known fault: an old attempt may finish a newer
            one, a rescue overwrites what changed, a cancellation is lost when the job runs again within 5 s,
            and a retry that meets a taken unique key is a bare database error.

    Raises:
        ConfigurationError: not a PostgreSQL database, or ``river_job`` is not there.

    Example:
        >>> client = Client("postgresql://localhost/app")  # doctest: +SKIP
        >>> for job in client.job_get_available(10, queue="mail"):  # doctest: +SKIP
        ...     client.work(job, send)
    """

    def __init__(
        self,
        database: Any,
        schema: str | None = None,
        *,
        id: str | None = None,
        max_attempts: int = 25,
        lease: Seconds = 30.0,
        rescue_stuck_jobs_after: float = 3600.0,
        notify: bool = True,
        seed_answers: bool = False,
    ) -> None:
        super().__init__(max_attempts=max_attempts, notify=notify, seed_answers=seed_answers)
        self.id = id or f"rowqueue_{uuid.uuid4().hex}"
        mapping = table(schema, rescue_after=rescue_stuck_jobs_after, seed_answers=seed_answers)
        self.store = Store(
            database,
            mapping,
            lease=lease,
            retry=RETRY,
            max_attempts=max_attempts,
            max_rescues=1_000_000,
        )
        if self.store.database.name != "postgresql":
            raise ConfigurationError("River's table lives in PostgreSQL: pass a postgresql:// URL")

    def _run(self, operation: Operation[T]) -> T:
        return self.store.run(operation)

    def close(self) -> None:
        """Close the connections."""
        self.store.close()

    def tx(self, connection: Any) -> ClientTx:
        """The verbs in the transaction of a connection of yours (River's ``…Tx``).

        Args:
            connection: a SQLAlchemy Session or Connection, or a psycopg connection.

        Raises:
            ConfigurationError: an async connection, or one to another kind of database.
        """
        bound = self.store.on(connection)
        if not isinstance(bound, BoundStore):
            raise ConfigurationError(
                "tx() takes a sync connection; await store.on(connection) has the async verbs"
            )
        return ClientTx(self, bound)

    def job_complete_tx(self, connection: Any, job: Job, output: Any = None) -> JobRow:
        """Complete a job in your transaction: its effects and yours take place together, or not at all.

        Raises:
            LeaseLost: it is not this worker's any more: roll back.
            NotDone: it does not run.
        """
        bound = self.tx(connection)
        bound.job_complete(job, output).or_raise()
        return bound.job_get(job.id)

    # work

    def job_get_available(
        self, max_to_lock: int = 1, *, queue: str | None = None, lease: Seconds | None = None
    ) -> list[Job]:
        """Claim jobs that are due, in order of priority, time and id; paused queues give none.

        Args:
            max_to_lock: the most jobs.
            queue: only of this queue; None takes from all.
            lease: how long the claims last (seconds or timedelta).
        """
        queues_ = None if queue is None else [queue_name(queue)]
        claims = self.store.claim(max_to_lock, queues=queues_, lease=lease, worker=self.id)
        return [job_of(claim.record, claim) for claim in claims]

    def extend(self, jobs: Sequence[Job], *, lease: Seconds | None = None) -> list[Outcome]:
        """Renew the leases of jobs; an outcome also tells that somebody asked to cancel the job."""
        return self.store.extend([job.claim for job in jobs], lease=lease)

    # upkeep: any client may do it, at any time

    def job_schedule(self, max_: int = 1000) -> list[JobScheduleResult]:
        """Make due jobs available; discard those whose unique key another job holds."""
        return self._run(management.schedule(max_))

    def job_get_stuck(self, max_: int = 100) -> list[Stuck]:
        """The jobs whose lease ran out, or, run by other programs, that are too old."""
        return self._run(management.stuck(max_))

    def job_rescue_many(self, stuck: Sequence[Stuck]) -> list[JobRow]:
        """Rescue jobs that ``job_get_stuck`` found; what changed since is left alone."""
        return self._run(management.rescue_many(stuck, seed=self.seed_answers)) if stuck else []

    def rescue(self, max_: int = 100) -> list[JobRow]:
        """Find stuck jobs and rescue them: retryable by River's formula, discarded or cancelled."""
        return self.job_rescue_many(self.job_get_stuck(max_))

    def clean(self, retention: Mapping[JobState, float] | None = None, max_: int = 1000) -> int:
        """Delete final jobs older than their state's retention (seconds; -1 keeps them for ever).

        Raises:
            ConfigurationError: a state that is not final.
        """
        ages = {**RETENTION, **(retention or {})}
        wanted = {State(state.value): age for state, age in ages.items() if age != -1}
        return self.store.prune(ages=wanted, limit=max_)

    # queues

    def queue_list(self) -> list[Queue]:
        """The queues that clients have worked."""
        return self._run(queues.queue_list())

    def queue_pause(self, name: str) -> None:
        """Stop claims from a queue, by every client; ``*`` is all of them.

        Raises:
            ErrNotFound: there is no such queue.
        """
        self._set_paused(name, paused=True)

    def queue_resume(self, name: str) -> None:
        """Let claims from a queue go on; ``*`` is all of them.

        Raises:
            ErrNotFound: there is no such queue.
        """
        self._set_paused(name, paused=False)

    def _set_paused(self, name: str, *, paused: bool) -> None:
        if not self._run(queues.pause(name, paused=paused)):
            raise ErrNotFound(f"there is no queue {name!r}: a client adds it when it first works it")


class ClientTx(Verbs):
    """A client's verbs in the transaction of a connection of the caller's, which commits or rolls back."""

    def __init__(self, client: Client, bound: BoundStore) -> None:
        super().__init__(
            max_attempts=client.max_attempts, notify=client.notify, seed_answers=client.seed_answers
        )
        self._bound = bound

    def _run(self, operation: Operation[T]) -> T:
        return self._bound.run(operation)
