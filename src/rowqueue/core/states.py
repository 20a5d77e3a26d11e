"""The state machine of a job, as one literal table that everything else is checked against."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a job stands. The text is what the database column holds.

    Example:
        >>> State("running").is_final
        False
    """

    PENDING = "pending"
    SCHEDULED = "scheduled"
    AVAILABLE = "available"
    RUNNING = "running"
    RETRYABLE = "retryable"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        """True when no worker will touch the job again."""
        return self in FINAL

    @property
    def bit(self) -> int:
        """This state's bit in a stored set of states (``unique_states``)."""
        return 1 << _ORDER.index(self)


_ORDER = tuple(State)
FINAL = frozenset({State.COMPLETED, State.CANCELLED, State.DISCARDED, State.SKIPPED})
UNFINISHED = frozenset(_ORDER) - FINAL
WAITING = UNFINISHED - {State.RUNNING}


def mask_of(states: frozenset[State]) -> int:
    """Pack a set of states into an integer, one bit each."""
    return sum(state.bit for state in states)


def states_of(mask: int) -> frozenset[State]:
    """Unpack what ``mask_of`` packed."""
    return frozenset(state for state in _ORDER if mask & state.bit)


class Verb(StrEnum):
    """What can happen to a job: one verb per transition, the same word everywhere."""

    ENQUEUE = "enqueue"
    PROMOTE = "promote"
    CLAIM = "claim"
    EXTEND = "extend"
    COMPLETE = "complete"
    FAIL = "fail"
    SNOOZE = "snooze"
    RELEASE = "release"
    SKIP = "skip"
    CANCEL = "cancel"
    DISCARD = "discard"
    RESCUE = "rescue"
    RETRY = "retry"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the table: from which states a verb leads to which.

    ``fenced`` rows are a worker's: they need the lease of its claim. The others are a
    person's or the database clock's, and take the job away from whoever holds it.
    An empty ``targets`` means that the row is gone afterwards.
    """

    verb: Verb
    sources: frozenset[State]
    targets: frozenset[State]
    fenced: bool = False


_RUNNING = frozenset({State.RUNNING})


def _to(*states: State) -> frozenset[State]:
    return frozenset(states)


TRANSITIONS = (
    Transition(Verb.ENQUEUE, frozenset(), _to(State.AVAILABLE, State.SCHEDULED, State.PENDING)),
    Transition(Verb.PROMOTE, _to(State.SCHEDULED, State.RETRYABLE, State.PENDING), _to(State.AVAILABLE)),
    Transition(Verb.CLAIM, _to(State.AVAILABLE), _RUNNING),
    Transition(Verb.EXTEND, _RUNNING, _RUNNING, fenced=True),
    Transition(Verb.COMPLETE, _RUNNING, _to(State.COMPLETED), fenced=True),
    Transition(
        Verb.FAIL,
        _RUNNING,
        _to(State.RETRYABLE, State.AVAILABLE, State.DISCARDED, State.CANCELLED),
        fenced=True,
    ),
    Transition(Verb.SNOOZE, _RUNNING, _to(State.SCHEDULED, State.CANCELLED), fenced=True),
    Transition(Verb.RELEASE, _RUNNING, _to(State.AVAILABLE, State.CANCELLED), fenced=True),
    Transition(Verb.SKIP, _RUNNING, _to(State.SKIPPED, State.CANCELLED), fenced=True),
    Transition(Verb.SKIP, WAITING, _to(State.SKIPPED)),
    Transition(Verb.CANCEL, _RUNNING, _to(State.CANCELLED), fenced=True),
    Transition(Verb.CANCEL, WAITING, _to(State.CANCELLED)),
    Transition(Verb.CANCEL, _RUNNING, _RUNNING),
    Transition(Verb.DISCARD, _RUNNING, _to(State.DISCARDED, State.CANCELLED), fenced=True),
    Transition(Verb.DISCARD, UNFINISHED, _to(State.DISCARDED)),
    Transition(Verb.RESCUE, _RUNNING, _to(State.AVAILABLE, State.DISCARDED, State.CANCELLED)),
    Transition(Verb.RETRY, frozenset(_ORDER) - _RUNNING, _to(State.AVAILABLE)),
    Transition(Verb.DELETE, FINAL, frozenset()),
)


def sources_of(verb: Verb, *, fenced: bool) -> frozenset[State]:
    """The states that a verb may start from: a worker's row of the table, or a person's.

    Args:
        verb: the verb.
        fenced: True for the worker's row, False for the other.

    Returns:
        The union of the sources of the matching rows; empty where there is none.
    """
    rows = (row.sources for row in TRANSITIONS if row.verb is verb and row.fenced is fenced)
    return frozenset().union(*rows)
