"""What is only read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from rowqueue.core import names, payload
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import State
from rowqueue.core.values import (
    Job,
    Key,
    LogEntry,
    Page,
    QueueInfo,
    QueueStats,
    Stats,
    UnclaimableKind,
    WorkerInfo,
)
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.operations.decode import job_of, json_of
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.statements.reading import Filter, page


def get(key: Key) -> Operation[Job | None]:
    """One job, or None."""

    def steps(s: Statements) -> Steps[Job | None]:
        rows = yield s.call("get", **s.key_values(key))
        return job_of(rows[0], s.layout) if rows else None

    return Operation(steps, Access.READ)


def list_jobs(
    *,
    queue: str | None,
    kind: str | None,
    state: State | Collection[State] | None,
    tags: Sequence[str],
    correlation_id: str | None,
    correlation_group: str | None,
    after: str | None,
    limit: int,
    newest_first: bool,
) -> Operation[Page]:
    """One page by key; a job that is enqueued meanwhile never moves another to a second page.

    Raises:
        ConfigurationError: a filter or the cursor is wrong.
    """
    names.whole(limit, "limit", 1, 10_000)
    states = _states(state)
    texts = {
        "queue": queue,
        "kind": kind,
        "correlation_id": correlation_id,
        "correlation_group": correlation_group,
    }
    values: dict[str, Any] = {
        name: names.text(value, name) for name, value in texts.items() if value is not None
    }
    values |= {f"tag_{index}": tag for index, tag in enumerate(names.texts(tags, "tags"))}
    values |= {"after": _cursor(after), "limit": limit + 1}
    chosen = Filter(
        queue=queue is not None,
        kind=kind is not None,
        states=states,
        tags=len(tags),
        correlation_id=correlation_id is not None,
        correlation_group=correlation_group is not None,
        newest_first=newest_first,
        after=after is not None,
    )

    def steps(s: Statements) -> Steps[Page]:
        statement = s.compile("list", page(s.parts, chosen))
        rows = yield statement.call(values)
        jobs = tuple(job_of(row, s.layout) for row in rows[:limit])
        return Page(jobs, str(jobs[-1].id) if len(rows) > limit else None)

    return Operation(steps, Access.READ)


def _states(state: State | Collection[State] | None) -> tuple[State, ...]:
    if state is None:
        return ()
    try:
        return (State(state),) if isinstance(state, str) else tuple(map(State, state))
    except ValueError:
        words = ", ".join(State)
        raise ConfigurationError(f"no such state: {state!r}; there are {words}") from None


def _cursor(after: str | None) -> int | None:
    if after is None:
        return None
    if not after.isascii() or not after.isdigit() or len(after) > 18:
        raise ConfigurationError("after must be the 'next' of the page before")
    return int(after)


def stats() -> Operation[Stats]:
    """Counts by queue and state, the longest wait, paused queues, and kinds that nobody knows."""

    def steps(s: Statements) -> Steps[Stats]:
        counted = yield s.call("stats")
        known, unclaimable = [], []
        if not s.layout.mapped:  # beside a table of the user's there need be no tables of ours
            known = yield s.call("queues")
            unclaimable = yield s.call("stats_unclaimable")
        counts: dict[str, dict[State, int]] = defaultdict(dict)
        oldest: dict[str, float] = {}
        for queue, word, count, waiting in counted:
            state = s.layout.words.get(word)
            if state is None:  # a word of the user's that is no state of ours
                continue
            counts[queue][state] = counts[queue].get(state, 0) + count
            if waiting is not None:
                oldest[queue] = max(0.0, float(waiting))
        paused = {row[0] for row in known if row[1] is not None}
        found = sorted(set(counts) | paused)
        return Stats(
            tuple(QueueStats(name, counts.get(name, {}), oldest.get(name), name in paused) for name in found),
            tuple(UnclaimableKind(*row) for row in unclaimable),
        )

    return Operation(steps, Access.READ)


def queues() -> Operation[list[QueueInfo]]:
    """Queues that were paused or have settings."""

    def steps(s: Statements) -> Steps[list[QueueInfo]]:
        rows = yield s.call("queues")
        return [QueueInfo(name, at, payload.decode(text) if text else {}) for name, at, text in rows]

    return Operation(steps, Access.READ)


def workers() -> Operation[list[WorkerInfo]]:
    """Workers that said they live."""

    def steps(s: Statements) -> Steps[list[WorkerInfo]]:
        rows = yield s.call("workers")
        return [_worker(*row) for row in rows]

    return Operation(steps, Access.READ)


def _worker(
    id_: str, started: datetime, seen: datetime, idle: bool, queues: str, kinds: str, silent: float
) -> WorkerInfo:
    return WorkerInfo(
        id_, started, seen, float(silent), bool(idle), payload.decode(queues), tuple(payload.decode(kinds))
    )


def log(key: Key) -> Operation[list[LogEntry]]:
    """The execution log of one job, oldest first."""

    def steps(s: Statements) -> Steps[list[LogEntry]]:
        rows = yield s.call("log", id=key)
        return [LogEntry(job, lease, seq, at, json_of(text)) for job, lease, seq, at, text in rows]

    return Operation(steps, Access.READ)
