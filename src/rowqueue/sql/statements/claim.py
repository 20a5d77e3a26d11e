"""claim: available → running; and the queues that have something to claim."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.states import State
from rowqueue.sql.dialects import const, param
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.tables import is_in


def claim(parts: Parts, *, kinds: bool = False, where: ColumnElement[bool] | None = None) -> Any:
    """Claim up to so many jobs of each queue, the foremost first; paused queues give none.

    Args:
        parts: tables and dialect.
        kinds: only the kinds in the parameter of that name.
        where: one more condition over the job table.
    """
    ready = parts.job.alias("ready")
    chosen = _claim_lateral if parts.dialect.has_lateral else _claim_one_queue
    return _taken(parts).where(chosen(parts, ready, _conditions(parts, ready, kinds, where)))


def _taken(parts: Parts) -> Any:
    c = parts.job.c
    update = parts.update(
        {
            "state": parts.state(State.RUNNING),
            "attempt": c.attempt + const(1),
            "lease": c.lease + const(1),
            "leased_until": parts.dialect.later(param("duration", sa.Double())),
            "attempted_at": parts.now(),
            "attempted_by": param("worker", sa.Text()),
        }
    )
    return update.returning(*parts.columns())


def _conditions(parts: Parts, ready: Any, kinds: bool, where: ColumnElement[bool] | None) -> list[Any]:
    conditions: list[Any] = [is_in(ready, State.AVAILABLE)]
    if kinds:
        conditions.append(parts.dialect.among(ready.c.kind, "kinds", sa.Text()))
    if where is not None:
        conditions.append(sa.sql.util.ClauseAdapter(ready).traverse(where))
    return conditions


def _claim_lateral(parts: Parts, ready: Any, conditions: list[Any]) -> ColumnElement[bool]:
    """PostgreSQL: by ctid, each queue through its own part of the claim index.

    A join of the locked rows was planned as a hash join over the whole table (20 ms for 500 of
    40,000 rows); by ctid it is a TID scan under any statistics. ``queue = ANY(...)`` instead of a
    LATERAL for each queue sorts the backlog (1,138 ms against 1.3 ms on a million rows).
    """
    wanted = parts.dialect.rows("wanted", {"queue": sa.Text(), "slots": sa.Integer()})
    picked: sa.Select[Any] = (
        sa.select(sa.literal_column("ready.ctid").label("place"))
        .select_from(ready)
        .where(ready.c.queue == wanted.c.queue, *conditions)
        .order_by(ready.c.priority, ready.c.scheduled_at, ready.c.id)
        .limit(wanted.c.slots)
    )
    lateral = parts.dialect.skip_locked(picked, ready).lateral("picked")
    rows = (
        sa.select(lateral.c.place)
        .select_from(wanted.join(lateral, sa.true()))
        .where(~_paused(parts, wanted.c.queue))
        .limit(param("limit", sa.Integer()))
    )
    return sa.literal_column("ctid") == sa.any_(sa.func.array(rows.scalar_subquery()))


def _claim_one_queue(parts: Parts, ready: Any, conditions: list[Any]) -> ColumnElement[bool]:
    """SQLite: one queue a statement, inside the one write transaction."""
    queue = param("queue", sa.Text())
    picked = (
        sa.select(ready.c.id)
        .where(ready.c.queue == queue, *conditions, ~_paused(parts, queue))
        .order_by(ready.c.priority, ready.c.scheduled_at, ready.c.id)
        .limit(param("limit", sa.Integer()))
    )
    return parts.job.c.id.in_(picked)


def _paused(parts: Parts, queue: ColumnElement[Any]) -> ColumnElement[bool]:
    table = parts.tables.queue
    return sa.exists().where(table.c.name == queue, table.c.paused_at.is_not(None))


def ready_queues(parts: Parts) -> Any:
    """The queues that have a ready job, found by hops through the claim index, not by a scan."""
    job = parts.job
    first = sa.select(sa.func.min(job.c.queue).label("queue")).where(is_in(job, State.AVAILABLE))
    hops = first.cte("hops", recursive=True)
    onward = sa.select(sa.func.min(job.c.queue)).where(
        is_in(job, State.AVAILABLE), job.c.queue > hops.c.queue
    )
    hops = hops.union_all(sa.select(onward.scalar_subquery()).where(hops.c.queue.is_not(None)))
    return sa.select(hops.c.queue).where(hops.c.queue.is_not(None))
