"""What the store takes and gives, and its errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from rowqueue.core.errors import RowqueueError
from rowqueue.core.values import Claim


class ErrDequeueTransaction(RowqueueError):
    """dequeue was called on the store of a transaction: call it on the store itself."""


class ErrNoRecord(RowqueueError):
    """The row was locked, but the view does not show it."""


class ErrExecutionLogEntryNotUpdated(RowqueueError):
    """There is no such entry, or the row is not being worked by this claim."""


@dataclass(frozen=True, slots=True)
class Record:
    """A dequeued row: its id, what ``scan`` made of it, and the claim that proves whose it is."""

    record_id: int
    data: Any
    claim: Claim = field(repr=False)


Target: TypeAlias = Record | int


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether the row was updated. ``unfenced``: by its id and state alone, so it may have been another's."""

    updated: bool
    unfenced: bool = False
    entry: int | None = None
    """The number of a log entry, from 1."""

    def __bool__(self) -> bool:
        return self.updated


class Stalled(NamedTuple):
    """The rows that were put back, and those that crashed too often."""

    reset_ids: list[int]
    errored_ids: list[int]


class Heartbeat(NamedTuple):
    """The rows that are still ours, and those of them that somebody wants cancelled."""

    known_ids: list[int]
    cancel_ids: list[int]
