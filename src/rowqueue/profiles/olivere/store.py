"""olivere/jobqueue's Store: its methods, on its own table, with a lease under every claim."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import sqlalchemy as sa

from rowqueue.core.errors import ConfigurationError
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.values import Claim, Outcome, Seconds
from rowqueue.operations import claim as claiming
from rowqueue.profiles.olivere import operations, reading
from rowqueue.profiles.olivere.rows import (
    ErrNotFound,
    Job,
    ListRequest,
    ListResponse,
    StartupBehaviour,
    Stats,
)
from rowqueue.profiles.olivere.table import jobs_table, mapping
from rowqueue.store.database import Database
from rowqueue.store.store import Store as RowStore

Backoff = Callable[[int], float]
"""From the number of retries so far to the delay before the next (seconds)."""

Jobs: TypeAlias = list[Job]
Outcomes: TypeAlias = list[Outcome]
Ids: TypeAlias = list[str]


def exponential_backoff(retry: int) -> float:
    """The original's: none before the first retry, then 10 ms, 100 ms, 1 s … (seconds), but at most a day."""
    return 0.0 if retry < 1 else float(min(10 ** min(retry, 9) / 1000, 86_400.0))


def create_tables(database: Any) -> None:
    """Create ``jobqueue_jobs`` where it is missing, as the original does at its start.

    Args:
        database: a URL or a SQLAlchemy Engine.
    """
    source = Database(database)
    engine = source.engine or sa.create_engine(source.url, poolclass=sa.NullPool)
    jobs_table().create(engine, checkfirst=True)


class Store:
    """jobqueue's Store on ``jobqueue_jobs``; any number of managers, and the original's, may share the table.

    ``rows`` is the same table with every verb of rowqueue's.

    Args:
        database: a URL or a SQLAlchemy Engine (PostgreSQL or SQLite); ``create_tables`` makes the table.
        schema: where the table is; None is the connection's own.
        backoff: how long a failed job waits, by its retries so far (seconds).
        lease: how long a claim lasts without ``extend`` (seconds or timedelta).
        seed_answers: answer as the original does where that is a known fault: ``next`` only looks and raises
            ErrNotFound when there is nothing, takes jobs that are not due, and ``update`` takes a job from its
            worker; MARK_AS_FAILED fails jobs whose worker lives; a correlation id finds one job.

    Raises:
        ConfigurationError: the table is not there.

    Example:
        >>> store = Store("postgresql://localhost/app")  # doctest: +SKIP
        >>> for job in store.claim({0: 5, 9: 1}):  # doctest: +SKIP
        ...     store.succeed(job)
    """

    def __init__(
        self,
        database: Any,
        *,
        schema: str | None = None,
        backoff: Backoff = exponential_backoff,
        lease: Seconds = 30.0,
        seed_answers: bool = False,
    ) -> None:
        self.seed_answers = seed_answers
        retry = RetryPolicy.custom(lambda attempt: backoff(attempt - 1), name="jobqueue")
        source = Database(database)
        self.rows = RowStore(
            source.engine or source.url, mapping(source.dialect, schema), lease=lease, retry=retry
        )

    def init(self) -> None:
        """Create rowqueue's own tables, for leases, beside the original's."""
        self.rows.init()

    def close(self) -> None:
        """Close the connections."""
        self.rows.close()

    # the original's methods

    def start(self, behaviour: StartupBehaviour = StartupBehaviour.NONE) -> int:
        """Clean up as a manager does at its start; returns how many working jobs were marked as failed."""
        if StartupBehaviour(behaviour) is StartupBehaviour.NONE:
            return 0
        return self.rows.run(operations.mark_as_failed(spare_living=not self.seed_answers))

    def create(self, job: Job, *, due_now: bool = False) -> Job:
        """Add a job as it is; an empty id is made up, and a missing time of creation is now.

        Args:
            job: the job.
            due_now: give it the priority of a job that is due now, as a manager does.

        Raises:
            UniqueConflict: there is a job with that id.
            InvalidArguments: its args are no JSON.
        """
        return self.rows.run(operations.create(replace(job, id=job.id or str(uuid.uuid4())), due_now=due_now))

    def delete(self, job: Job | str) -> Outcome:
        """Remove a job; one that is being worked only by its own claim."""
        return self.rows.run(operations.delete(job))

    def update(self, job: Job) -> Job:
        """Write a job that nobody changed since it was read; returns it as it stands now.

        Raises:
            ErrNotFound: it is gone, it was changed, or somebody else works it.
            InvalidArguments: its args are no JSON.
        """
        fenced = not self.seed_answers
        return self.rows.run(operations.update(job, self.rows.settings.lease_seconds, fenced=fenced))

    def next(self) -> Job | None:
        """Claim the next job of any rank: the highest rank, in it the highest priority that is due; None: idle."""
        if self.seed_answers:
            if (job := self.rows.run(reading.foremost())) is None:
                raise ErrNotFound("there is no waiting job")
            return job
        found = self.claim(None, limit=1)
        return found[0] if found else None

    def stats(self, *, topic: str = "", correlation_group: str = "") -> Stats:
        """How many jobs are in each state, all or those of a topic or group, in one look."""
        return self.rows.run(reading.stats(topic, correlation_group))

    def lookup(self, id: str) -> Job:
        """The job with that id.

        Raises:
            ErrNotFound: there is none.
        """
        found = self.rows.run(reading.find({"id": id}, None))
        if not found:
            raise ErrNotFound(f"there is no job {id}")
        return found[0]

    def lookup_by_correlation_id(self, correlation_id: str) -> Jobs:
        """All jobs with that correlation id, oldest first; an empty list where there is none."""
        limit = 1 if self.seed_answers else None
        return self.rows.run(reading.find({"correlation_id": correlation_id}, limit))

    def list(self, request: ListRequest | None = None) -> ListResponse:
        """A page of jobs, last written first, and how many there are."""
        return self.rows.run(reading.page(request or ListRequest()))

    # what the original does by looking and updating

    def claim(
        self,
        budgets: Mapping[int, int] | None = None,
        *,
        limit: int = 100,
        topics: Sequence[str] | None = None,
        worker: str | None = None,
    ) -> Jobs:
        """Claim jobs that are due: from each rank at most its budget, so that a busy rank blocks no other.

        Args:
            budgets: free workers by rank; ranks that it does not name are left. None: any rank.
            limit: the most jobs.
            topics: only these; jobs of other topics stay waiting for whoever knows them.
            worker: who claims; the table has no column for it.
        """
        queues = None
        if budgets is not None:
            queues = {str(rank): budgets[rank] for rank in sorted(budgets, reverse=True)}
            if not any(queues.values()):
                return []
        settings = self.rows.settings
        operation = claiming.claim(settings, limit, queues, topics, None, None, worker)
        return [replace(claim.record, claim=claim) for claim in self.rows.run(operation)]

    def extend(self, jobs: Sequence[Job]) -> Outcomes:
        """Renew the leases of jobs that take longer."""
        return self.rows.extend([_claim(job) for job in jobs])

    def succeed(self, job: Job) -> Outcome:
        """working → succeeded, by its worker."""
        return self.rows.complete(_claim(job))

    def fail(self, job: Job, error: str | BaseException) -> Outcome:
        """working → waiting until its backoff is over, or failed when its retries are used up, by its worker."""
        return self.rows.fail(_claim(job), error)

    def release(self, job: Job) -> Outcome:
        """working → waiting, unworked, by its worker."""
        return self.rows.release(_claim(job))

    def rescue(self) -> Ids:
        """Take back jobs whose worker died (each is a retry used); returns their ids."""
        return [rescued.key for rescued in self.rows.rescue()]


def _claim(job: Job) -> Claim:
    if job.claim is None:
        raise ConfigurationError(
            f"job {job.id} was not claimed: only a job that next() or claim() returned can be finished"
        )
    return job.claim
