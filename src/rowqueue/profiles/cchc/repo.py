"""cchc's Repo: its methods, on its own tables, with a lease under every job that runs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.values import Claim, Outcome, Seconds
from rowqueue.operations import claim as claiming
from rowqueue.profiles.cchc import operations
from rowqueue.profiles.cchc.rows import (
    ErrAllQueued,
    ErrNoJobs,
    ErrNotFound,
    ErrOthersHold,
    FullText,
    Status,
)
from rowqueue.profiles.cchc.table import mapping
from rowqueue.store.database import Database
from rowqueue.store.doctor import inspector
from rowqueue.store.store import Store


def has_metadata(item: Any) -> ColumnElement[bool]:
    """cchc's rule for eligible items: their metadata was fetched."""
    condition: ColumnElement[bool] = item.c.api.is_not(None)
    return condition


class Repo:
    """cchc's repository of full text jobs; any number of processes, cchc's own too, may share the tables.

    ``rows`` is the same table with every verb of rowqueue's: a destination is a queue.

    Args:
        database: a URL or a SQLAlchemy Engine (PostgreSQL; SQLite, with the same columns, ids as text).
        schema: where ``fulltext`` is; None is ``jobs`` on PostgreSQL.
        items: the table of items, which has an ``id``.
        items_schema: where that is; None is the connection's own.
        eligible: from the table of items to the condition for having jobs.
        lease: how long a job that runs is its worker's without ``extend`` (seconds or timedelta).
        max_rescues: how many workers may die of a job before it is failed.
        seed_answers: answer as the original does where that is a known fault: what others hold counts as
            queued, or as none; a save overwrites whatever is there; a retry deletes jobs.

    Raises:
        ConfigurationError: a table is not there.

    Example:
        >>> repo = Repo("postgresql://localhost/cchc")  # doctest: +SKIP
        >>> job = repo.create_job_for_unqueued("language")  # doctest: +SKIP
        >>> job = repo.get_ready_job("language")  # doctest: +SKIP
        >>> repo.save_full_text(job.finish())  # doctest: +SKIP
    """

    def __init__(
        self,
        database: Any,
        *,
        schema: str | None = None,
        items: str = "items",
        items_schema: str | None = None,
        eligible: Callable[[Any], ColumnElement[bool]] = has_metadata,
        lease: Seconds = 30.0,
        max_rescues: int = 3,
        seed_answers: bool = False,
    ) -> None:
        self.seed_answers = seed_answers
        source = Database(database)
        place = "jobs" if schema is None and source.name == "postgresql" else schema
        self.rows = Store(
            source.engine or source.url,
            mapping(place),
            lease=lease,
            retry=RetryPolicy.constant(0),
            max_attempts=1,  # cchc has no attempts: what failed waits for a person
            max_rescues=max_rescues,
        )
        self._items = operations.Items(_reflect(source, items, items_schema), eligible)

    def init(self) -> None:
        """Create rowqueue's own tables, for leases, beside cchc's."""
        self.rows.init()

    def close(self) -> None:
        """Close the connections."""
        self.rows.close()

    # the original's methods

    def create_job_for_unqueued(self, destination: str) -> FullText:
        """Make a job for one eligible item that has none for this destination.

        Raises:
            ErrAllQueued: every eligible item has one.
            ErrOthersHold: other processes are making the ones that are left.
        """
        return self.create_jobs_for_unqueued(destination, limit=1)[0]

    def create_jobs_for_unqueued(self, destination: str, *, limit: int = 100) -> list[FullText]:
        """``create_job_for_unqueued`` for up to so many items at once, in the order of their ids."""
        name = names.text(destination, "destination")
        names.whole(limit, "limit", 1, 10_000)
        created = self.rows.run(operations.create(self._items, name, limit))
        if created.jobs:
            return created.jobs
        if created.held and not self.seed_answers:
            raise ErrOthersHold(f"others are making the jobs that are left for {name!r}: ask again soon")
        raise ErrAllQueued(f"all items have been queued for {name!r}")

    def get_ready_job(self, destination: str) -> FullText:
        """Claim a ready job of a destination: it is running, started now, and this worker's.

        Raises:
            ErrNoJobs: there is none.
            ErrOthersHold: there are, but others hold them locked.
        """
        return self.get_ready_jobs(destination, limit=1)[0]

    def get_ready_jobs(
        self, destination: str, *, limit: int = 20, worker: str | None = None
    ) -> list[FullText]:
        """``get_ready_job`` for up to so many jobs at once."""
        name = names.text(destination, "destination")
        operation = claiming.claim(self.rows.settings, limit, {name: limit}, None, None, None, worker)
        claims = self.rows.run(operation)
        if claims:
            return [replace(claim.record, claim=claim) for claim in claims]
        if not self.seed_answers and self.rows.run(operations.any_ready(name)):
            raise ErrOthersHold(f"others hold the ready jobs for {name!r}: ask again soon")
        raise ErrNoJobs(f"there are no ready jobs for {name!r}")

    def get_full_text(self, id: uuid.UUID) -> FullText:
        """The job with that id, to look at.

        Raises:
            ErrNotFound: there is none.
        """
        found = self.rows.run(operations.find(id))
        if found is None:
            raise ErrNotFound(f"there is no job {id}")
        return found

    def save_full_text(self, job: FullText) -> FullText:
        """Write a job as it is, new or not; returns it as it stands now, which a later save needs.

        A job that is saved as running becomes this worker's.

        Raises:
            LeaseLost: somebody else works it, or wrote it since it was read.
            UniqueConflict: the item has another job for this destination.
        """
        duration = self.rows.settings.lease_seconds
        return self.rows.run(operations.save(job, duration, fenced=not self.seed_answers))

    # what the original leaves to its programs and to people

    def finish(self, job: FullText) -> Outcome:
        """running → finished, by its worker, at the database's time."""
        return self.rows.complete(_claim(job))

    def skip(self, job: FullText) -> Outcome:
        """running → skipped, by its worker."""
        return self.rows.skip(_claim(job))

    def fail(self, job: FullText) -> Outcome:
        """running → failed, by its worker."""
        return self.rows.discard(_claim(job))

    def extend(self, jobs: Sequence[FullText]) -> list[Outcome]:
        """Renew the leases of jobs that take longer."""
        return self.rows.extend([_claim(job) for job in jobs])

    def rescue(self) -> list[uuid.UUID]:
        """Take back jobs whose worker died; returns their ids."""
        return [_uuid(rescued.key) for rescued in self.rows.rescue()]

    def retry_jobs(self, destination: str | None = None) -> int:
        """Make skipped and failed jobs ready again, of a destination or of all; how many. Their results stay."""
        return self.rows.run(operations.retry(destination, delete=self.seed_answers))

    def job_status(self) -> Mapping[str, Mapping[Status, int]]:
        """How many jobs each destination has in each status."""
        return self.rows.run(operations.status())


def _claim(job: FullText) -> Claim:
    if job.claim is None:
        raise ConfigurationError(
            f"job {job.id} was not claimed: only a job that get_ready_job() returned can be ended"
        )
    return job.claim


def _uuid(key: Any) -> uuid.UUID:
    return key if isinstance(key, uuid.UUID) else uuid.UUID(key)


def _reflect(database: Database, name: str, schema: str | None) -> sa.Table:
    table = sa.Table(name, sa.MetaData(), schema=schema)
    with inspector(database) as inspect:
        try:
            inspect.reflect_table(table, None, resolve_fks=False)
        except exc.NoSuchTableError:
            raise ConfigurationError(f"there is no table of items {name!r}: name it with items=...") from None
    return table
