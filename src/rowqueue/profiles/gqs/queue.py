"""Pusher, Puller, Observer and Cleaner over one store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from random import random
from typing import Any, TypeVar
from uuid import UUID

from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import Verb
from rowqueue.core.values import Seconds, seconds_of
from rowqueue.operations.base import Operation
from rowqueue.profiles.gqs import operations
from rowqueue.profiles.gqs.model import (
    Backoff,
    ErrCompleteFailed,
    ErrJobLost,
    ErrKill,
    ErrLockLost,
    GqsError,
    Job,
    Message,
    Status,
)
from rowqueue.profiles.gqs.table import ddl, table
from rowqueue.store import Store
from rowqueue.store.borrowed import BoundStore
from rowqueue.store.database import Database, driver_dialect

T = TypeVar("T")
UNLIMITED = 1_000_000


def init_db(database: Any, name: str = "jobs", schema: str | None = None) -> None:
    """Create gqs' table and its indexes, all or nothing; what is there already stays (gqs' ``InitDB``).

    Args:
        database: a URL, or a SQLAlchemy Engine.
        name: the table.
        schema: its database schema.
    """
    where = Database(database)
    statements = ddl(names.text(name, "the table's name"), schema, driver_dialect(where.url.drivername))
    with contextlib.closing(where.connect()) as connection:
        connection.execute("BEGIN" if where.name == "postgresql" else "BEGIN IMMEDIATE")
        if where.name == "postgresql":  # IF NOT EXISTS lets two creators collide
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('rowqueue gqs'))")
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")


class Gqs:
    """One gqs queue: all four of its parts, each also to be had by itself.

    ``store`` is the same table with every verb of rowqueue's, for a ``rowqueue.Worker`` or async code.

    Args:
        database: a PostgreSQL or SQLite URL, or a SQLAlchemy Engine.
        name: the table, made by ``init_db``.
        schema: its database schema.
        max_attempts: pulls after which a job that was lost to a crash is Dead, instead of being pulled for
            ever; None is without limit. A job that its handler returned is not judged by it.
        seed_answers: answer as gqs does where that is a known fault: a late worker completes, returns, kills or
            extends a job that another one has pulled since; crash loops never end; a batch of 0 is everything.

    Raises:
        ConfigurationError: the table is not there.
    """

    def __init__(
        self,
        database: Any,
        name: str = "jobs",
        schema: str | None = None,
        *,
        max_attempts: int | None = 25,
        seed_answers: bool = False,
    ) -> None:
        where = Database(database)
        limit = UNLIMITED if max_attempts is None or seed_answers else max_attempts
        self.store = Store(database, table(name, schema, where.dialect), max_attempts=limit)
        self.seed_answers = seed_answers
        self.pusher = Pusher(self.store.run)
        self.puller = Puller(self)
        self.observer = Observer(self.store.run)
        self.cleaner = Cleaner(self.store.run)

    def on(self, connection: Any) -> Pusher:
        """A pusher in the transaction of a connection of yours: the job exists exactly when that commits.

        Args:
            connection: a SQLAlchemy Session or Connection, or one of psycopg's or sqlite3's.
        """
        bound = self.store.on(connection)
        if not isinstance(bound, BoundStore):
            raise ConfigurationError("on() takes a sync connection here")
        return Pusher(bound.run)

    def close(self) -> None:
        """Close the connections."""
        self.store.close()


class Pusher:
    """Puts messages into the queue."""

    def __init__(self, run: Callable[[Operation[Job]], Job]) -> None:
        self._run = run

    def push(self, message: Message, delay: Seconds = 0.0) -> Job:
        """Queue a message, to run after a delay (seconds or timedelta; negative is in front of the others).

        Raises:
            UniqueConflict: a job has this id already.
        """
        return self._run(operations.push(message, delay))


class Puller:
    """Takes jobs and says how they ended; every verb returns the job as it stands afterwards.

    The verbs take the job, and hold only while it is under that very pull. A bare id needs ``unfenced=True``:
    it is guarded by the status alone, as in gqs, and may take the job from whoever has it now.
    """

    def __init__(self, queue: Gqs) -> None:
        self._queue = queue

    def pull(self, batch: int = 1, lock: Seconds = 30.0, *, worker: str | None = None) -> list[Job]:
        """Take jobs that are due: Pending ones, and those whose lock has expired; oldest ``next_run_at`` first.

        Args:
            batch: the most jobs.
            lock: how long they are this worker's (seconds or timedelta, at least 1 s).
            worker: who pulls; gqs' table has no room for it.
        """
        if batch <= 0 and self._queue.seed_answers:
            batch = 100_000
        pulled = self._queue.store.run(operations.pull(self._queue.store.settings, batch, lock, worker))
        return [claim.record for claim in pulled]

    def extend_lock(self, job: Job | UUID, lock: Seconds, *, unfenced: bool = False) -> Job:
        """Keep a job for longer, counted from now (seconds or timedelta, at least 1 s).

        Raises:
            ErrLockLost: it is not under this pull any more.
        """
        fenced = self._fenced(job, unfenced)
        return self._do(
            operations.extend(self._queue.store.settings, job, lock, fenced=fenced), ErrLockLost, job
        )

    def complete(self, job: Job | UUID, *, unfenced: bool = False) -> Job:
        """Processing → Done.

        Raises:
            ErrCompleteFailed: it is not Processing under this pull.
        """
        fenced = self._fenced(job, unfenced)
        return self._do(operations.finish(job, Verb.COMPLETE, fenced=fenced), ErrCompleteFailed, job)

    def return_(self, job: Job | UUID, backoff: Seconds = 0.0, *, unfenced: bool = False) -> Job:
        """Processing → Pending, to run after a backoff (seconds or timedelta); the attempt stays counted.

        Raises:
            ErrJobLost: it is not Processing under this pull.
        """
        delay, fenced = seconds_of(backoff, "backoff"), self._fenced(job, unfenced)
        return self._do(operations.finish(job, Verb.SNOOZE, delay, fenced=fenced), ErrJobLost, job)

    def kill(self, job: Job | UUID, *, unfenced: bool = False) -> Job:
        """Pending or Processing → Dead; not if somebody has pulled it since this job was read.

        Raises:
            ErrJobLost: it is Done or Dead, or was pulled since.
        """
        fenced = self._fenced(job, unfenced)
        return self._do(operations.kill(job, fenced=fenced), ErrJobLost, job)

    def handle(self, job: Job, handler: Callable[[Job], object], backoff: Backoff) -> Job | None:
        """Run a handler on a pulled job and write how it ended, as gqs' worker does.

        Returns:
            The job afterwards; None where the handler found that its lock was lost.
        """
        try:
            handler(job)
        except ErrLockLost:
            return None
        except ErrKill:
            return self.kill(job)
        except Exception:  # noqa: BLE001 - whatever a handler raises is a failure
            delay = backoff.next(job.attempts, random=random())  # noqa: S311 - jitter
            return self.kill(job) if delay is None else self.return_(job, delay)
        return self.complete(job)

    def _fenced(self, job: Job | UUID, unfenced: bool) -> bool:
        if not isinstance(job, Job) and not unfenced:
            raise ConfigurationError(
                "an id says nothing about who has the job: pass the job, or unfenced=True"
            )
        return not (unfenced or self._queue.seed_answers)

    def _do(self, operation: Operation[operations.Changed], error: type[GqsError], job: Job | UUID) -> Job:
        done, found = self._queue.store.run(operation)
        if done and found is not None:
            return found
        id_ = job.id if isinstance(job, Job) else job
        if found is None:
            raise error(f"job {id_} is gone")
        pulls = f"{found.attempts} pulls"
        asked = f", and this one is the job after {job.attempts}" if isinstance(job, Job) else ""
        raise error(f"job {id_} is {found.status} after {pulls}{asked}")


class Observer:
    """Looks at jobs."""

    def __init__(self, run: Callable[[Operation[Any]], Any]) -> None:
        self._run = run

    def get(self, id: UUID) -> Job | None:
        """One job, or None."""
        found: Job | None = self._run(operations.get(id))
        return found

    def list(self, status: Status = Status.UNKNOWN, limit: int = 0) -> list[Job]:
        """Jobs of a status (Unknown: of all), oldest first; a limit of 0 or less is none."""
        found: list[Job] = self._run(operations.list_jobs(status, limit))
        return found


class Cleaner:
    """Deletes jobs that ended."""

    def __init__(self, run: Callable[[Operation[int]], int]) -> None:
        self._run = run

    def clean(self, status: Status = Status.UNKNOWN, before: datetime | None = None) -> int:
        """Delete Done and Dead jobs (or one of these), 1,000 in a transaction; how many.

        Args:
            status: Done, Dead, or Unknown for both.
            before: only those that did not change after this aware datetime.

        Raises:
            ErrBadStatus: another status.
        """
        count = last = self._run(operations.clean(status, before))
        while last == operations.CHUNK:
            last = self._run(operations.clean(status, before))
            count += last
        return count
