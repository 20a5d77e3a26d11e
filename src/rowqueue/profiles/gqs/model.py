"""gqs' own words: messages, jobs, statuses and errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any
from uuid import UUID, uuid4

from rowqueue.core.errors import ConfigurationError, NotDone, RowqueueError


class Status(IntEnum):
    """Where a job stands; the number is what the table holds."""

    UNKNOWN = 0
    PENDING = 1
    PROCESSING = 2
    DONE = 3
    DEAD = 4

    def __str__(self) -> str:
        return self.name.capitalize()


def parse_status(text: str) -> Status:
    """A status by its name.

    Raises:
        ConfigurationError: there is none of that name.
    """
    for status in Status:
        if status and str(status) == text:
            return status
    raise ConfigurationError(f"no such status: {text!r}; there are Pending, Processing, Done and Dead")


class GqsError(RowqueueError):
    """The root of gqs' errors."""


class ErrLockLost(GqsError, NotDone):
    """``extend_lock``: the lock is not this worker's any more."""


class ErrCompleteFailed(GqsError, NotDone):
    """``complete``: the job is not processing, or not under this worker's lock."""


class ErrJobLost(GqsError, NotDone):
    """``return_`` or ``kill``: the job is in the wrong status, or not under this worker's lock."""


class ErrBadStatus(GqsError, ConfigurationError):
    """``clean``: only Done and Dead jobs are deleted."""


class ErrKill(Exception):
    """Raised by a handler: this job can never work, kill it."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is queued: an id that no other job has, words about it, and bytes.

    Args:
        payload: the bytes.
        metadata: a JSON object for people and handlers.
        id: a UUID; made up where it is not given.
    """

    payload: bytes = field(default=b"", repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A row as it was read. ``attempts`` counts pulls and never goes back, so (id, attempts) is the claim."""

    id: UUID
    created_at: datetime
    updated_at: datetime
    status: Status
    attempts: int
    locked_until: datetime | None
    next_run_at: datetime
    metadata: Mapping[str, Any] = field(repr=False)
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Backoff:
    """gqs' backoff: ``initial * multiplier ** (attempts - 1)``, cut at ``max_interval``, then spread.

    Args:
        initial: the first delay (seconds).
        multiplier: by how much each delay grows.
        max_interval: the longest delay before it is spread (seconds).
        randomization: 0.1 spreads a delay over 90 to 110 %.
        max_retries: retries before the job is killed, so ``max_retries + 1`` runs; 0 is without limit.
    """

    initial: float = 1.0
    multiplier: float = 2.0
    max_interval: float = 60.0
    randomization: float = 0.0
    max_retries: int = 0

    def next(self, attempts: int, *, random: float) -> float | None:
        """Seconds until the next run after so many pulls; None: there is none, kill it.

        Args:
            attempts: the job's attempts, this one counted.
            random: from 0 up to 1, for the spread.
        """
        if 0 < self.max_retries < attempts:
            return None
        # The exponent is capped because a float overflows near 1e308.
        grown = self.initial * self.multiplier ** min(attempts - 1, 100)
        return min(grown, self.max_interval) * (1 + self.randomization * (2 * random - 1))
