"""What happens in a worker, as values that anybody may listen to: logging, tests, metrics."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import State
from rowqueue.core.values import Job, Reason, Rescued


@dataclass(frozen=True, slots=True)
class Event:
    """The common base."""


@dataclass(frozen=True, slots=True)
class WorkerStarted(Event):
    """The worker begins to claim."""

    worker: str
    queues: dict[str, int]


@dataclass(frozen=True, slots=True)
class WorkerStopping(Event):
    """It claims no more; ``hard``: it does not wait for its handlers either."""

    worker: str
    hard: bool


@dataclass(frozen=True, slots=True)
class WorkerStopped(Event):
    """It is done; ``left`` handlers could not be ended (threads that go on running)."""

    worker: str
    left: int


@dataclass(frozen=True, slots=True)
class JobEvent(Event):
    """Something about one job; ``job`` is the row as it was claimed."""

    job: Job


@dataclass(frozen=True, slots=True)
class Claimed(JobEvent):
    """This worker has it."""


@dataclass(frozen=True, slots=True)
class Started(JobEvent):
    """Its handler is called now."""


@dataclass(frozen=True, slots=True)
class Unknown(JobEvent):
    """Nobody here knows its kind: it is snoozed."""


@dataclass(frozen=True, slots=True)
class TimedOut(JobEvent):
    """It ran for longer than its timeout (seconds): the handler is told."""

    timeout: float


@dataclass(frozen=True, slots=True)
class CancelRequested(JobEvent):
    """Somebody asked to cancel it: the handler is told."""


@dataclass(frozen=True, slots=True)
class Fenced(JobEvent):
    """Its lease could not be renewed and is about to end: the handler is told."""


@dataclass(frozen=True, slots=True)
class LeaseLost(JobEvent):
    """Somebody else has it, or it is gone: the handler is told."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Finished(JobEvent):
    """An ending that was written; ``state`` is where the job stands since.

    A job that was asked to be cancelled while it ran stands ``cancelled`` after any verb but complete.
    """

    state: State


@dataclass(frozen=True, slots=True)
class Completed(Finished):
    """complete."""


@dataclass(frozen=True, slots=True)
class Failed(Finished):
    """fail: runs again after ``delay`` seconds when ``state`` is retryable."""

    error: str
    delay: float


@dataclass(frozen=True, slots=True)
class Snoozed(Finished):
    """snooze."""

    delay: float


@dataclass(frozen=True, slots=True)
class Released(Finished):
    """release: given back unfinished, the attempt not charged."""


@dataclass(frozen=True, slots=True)
class Skipped(Finished):
    """skip."""


@dataclass(frozen=True, slots=True)
class Cancelled(Finished):
    """cancel."""


@dataclass(frozen=True, slots=True)
class Discarded(Finished):
    """discard."""


@dataclass(frozen=True, slots=True)
class Refused(JobEvent):
    """A stale write: the ending was not written, because the lease was not this worker's any more."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class CutOff(JobEvent):
    """The connection of its held claim was lost, and its work with it: a rescue makes it run again, as after a crash."""


@dataclass(frozen=True, slots=True)
class Unwritable(JobEvent):
    """The database refuses to store the ending in any form: the lease will run out."""


@dataclass(frozen=True, slots=True)
class ResultDropped(JobEvent):
    """It completed, but what its handler returned cannot be stored."""

    error: str


@dataclass(frozen=True, slots=True)
class RanOn(JobEvent):
    """Its handler raised after ``complete_in`` was committed: it stays completed."""

    error: str


@dataclass(frozen=True, slots=True)
class RescuedJob(Event):
    """A job was taken from a worker that did not renew its lease."""

    rescued: Rescued


@dataclass(frozen=True, slots=True)
class Reconnecting(Event):
    """The database does not answer; ``doing`` is asked again in ``delay`` seconds, for ever."""

    doing: str
    error: str
    tries: int
    delay: float


@dataclass(frozen=True, slots=True)
class Reconnected(Event):
    """The database answers again."""

    doing: str
    tries: int


Callback: TypeAlias = Callable[[Any], object]


class Events:
    """Hands events to whoever listens, in the loop's thread; a callback that raises is logged and goes on.

    An event that nobody listens to is counted, but not even made: most workers want no event for
    each of 40,000 jobs a second.
    """

    def __init__(self) -> None:
        self.counts: Counter[type[Event]] = Counter()
        self._callbacks: dict[type[Event], tuple[Callback, ...]] = {}
        self._subscribers: list[tuple[Callback, tuple[type[Event], ...]]] = []

    def on(self, callback: Callback, *types: type[Event]) -> Callback:
        """Call ``callback(event)`` for events of these types and their subtypes; none is all.

        Raises:
            ConfigurationError: a type is no event.
        """
        for each in types:
            if not isinstance(each, type) or not issubclass(each, Event):
                raise ConfigurationError(f"{each!r} is no event: take classes of rowqueue.worker.events")
        self._subscribers.append((callback, types or (Event,)))
        self._callbacks.clear()
        return callback

    def emit(self, kind: type[Event], *values: Any) -> None:
        """Count an event and hand it out."""
        self.counts[kind] += 1
        callbacks = self._callbacks.get(kind)
        if callbacks is None:
            callbacks = self._wanted(kind)
        if callbacks:
            self._hand_out(callbacks, kind(*values))

    def emit_each(self, kind: type[JobEvent], jobs: Sequence[Job], *values: Any) -> None:
        """``emit`` for each of several jobs, counted at once."""
        self.counts[kind] += len(jobs)
        callbacks = self._wanted(kind)
        for job in jobs if callbacks else ():
            self._hand_out(callbacks, kind(job, *values))

    def _wanted(self, kind: type[Event]) -> tuple[Callback, ...]:
        callbacks = self._callbacks.get(kind)
        if callbacks is None:
            callbacks = tuple(each for each, types in self._subscribers if issubclass(kind, types))
            self._callbacks[kind] = callbacks
        return callbacks

    def _hand_out(self, callbacks: tuple[Callback, ...], event: Event) -> None:
        for callback in callbacks:
            try:
                callback(event)
            except Exception:
                logging.getLogger("rowqueue").exception("a listener of %s failed", type(event).__name__)
