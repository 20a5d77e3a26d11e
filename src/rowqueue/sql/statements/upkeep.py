"""What any process does for all: promote what is due, rescue what was left, prune what is old."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rowqueue.core.states import State
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import const, param


def promote_due(parts: Parts) -> Any:
    """scheduled, retryable → available when due; returns the queues."""
    due = parts.alias("due")
    waits, time = parts.waits(due)
    picked = (
        sa.select(*due.key).where(waits, time <= parts.now()).order_by(time, *due.key).limit(parts.limit())
    )
    picked = parts.by_index(picked, due, "due")
    update = parts.update({"state": parts.state(State.AVAILABLE)})
    return update.where(parts.is_one_of(due, picked)).returning(parts.c.queue)


def next_due(parts: Parts) -> Any:
    """Seconds until the next scheduled or retryable job is due."""
    c = parts.c
    waits, time = _not_due(parts)
    first = (
        sa.select(time.label("due"))
        .select_from(c.table)
        .where(waits)
        .order_by(time, *c.key)
        .limit(const(1))
        .subquery("first")
    )
    return sa.select(parts.dialect.seconds_until(first.c.due))


def _not_due(parts: Parts) -> Any:
    """The jobs that wait for their time, and that time: where a table has no state for that, available ones do."""
    c = parts.c
    waits, time = parts.waits(c)
    if not parts.layout.mapped:
        return waits, time
    return sa.or_(waits, sa.and_(c.is_in(State.AVAILABLE), c.scheduled_at > parts.now())), time


def rescue(parts: Parts) -> Any:
    """running with an expired lease → available, or discarded at its limit; locked rows are alive."""
    left = parts.alias("left_behind")
    picked = (
        sa.select(*left.key)
        .where(parts.expired(left), left.is_in(State.RUNNING))
        .order_by(parts.expiry(left))
        .limit(parts.limit())
    )
    return _rescue(parts, parts.is_one_of(left, parts.by_index(picked, left, "lease")))


def _rescue(parts: Parts, chosen: Any) -> Any:
    c = parts.c
    target = parts.state(State.AVAILABLE)
    if State.DISCARDED in parts.layout.states:
        crashes = c.rescues + const(1) >= param("max_rescues", sa.Integer())
        spent = sa.or_(crashes, c.attempt >= c.max_attempts)
        target = sa.case((spent, parts.state(State.DISCARDED)), else_=target)
    target = parts.unless_cancelled(target)
    said = const("the lease ran out: ", sa.Text()).concat(
        sa.func.coalesce(c.attempted_by, const("?", sa.Text()))
    )
    said = said.concat(const(" stopped renewing it", sa.Text()))
    cause = const('"error":', sa.Text()).concat(parts.dialect.quote_json(said))
    update = parts.update(
        {
            "state": target,
            "lease": c.lease + const(1),
            "leased_until": sa.null(),
            "finalized_at": parts.when_final(target),
            "rescues": c.rescues + const(1),
            "errors": parts.with_error(cause),
        }
    )
    return update.where(chosen).returning(*c.key, c.kind, c.queue, c.state, c.lease, c.attempted_by)


def rescue_dropped(parts: Parts) -> Any:
    """``rescue`` of rows whose lease was in the sidecar, and has been taken there."""
    return _rescue(parts, sa.and_(parts.among(parts.c), parts.c.is_in(State.RUNNING)))


def rescue_foreign(parts: Parts) -> Any:
    """``rescue`` of rows that another program claimed and left: without a lease in the sidecar, and old."""
    age, sidecar = parts.layout.rescue_after, parts.layout.sidecar
    assert age is not None
    assert sidecar is not None
    left = parts.alias("left_behind")
    same = [a == sidecar.c[b] for a, b in zip(left.key, parts.layout.key, strict=True)]
    ours = sa.exists().where(*same, sidecar.c.leased_until.is_not(None))
    old = left.attempted_at < parts.dialect.later(const(-age, sa.Double()))
    picked = (
        sa.select(*left.key)
        .where(old, left.is_in(State.RUNNING), ~ours)
        .order_by(*left.key)
        .limit(parts.limit())
    )
    return _rescue(parts, parts.is_one_of(left, picked))


def prune(parts: Parts) -> Any:
    """Final for longer than an age → gone; returns the keys."""
    old = parts.alias("old")
    # NULL is every queue; not ``queue IS NULL OR …``, which the planner takes for 1 row in 200, and then sorts.
    in_queue = sa.func.coalesce(old.queue == param("queue", sa.Text()), sa.true())
    picked = (
        sa.select(*old.key)
        .where(
            # One state at a time: each has an age, and its part of the index.
            old.state == param("state", sa.Text()),
            old.finalized_at <= parts.dialect.later(-param("age", sa.Double())),
            in_queue,
        )
        .order_by(old.finalized_at)
        .limit(parts.limit())
    )
    picked = parts.by_index(picked, old, "final")
    return sa.delete(parts.layout.base).where(parts.is_one_of(old, picked)).returning(*parts.c.key)
