"""olivere/jobqueue's values: its Job field for field, its requests and its answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rowqueue.core.errors import InvalidArguments, RowqueueError
from rowqueue.core.values import Claim


class JobState(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    WORKING = "working"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class StartupBehaviour(StrEnum):
    """What to do at the start with jobs that are still working."""

    NONE = "none"
    """Nothing: what was left behind is rescued when its lease has run out."""
    MARK_AS_FAILED = "mark_as_failed"
    """Fail them, but not those whose worker lives."""


class ErrNotFound(RowqueueError, LookupError):
    """There is no such job, or it changed since it was read."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job: jobqueue's fields under their Python names, times in nanoseconds since 1970 (0: not yet).

    Attributes:
        id: a UUID as text; an empty one is made up by ``create``.
        topic: which processor runs it.
        args: what it is called with, as a JSON list.
        state: waiting, working, succeeded or failed.
        rank: higher ranks run first, each with workers of its own.
        priority: within a rank, higher runs first; it is minus the time when the job is due.
        retry: how often it was retried.
        max_retry: how often it may be; it runs at most once more than that.
        correlation_group: a group of yours.
        correlation_id: an id of yours; several jobs may share it.
        created: when it was added.
        updated: when the row was last written; ``update`` expects it unchanged.
        started: when it was last started.
        completed: when it succeeded or failed for good.
        claim: who works it; only a job that ``next`` or ``claim`` returned has one.
    """

    id: str = ""
    topic: str = ""
    args: tuple[Any, ...] = field(default=(), repr=False)
    state: JobState = JobState.WAITING
    rank: int = 0
    priority: int = 0
    retry: int = 0
    max_retry: int = 0
    correlation_group: str = ""
    correlation_id: str = ""
    created: int = 0
    updated: int = 0
    started: int = 0
    completed: int = 0
    claim: Claim | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Stats:
    """How many jobs are in each state, all counted at one moment."""

    waiting: int = 0
    working: int = 0
    succeeded: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequest:
    """Which jobs to list: empty filters let everything through; a limit of 0 means 10."""

    topic: str = ""
    correlation_group: str = ""
    correlation_id: str = ""
    state: str = ""
    limit: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ListResponse:
    """One page, last written first, and how many jobs there are on all pages."""

    total: int
    jobs: tuple[Job, ...]


def job_of(row: Mapping[str, Any]) -> Job:
    """A row of ``jobqueue_jobs``."""
    text = row["args"]
    return Job(
        id=row["id"],
        topic=row["topic"] or "",
        args=tuple(json.loads(text)) if text else (),
        state=JobState(row["state"]),
        rank=row["rank"],
        priority=row["priority"] or 0,
        retry=row["retry"] or 0,
        max_retry=row["max_retry"] or 0,
        correlation_group=row["correlation_group"] or "",
        correlation_id=row["correlation_id"] or "",
        created=row["created"] or 0,
        updated=row["last_mod"] or 0,
        started=row["started"] or 0,
        completed=row["completed"] or 0,
    )


def values_of(job: Job) -> dict[str, Any]:
    """A job as the columns of a row; ``last_mod`` is left to the statement.

    Raises:
        InvalidArguments: its args are nothing that JSON can hold.
    """
    try:
        args = json.dumps(list(job.args), ensure_ascii=False, allow_nan=False) if job.args else None
    except (TypeError, ValueError) as error:
        raise InvalidArguments(f"the args of a job of topic {job.topic!r} are no JSON: {error}") from None
    return {
        "id": job.id,
        "topic": job.topic,
        "state": JobState(job.state).value,
        "args": args,
        "rank": job.rank,
        "priority": job.priority,
        "retry": job.retry,
        "max_retry": job.max_retry,
        "correlation_group": job.correlation_group or None,
        "correlation_id": job.correlation_id or None,
        "created": job.created,
        "started": job.started,
        "completed": job.completed,
    }
