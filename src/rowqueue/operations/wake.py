"""Waking workers: telling those that are idle, saying that one is, and looking at what there is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rowqueue.core.states import State
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.sql.statements.catalog import Statements


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the queues showed.

    Attributes:
        ready: the queues that have a job to claim.
        due: seconds until the next scheduled or retryable job is due; None where there is none.
    """

    ready: tuple[str, ...]
    due: float | None


def look(queues: Sequence[str]) -> Operation[Look]:
    """Which of some queues have a job to claim, and when the next job is due: in one statement that only reads."""

    def steps(s: Statements) -> Steps[Look]:
        rows = yield s.call_rows("look", "given", {"queue": list(queues)})
        due = rows[0][2] if rows else None
        return Look(tuple(row[0] for row in rows if row[1]), None if due is None else float(due))

    return Operation(steps, Access.READ)


def say_idle(worker: str, seconds: Mapping[str, float]) -> Operation[None]:
    """A worker would start jobs of these queues at once, for so many seconds from now on; 0 is no more."""

    def steps(s: Statements) -> Steps[None]:
        queues: list[Any] = sorted(seconds)
        columns = {"queue": queues, "seconds": [float(seconds[queue]) for queue in queues]}
        yield s.call_rows("idle", "given", columns, worker=worker)

    return Operation(steps, Access.WRITE)


def wake(s: Statements, news: Iterable[tuple[str, str]]) -> Steps[None]:
    """Tell idle workers of jobs, after the commit.

    Args:
        s: the statements.
        news: states (available, scheduled) and queues.
    """
    if s.can_wake and (told := sorted(set(news))):
        columns = {"state": [state for state, _ in told], "queue": [queue for _, queue in told]}
        yield replace(s.call_rows("wake", "given", columns), after=True)


def tell(s: Statements, news: Iterable[tuple[str, str]]) -> Steps[None]:
    """``wake`` where somebody is idle for certain: one job, as mostly, is told by a statement that need not look."""
    told = sorted(set(news))
    if len(told) > 1:
        yield from wake(s, told)
    for state, queue in told if len(told) == 1 else ():
        yield replace(s.call("tell", state=state, queue=queue), after=True)


def wake_available(s: Statements, queues: Iterable[str]) -> Steps[None]:
    """``wake`` for jobs that became available."""
    return wake(s, ((State.AVAILABLE.value, queue) for queue in queues))
