"""What any process does for all: promote, rescue, prune; and what workers say of themselves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import FINAL, State
from rowqueue.core.values import Rescued, Seconds, seconds_of
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.operations.decode import key_of
from rowqueue.operations.settings import StoreSettings
from rowqueue.operations.wake import wake_available
from rowqueue.sql.compiled import Row, Rows
from rowqueue.sql.statements.catalog import Statements

_DAY = 86_400.0
PRUNE_AGES: Mapping[State, float] = {
    State.COMPLETED: _DAY,
    State.SKIPPED: _DAY,
    State.CANCELLED: _DAY,
    State.DISCARDED: 14 * _DAY,
}


def promote_due(limit: int) -> Operation[dict[str, int]]:
    """scheduled, retryable → available when due; how many, by queue."""
    names.whole(limit, "limit", 1, 100_000)

    def steps(s: Statements) -> Steps[dict[str, int]]:
        if not s.layout.has("scheduled_at"):
            return {}
        rows = yield s.call("promote_due", limit=limit)
        promoted = Counter(row[0] for row in rows)
        yield from wake_available(s, promoted)
        return dict(promoted)

    return Operation(steps, Access.WRITE)


def next_due() -> Operation[float | None]:
    """Seconds until the next scheduled or retryable job is due; None where there is none."""

    def steps(s: Statements) -> Steps[float | None]:
        if not s.layout.has("scheduled_at"):
            return None
        rows = yield s.call("next_due")
        return float(rows[0][0]) if rows else None

    return Operation(steps, Access.READ)


def rescue(settings: StoreSettings, limit: int) -> Operation[list[Rescued]]:
    """running with an expired lease → available, or discarded at max_rescues or max_attempts."""
    names.whole(limit, "limit", 1, 100_000)

    def steps(s: Statements) -> Steps[list[Rescued]]:
        values = {"max_rescues": settings.max_rescues, "duration": settings.lease_seconds}
        if s.layout.sidecar is None:
            rows = yield s.call("rescue", limit=limit, **values)
        else:
            rows = yield from _rescue_by_sidecar(s, limit, values)
        rescued = [_rescued(s, row) for row in rows]
        yield from wake_available(s, (each.queue for each in rescued if each.state is State.AVAILABLE))
        return rescued

    return Operation(steps, Access.WRITE)


def _rescue_by_sidecar(s: Statements, limit: int, values: Mapping[str, Any]) -> Steps[Rows]:
    expired = yield s.call("lease_expire", limit=limit)
    rows: Rows = []
    if expired:
        rows += yield s.call(
            "rescue_dropped", **s.pack_keys([key_of(row, s.layout) for row in expired]), **values
        )
    if s.layout.rescue_after is not None and s.layout.has("attempted_at"):
        rows += yield s.call("rescue_foreign", limit=limit, **values)
    return rows


def _rescued(s: Statements, row: Row) -> Rescued:
    kind, queue, word, lease, worker = row[len(s.layout.key) :]
    return Rescued(key_of(row, s.layout), kind, queue, s.layout.state_of(word), lease, worker)


def prune(ages: Mapping[State, Seconds] | None, queue: str | None, limit: int) -> Operation[int]:
    """Delete final jobs that are older than their state's age; never a running row."""
    wanted: dict[State, float] = {}
    for state, age in (PRUNE_AGES if ages is None else ages).items():
        if State(state) not in FINAL:
            raise ConfigurationError(
                f"only final jobs are pruned, and {state} is not: use {', '.join(sorted(FINAL))}"
            )
        wanted[State(state)] = seconds_of(age, f"the age of {state}")
    names.whole(limit, "limit", 1, 100_000)
    name = None if queue is None else names.text(queue, "queue")

    def steps(s: Statements) -> Steps[int]:
        count = 0
        for state, age in wanted.items():
            if state not in s.layout.states:
                continue
            value = s.layout.value(state)
            rows = yield s.call("prune", age=age, state=value, queue=name, limit=limit - count)
            if rows and not s.layout.mapped:
                yield s.call("delete_log", keys=s.dialect.pack_list([row[0] for row in rows]))
            count += len(rows)
            if count >= limit:
                break
        return count

    return Operation(steps, Access.TRANSACTION)


def heartbeat(worker: str, queues: Mapping[str, int], kinds: Sequence[str], idle: bool) -> Operation[None]:
    """A worker says that it lives; the first time also which queues and kinds it has."""
    name = names.text(worker, "worker")

    def steps(s: Statements) -> Steps[None]:
        rows = yield s.call("heartbeat", id=name, idle=idle)
        if not rows:
            packed = {"queues": json.dumps(dict(queues)), "kinds": json.dumps(sorted(kinds))}
            yield s.call("heartbeat_add", id=name, idle=idle, **packed)
            yield s.call("unclaimable_forget", kinds=s.dialect.pack_list(sorted(kinds)))

    return Operation(steps, Access.TRANSACTION)


def forget_worker(worker: str) -> Operation[None]:
    """A worker that stopped in order."""

    def steps(s: Statements) -> Steps[None]:
        yield s.call("heartbeat_forget", id=worker)
        if s.dialect.notifies:
            yield s.call("idle_forget", worker=worker)

    return Operation(steps, Access.WRITE)


def forget_silent_workers(silence: float) -> Operation[None]:
    """Workers that were not heard of for so long (seconds)."""

    def steps(s: Statements) -> Steps[None]:
        yield s.call("heartbeat_prune", offset=-silence)
        if s.dialect.notifies:
            yield s.call("idle_prune", offset=-silence)

    return Operation(steps, Access.WRITE)
