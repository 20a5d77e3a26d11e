"""River's own words: its rows, states and errors, field for field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from rowqueue.core.errors import NotDone, RowqueueError
from rowqueue.core.values import Claim


class JobState(StrEnum):
    """River's states; the text is the value of its enum ``river_job_state``."""

    AVAILABLE = "available"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    DISCARDED = "discarded"
    PENDING = "pending"
    RETRYABLE = "retryable"
    RUNNING = "running"
    SCHEDULED = "scheduled"


BITS = tuple(reversed(JobState))
"""The state of each bit of ``unique_states``, from the left."""

FINAL = frozenset({JobState.CANCELLED, JobState.COMPLETED, JobState.DISCARDED})
UNIQUE_STATES = frozenset(JobState) - {JobState.CANCELLED, JobState.DISCARDED}
"""River's default: the states in which a job keeps its unique key."""

UNIQUE_REQUIRED = frozenset({JobState.AVAILABLE, JobState.PENDING, JobState.RUNNING, JobState.SCHEDULED})


@dataclass(frozen=True, slots=True)
class AttemptError:
    """One attempt that failed: when, which, its error and, for a crash, its trace."""

    at: datetime
    attempt: int
    error: str
    trace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A row of ``river_job``, field for field; times are aware and in UTC."""

    id: int
    attempt: int
    attempted_at: datetime | None
    attempted_by: tuple[str, ...]
    created_at: datetime
    encoded_args: bytes = field(repr=False)
    errors: tuple[AttemptError, ...] = field(repr=False)
    finalized_at: datetime | None
    kind: str
    max_attempts: int
    metadata: Mapping[str, Any] = field(repr=False)
    priority: int
    queue: str
    scheduled_at: datetime
    state: JobState
    tags: tuple[str, ...]
    unique_key: bytes | None
    unique_states: tuple[JobState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(JobRow):
    """A job that this process works: its row, and the claim that its finishing verbs need."""

    claim: Claim = field(repr=False, compare=False)

    @property
    def args(self) -> Any:
        """The arguments, decoded."""
        return json.loads(self.encoded_args)


@dataclass(frozen=True, slots=True)
class JobInsertResult:
    """What an insert did; ``job`` is the row that holds the unique key where it was skipped."""

    job: JobRow
    unique_skipped_as_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class JobScheduleResult:
    """A job that became due, or was discarded because another one holds its unique key."""

    job: JobRow
    conflict_discarded: bool = False


class ErrNotFound(RowqueueError, LookupError):
    """There is no such job, or queue."""


class ErrJobRunning(NotDone):
    """A running job cannot be deleted."""


class ErrUniqueConflict(NotDone):
    """Another job holds the unique key: finish or delete that one first.

    Args:
        job_id: the job that was to be retried.
        conflict_id: the one that holds the key; None where it has let go meanwhile.
    """

    def __init__(self, job_id: int, conflict_id: int | None) -> None:
        super().__init__(
            f"job {job_id} cannot be retried: job {conflict_id} has its unique key; finish or delete that one first"
        )
        self.job_id = job_id
        self.conflict_id = conflict_id


class JobCancelError(Exception):
    """Raised by a worker: this job can never work, cancel it (River's ``JobCancel``)."""


class JobSnoozeError(Exception):
    """Raised by a worker: not now; the attempt is given back (River's ``JobSnooze``).

    Args:
        duration: how long to wait (seconds).
    """

    def __init__(self, duration: float) -> None:
        super().__init__(f"snoozed for {duration:g} s")
        self.duration = duration


def bits_of(states: frozenset[JobState]) -> str:
    """A set of states as River's bit(8)."""
    return "".join("1" if state in states else "0" for state in BITS)


def states_of(bits: str | None) -> tuple[JobState, ...]:
    """River's bit(8) as states, in the order of their names."""
    if bits is None:
        return ()
    return tuple(sorted(state for state, bit in zip(BITS, bits, strict=True) if bit == "1"))


def job_row(row: Mapping[str, Any]) -> JobRow:
    """A row as ``table.text_columns`` reads it."""
    return JobRow(**_fields(row))


def job_of(row: JobRow, claim: Claim) -> Job:
    """A row that was claimed, with its claim."""
    names = (name for name in JobRow.__dataclass_fields__)
    return Job(claim=claim, **{name: getattr(row, name) for name in names})


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    plain = ("id", "attempt", "kind", "max_attempts", "priority", "queue")
    moments = ("attempted_at", "created_at", "finalized_at", "scheduled_at")
    times = {name: None if row[name] is None else row[name].astimezone(UTC) for name in moments}
    return (
        {name: row[name] for name in plain}
        | times
        | {
            "attempted_by": tuple(row["attempted_by"] or ()),
            "encoded_args": (row["args_text"] or "null").encode(),
            "errors": tuple(_error(entry) for entry in json.loads(row["errors_text"] or "[]")),
            "metadata": json.loads(row["metadata_text"]),
            "state": JobState(row["state"]),
            "tags": tuple(row["tags"] or ()),
            "unique_key": None if row["unique_key"] is None else bytes(row["unique_key"]),
            "unique_states": states_of(row["unique_states_text"]),
        }
    )


def _error(entry: Mapping[str, Any]) -> AttemptError:
    at = datetime.fromisoformat(entry["at"])
    return AttemptError(at, entry["attempt"], entry["error"], entry.get("trace") or "")
