"""The values that go in and out of a store: frozen, slotted, without behaviour that needs a database."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from rowqueue.core.errors import ConfigurationError, LeaseLost, NotDone
from rowqueue.core.states import State

Key: TypeAlias = Any
"""A row's key: an int on the default table; text, a UUID or a tuple on tables of the user's own."""

Seconds: TypeAlias = float | timedelta
"""A length of time: seconds as a number, or a timedelta."""

Json: TypeAlias = Any
"""A value that JSON can hold."""


def seconds_of(value: Seconds, name: str, *, minimum: float = 0.0) -> float:
    """Read a length of time.

    Args:
        value: seconds, or a timedelta.
        name: what it is, for the message.
        minimum: the least that is allowed (seconds).

    Returns:
        Seconds as a float.

    Raises:
        ConfigurationError: not a finite number, or below the minimum.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ConfigurationError(f"{name} must be seconds or a timedelta, not {type(value).__name__}")
    if not minimum <= number < 1e10:
        raise ConfigurationError(f"{name} must be at least {minimum:g} s and finite, not {number!r}")
    return float(number)


@dataclass(frozen=True, slots=True)
class AttemptError:
    """Why one attempt did not complete.

    Attributes:
        at: the database's time of the write.
        attempt: which start it was, counted from 1.
        lease: the fence number of that start.
        error: one line.
        trace: the traceback, shortened; empty where there is none.
    """

    at: datetime
    attempt: int
    lease: int
    error: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job says it is: a fraction from 0 to 1, and a line of text."""

    fraction: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the queue, as it was read.

    Times are aware and in UTC; ``timeout`` is in seconds. Arguments, meta and result stay out
    of the repr, because a repr ends in logs. Where another program stored what Python cannot
    read as JSON, ``args``, ``meta`` and ``result`` are the stored text.
    """

    id: Key
    kind: str
    queue: str
    state: State
    priority: int
    args: dict[str, Json] = field(repr=False)
    scheduled_at: datetime
    attempt: int
    max_attempts: int
    failures: int
    lease: int
    leased_until: datetime | None
    attempted_at: datetime | None
    attempted_by: str | None
    created_at: datetime
    finalized_at: datetime | None
    rescues: int
    snoozes: int
    timeout: float | None
    cancel_requested_at: datetime | None
    unique_key: str | None
    unique_states: frozenset[State]
    tags: tuple[str, ...]
    correlation_id: str | None
    correlation_group: str | None
    meta: dict[str, Json] = field(repr=False)
    errors: tuple[AttemptError, ...] = field(repr=False)
    progress: Progress | None
    result: Json = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be enqueued.

    Args:
        kind: which handler runs it.
        args: its arguments by name; whatever JSON can hold.
        queue: which workers run it.
        priority: 1 (first) to 4 (last).
        delay: run it no sooner than this after the enqueue (seconds or timedelta).
        at: run it no sooner than this aware datetime; not together with ``delay``.
        max_attempts: starts before a failure is final; None takes the store's.
        timeout: how long one attempt may run (seconds or timedelta).
        unique_key: at most one unfinished job may have this key.
        unique_states: a wider set of states in which the key is taken (it must hold every state
            that is not final).
        tags: words to find it by.
        correlation_id: an id that it shares with what caused it.
        correlation_group: a wider group, for listing.
        meta: anything JSON can hold, for people and tools; the handler does not get it.
        pending: park it until ``promote`` is called for it.
    """

    kind: str
    args: dict[str, Json] = field(default_factory=dict[str, Json], repr=False)
    queue: str = "default"
    priority: int = 2
    delay: Seconds | None = None
    at: datetime | None = None
    max_attempts: int | None = None
    timeout: Seconds | None = None
    unique_key: str | None = None
    unique_states: frozenset[State] | None = None
    tags: tuple[str, ...] = ()
    correlation_id: str | None = None
    correlation_group: str | None = None
    meta: dict[str, Json] | None = field(default=None, repr=False)
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What an enqueue did: the row, and whether it is new (False: the unique key was taken, this is its row)."""

    job: Job
    inserted: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work one job: its key and its lease (the fence number of this start).

    Every write by a worker names both; ``job`` is the row as the claim left it.
    """

    key: Key
    lease: int
    job: Job
    record: Any = field(default=None, repr=False)
    fence: tuple[Any, ...] = field(default=(), repr=False)
    """On a table of the user's: the values that together tell this claim from another."""


Reason: TypeAlias = Literal["lost", "gone", "wrong_state", "conflict"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The typed answer of a verb: true when it was done, else it says why not.

    Attributes:
        key: of which job.
        reason: None when done. ``lost``: the lease is somebody else's; ``gone``: no such row;
            ``wrong_state``: the verb does not start from the state it is in; ``conflict``: an
            unfinished job holds the same unique key (its key is in ``conflict``).
        state: the state after the verb or, refused, the state that was found; None when gone.
        lease: the row's lease as it was found or left.
        conflict: the key of the other job.
        cancel_requested: somebody asked for this running job to be cancelled.
    """

    key: Key
    reason: Reason | None = None
    state: State | None = None
    lease: int | None = None
    conflict: Key | None = None
    cancel_requested: bool = False

    def __bool__(self) -> bool:
        return self.reason is None

    @property
    def done(self) -> bool:
        """True when the verb took effect."""
        return self.reason is None

    def or_raise(self) -> Outcome:
        """Return itself when done.

        Raises:
            LeaseLost: the lease is not this worker's any more, or the row is gone.
            NotDone: it was in the wrong state, or its unique key is taken.
        """
        if self.reason is None:
            return self
        if self.reason in {"lost", "gone"}:
            raise LeaseLost(f"job {self.key}: {self.reason}; its state is {self.state or 'unknown'}")
        other = f" (job {self.conflict} has its unique key)" if self.conflict is not None else ""
        raise NotDone(f"job {self.key}: {self.reason}, its state is {self.state}{other}")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of a job's execution log."""

    job: Key
    lease: int
    seq: int
    at: datetime
    entry: Json


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing; pass ``next`` as ``after`` for the following one (None: that was the last)."""

    jobs: tuple[Job, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Rescued:
    """One job that was taken from a worker whose lease had run out."""

    key: Key
    kind: str
    queue: str
    state: State
    lease: int
    worker: str | None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue: its counts by state, the age of the job that waits longest (seconds), and whether it is paused."""

    queue: str
    counts: dict[State, int]
    oldest_waiting: float | None
    paused: bool


@dataclass(frozen=True, slots=True)
class UnclaimableKind:
    """A kind that workers met and did not know: how often, and when last."""

    kind: str
    count: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Stats:
    """What ``stats`` shows."""

    queues: tuple[QueueStats, ...]
    unclaimable: tuple[UnclaimableKind, ...]

    def total(self, state: State) -> int:
        """How many jobs are in a state, over all queues."""
        return sum(queue.counts.get(state, 0) for queue in self.queues)


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """A queue that somebody paused or gave settings."""

    name: str
    paused_at: datetime | None
    settings: dict[str, Json]


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker process as it last said: ``silent`` is how long ago (seconds, by the database's clock)."""

    id: str
    started_at: datetime
    seen_at: datetime
    silent: float
    idle: bool
    queues: dict[str, int]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that ``doctor`` looked at: what, whether it is right, what was seen, and what to do."""

    check: str
    ok: bool
    message: str
    remedy: str = ""
