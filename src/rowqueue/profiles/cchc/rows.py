"""cchc's values: FullText, its statuses, and its expected errors."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from rowqueue.core.errors import RowqueueError
from rowqueue.core.values import Claim


class Status(StrEnum):
    """Where a job stands; the words of the enum ``job_statuses``."""

    READY = "ready"
    RUNNING = "running"
    SKIPPED = "skipped"
    FAILED = "failed"
    FINISHED = "finished"


class ErrAllQueued(RowqueueError):
    """Every eligible item has its job for this destination. An expected answer."""


class ErrNoJobs(RowqueueError):
    """There is no ready job for this destination. An expected answer."""


class ErrOthersHold(RowqueueError):
    """There is work left, but other processes hold all of it at this moment: ask again soon."""


class ErrNotFound(RowqueueError, LookupError):
    """There is no such job."""


@dataclass(frozen=True, slots=True)
class FullText:
    """The record of one item's passage to one destination.

    The verbs change nothing in the database: they return the job as it is to be saved.

    Attributes:
        id: its UUID.
        item_id: which item.
        destination: what is to be done with it; an item has one job for each.
        started: when it was last started.
        finished: when it was finished, skipped or failed.
        status: where it stands.
        claim: who works it; only a job that ``get_ready_job`` returned or a start that was saved has one.
        seen: the status and times as they were read, which a save expects unchanged.
    """

    id: uuid.UUID
    item_id: str
    destination: str
    started: datetime | None = None
    finished: datetime | None = None
    status: Status = Status.READY
    claim: Claim | None = field(default=None, repr=False, compare=False)
    seen: tuple[Any, ...] | None = field(default=None, repr=False, compare=False)

    def start(self) -> FullText:
        """It begins now."""
        return replace(self, started=datetime.now(UTC), status=Status.RUNNING)

    def finish(self) -> FullText:
        """It is done."""
        return replace(self, finished=datetime.now(UTC), status=Status.FINISHED)

    def skip(self) -> FullText:
        """There was nothing to do for it."""
        return replace(self, finished=datetime.now(UTC), status=Status.SKIPPED)

    def fail(self) -> FullText:
        """It could not be done."""
        return replace(self, finished=datetime.now(UTC), status=Status.FAILED)


def new_full_text(item_id: str, destination: str) -> FullText:
    """A new, unstarted job for an item; it exists when it is saved."""
    return FullText(uuid.uuid4(), item_id, destination)


def full_text_of(row: Mapping[str, Any]) -> FullText:
    """A row of ``jobs.fulltext``."""
    started, finished = _moment(row["started"]), _moment(row["finished"])
    status = Status(row["status"])
    key = row["id"]
    return FullText(
        id=key if isinstance(key, uuid.UUID) else uuid.UUID(key),
        item_id=row["item_id"],
        destination=row["destination"],
        started=started,
        finished=finished,
        status=status,
        seen=(status, started, finished),
    )


def _moment(value: datetime | str | None) -> datetime | None:
    if value is None:
        return None
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
