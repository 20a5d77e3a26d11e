"""River's verbs as operations: what a client runs in a transaction of its own, or of the caller's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import random
from typing import Any, TypeVar

from rowqueue.core import payload
from rowqueue.core.control import Cancel, Snooze
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.finish import Finish, one_line
from rowqueue.core.states import State, Verb
from rowqueue.core.values import Claim, Outcome, Seconds, seconds_of
from rowqueue.operations.base import Operation
from rowqueue.profiles.river import management, reading
from rowqueue.profiles.river.insert import InsertManyParams, InsertOpts, insert_many
from rowqueue.profiles.river.reading import JobListParams, JobListResult
from rowqueue.profiles.river.rows import (
    ErrJobRunning,
    ErrNotFound,
    ErrUniqueConflict,
    Job,
    JobCancelError,
    JobInsertResult,
    JobRow,
    JobSnoozeError,
)
from rowqueue.profiles.river.table import RETRY

T = TypeVar("T")
Target = Job | int


class Verbs(ABC):
    """Every verb of River's client; a ``Client`` runs each in a transaction of its own.

    Args:
        max_attempts: total runs of an inserted job, unless its options say otherwise.
        notify: tell River's clients about inserts, so that they need not poll.
        seed_answers: answer as River does where that is a known fault.
    """

    def __init__(self, *, max_attempts: int = 25, notify: bool = True, seed_answers: bool = False) -> None:
        self.max_attempts = max_attempts
        self.notify = notify
        self.seed_answers = seed_answers

    @abstractmethod
    def _run(self, operation: Operation[T]) -> T:
        """Run an operation."""

    # insert

    def insert(self, kind: str, args: Any = None, opts: InsertOpts | None = None) -> JobInsertResult:
        """Insert a job; a taken unique key answers with the row that holds it."""
        params = InsertManyParams(kind, {} if args is None else args, opts or InsertOpts())
        return self.insert_many([params])[0]

    def insert_many(self, params: Sequence[InsertManyParams]) -> list[JobInsertResult]:
        """Insert jobs, all or none, in one statement; answers in the order given."""
        return self._run(insert_many(params, self.max_attempts, self.notify))

    # a person's verbs

    def job_get(self, id_: int) -> JobRow:
        """One row.

        Raises:
            ErrNotFound: there is no such job.
        """
        return _found(id_, self._run(reading.get(id_)))

    def job_list(self, params: JobListParams | None = None) -> JobListResult:
        """One page of rows."""
        return self._run(reading.list_jobs(params or JobListParams()))

    def job_cancel(self, id_: int) -> JobRow:
        """Cancel a job: at once, or, where it runs, by asking whoever runs it.

        Raises:
            ErrNotFound: there is no such job.
        """
        return _found(id_, self._run(management.cancel(id_)))

    def job_retry(self, id_: int) -> JobRow:
        """Run a job again, now, whatever became of it; a running one is left as it is.

        Raises:
            ErrNotFound: there is no such job.
            ErrUniqueConflict: another job holds its unique key (``seed_answers``: the bare UniqueConflict).
        """
        row, rival = self._run(management.retry(id_, seed=self.seed_answers))
        if rival is not None:
            raise ErrUniqueConflict(id_, rival or None)
        return _found(id_, row)

    def job_delete(self, id_: int) -> JobRow:
        """Delete a job that does not run; returns the row that it was.

        Raises:
            ErrNotFound: there is no such job.
            ErrJobRunning: it is running.
        """
        row, deleted = self._run(management.delete(id_))
        found = _found(id_, row)
        if not deleted:
            raise ErrJobRunning(f"job {id_} is running: cancel it, or wait until it is done")
        return found

    # a worker's verbs: with the job, which carries the claim

    def job_complete(self, job: Target, output: Any = None, *, unfenced: bool = False) -> Outcome:
        """running → completed.

        Args:
            job: the job, or, with ``unfenced``, an id.
            output: kept in ``metadata.output``.
            unfenced: guard by the state alone, as River does: whoever runs the job meanwhile loses it.
        """
        text = None if output is None else payload.encode(output, "the output")
        return self._finish(job, lambda claim: Finish(claim, Verb.COMPLETE, result=text), unfenced)

    def job_error(
        self,
        job: Job,
        error: BaseException | str,
        *,
        trace: str = "",
        next_retry: datetime | None = None,
        unfenced: bool = False,
    ) -> Outcome:
        """running → retryable, available when due within 5 s, discarded after the last attempt.

        Args:
            job: whose attempt failed.
            error: what went wrong.
            trace: the traceback.
            next_retry: when to run it again; None, or a moment that is past, goes by River's formula,
                (errors + 1)^4 seconds, give or take 10 %.
            unfenced: guard by the state alone.
        """
        line = error if isinstance(error, str) else one_line(error)
        state, delay = State.RETRYABLE, self._delay(job, next_retry)
        if job.attempt >= job.max_attempts:
            state, delay = State.DISCARDED, 0.0
        return self._finish(
            job,
            lambda claim: Finish(claim, Verb.FAIL, state=state, delay=delay, error=line, trace=trace),
            unfenced,
        )

    def job_snooze(self, job: Target, duration: Seconds, *, unfenced: bool = False) -> Outcome:
        """running → scheduled, or available when due within 5 s; the attempt is given back."""
        delay = seconds_of(duration, "duration")
        return self._finish(job, lambda claim: Finish(claim, Verb.SNOOZE, delay=delay), unfenced)

    def job_interrupt(self, job: Target, *, unfenced: bool = False) -> Outcome:
        """running → available: a soft stop; the attempt is given back."""
        return self._finish(job, lambda claim: Finish(claim, Verb.RELEASE), unfenced)

    def job_end_cancelled(
        self, job: Target, error: BaseException | str, *, unfenced: bool = False
    ) -> Outcome:
        """running → cancelled, by its worker; the error is appended."""
        line = error if isinstance(error, str) else one_line(error)
        return self._finish(job, lambda claim: Finish(claim, Verb.CANCEL, error=line), unfenced)

    def work(
        self,
        job: Job,
        worker: Callable[[Job], Any],
        *,
        next_retry: Callable[[Job], datetime | None] | None = None,
    ) -> Outcome:
        """Run a worker on a job, and write how it ended.

        Args:
            job: what to work.
            worker: returns (completed), or raises JobSnoozeError, JobCancelError (or rowqueue's ``Snooze`` and
                ``Cancel``), or anything else, which is a failed attempt.
            next_retry: when to run a failed job again.
        """
        try:
            output = worker(job)
        except (JobSnoozeError, Snooze) as asked:
            return self.job_snooze(job, asked.duration if isinstance(asked, JobSnoozeError) else asked.delay)
        except (JobCancelError, Cancel) as asked:
            return self.job_end_cancelled(job, asked)
        except Exception as error:  # noqa: BLE001 - whatever a worker raises is a failed attempt
            at = None if next_retry is None else next_retry(job)
            return self.job_error(job, error, trace=management.trace_of(error), next_retry=at)
        return self.job_complete(job, output)

    def _delay(self, job: JobRow, next_retry: datetime | None) -> float:
        if next_retry is not None:
            delay = (next_retry - datetime.now(UTC)).total_seconds()
            if delay > 0:
                return delay
        return RETRY.delay(len(job.errors) + 1, random=random())  # noqa: S311 - jitter

    def _finish(self, job: Target, make: Callable[[Claim], Finish], unfenced: bool) -> Outcome:
        if isinstance(job, Job) and not (unfenced or self.seed_answers):
            return self._run(management.fenced(make(job.claim)))
        if isinstance(job, int) and not unfenced:
            raise ConfigurationError(
                "an id says nothing about who runs the job: pass the job, or unfenced=True"
            )
        return self._run(management.unfenced(job if isinstance(job, int) else job.id, make))


def _found(id_: int, row: JobRow | None) -> JobRow:
    if row is None:
        raise ErrNotFound(f"there is no job {id_} in river_job")
    return row
