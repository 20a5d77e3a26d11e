"""Where River's rules are not ours: its own statements, under the names of those that they stand for.

They take the same parameters and return the same columns, so that every verb of a store, and a worker, obeys
River's state machine on River's table.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.states import State
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import Expression, const, param

SOON = 5.0
"""River's scheduler looks this far ahead (seconds): a job due sooner is made available at once."""

RESCUED = '"error":"Stuck job rescued by JobRescuer"'
_LIMIT = sa.select(param("limit", sa.Integer())).scalar_subquery()
_AVAILABLE_BIT = 7


def builders(*, seed: bool) -> dict[str, Expression]:
    """The statements that ``river_job`` words itself.

    Args:
        seed: lose the cancellation of a job that is to run again within 5 s, as River does.
    """
    return {
        "fail": partial(fail, seed=seed),
        "snooze": partial(snooze, seed=seed),
        "release": partial(release, seed=seed),
        "rescue": rescue,
        "promote_due": promote_due,
        "retry": retry,
        "delete": delete,
    }


def paused(schema: str | None, queue: Any) -> ColumnElement[bool]:
    """The queue is paused, as River's own clients write it."""
    table = sa.table("river_queue", sa.column("name"), sa.column("paused_at"), schema=schema)
    return sa.exists().where(table.c.name == queue, table.c.paused_at.is_not(None))


def _finish(parts: Parts, given: Any, target: Any, values: dict[str, Any]) -> Any:
    common = {"state": target, "leased_until": sa.null(), "finalized_at": parts.when_final(target)}
    return parts.update(common | values).where(parts.fenced(given)).returning(*parts.c.key, parts.c.state)


def _unless_cancelled(parts: Parts, target: Any, seed: bool) -> Any:
    if not seed:
        return parts.unless_cancelled(target)
    slow = target.in_([parts.state(State.RETRYABLE), parts.state(State.SCHEDULED)])
    return sa.case((sa.and_(parts.cancel_asked(), slow), parts.state(State.CANCELLED)), else_=target)


def _when(parts: Parts, delay: Any, later: State) -> Any:
    soon = delay <= const(SOON, sa.Double())
    return sa.case((soon, parts.state(State.AVAILABLE)), else_=parts.state(later))


def fail(parts: Parts, *, seed: bool) -> Any:
    """running → retryable, available when due within 5 s, discarded, or cancelled; the error is appended."""
    given = parts.claims({"state": sa.Text(), "delay": sa.Double(), "error": sa.Text()})
    again = given.c.state == parts.state(State.RETRYABLE)
    wanted = sa.case((again, _when(parts, given.c.delay, State.RETRYABLE)), else_=given.c.state)
    target = _unless_cancelled(parts, wanted, seed)
    runs_again = target.in_([parts.state(State.RETRYABLE), parts.state(State.AVAILABLE)])
    at = sa.case((runs_again, parts.dialect.later(given.c.delay)), else_=parts.c.scheduled_at)
    return _finish(parts, given, target, {"errors": parts.with_error(given.c.error), "scheduled_at": at})


def snooze(parts: Parts, *, seed: bool) -> Any:
    """running → scheduled, or available when due within 5 s; the attempt is given back."""
    given, c = parts.claims({"delay": sa.Double()}), parts.c
    target = _unless_cancelled(parts, _when(parts, given.c.delay, State.SCHEDULED), seed)
    values = {
        "attempt": c.attempt - const(1),
        "snoozes": c.snoozes + const(1),
        "scheduled_at": parts.dialect.later(given.c.delay),
    }
    return _finish(parts, given, target, values)


def release(parts: Parts, *, seed: bool) -> Any:
    """running → available: a soft stop; the attempt is given back."""
    given = parts.claims()
    target = _unless_cancelled(parts, parts.state(State.AVAILABLE), seed)
    return _finish(parts, given, target, {"attempt": parts.c.attempt - const(1)})


def rescue(parts: Parts) -> Any:
    """running, and left → retryable by River's formula, discarded or cancelled; locked rows are alive."""
    left = parts.alias("left_behind")
    picked = (
        sa.select(*left.key)
        .where(left.is_in(State.RUNNING), parts.expired(left))
        .order_by(left.attempted_at)
        .limit(_LIMIT)
    )
    c = parts.c
    update = _rescued(parts).where(parts.is_one_of(left, picked))
    return update.returning(*c.key, c.kind, c.queue, c.state, c.lease, c.attempted_by)


def stuck(parts: Parts) -> Any:
    """The jobs that ``rescue`` would take, with their fences."""
    c = parts.c
    select = sa.select(*c.key, *c.fence).where(c.is_in(State.RUNNING), parts.expired(c))
    return select.order_by(c.attempted_at).limit(_LIMIT)


def rescue_given(parts: Parts, *, seed: bool) -> Any:
    """``rescue`` of jobs found before; as River does it, whatever became of them meanwhile."""
    given = parts.claims()
    guard = sa.and_(*parts.keys_match(parts.c, given)) if seed else parts.fenced(given)
    return _rescued(parts).where(guard).returning(*parts.c.key, parts.c.state)


def _rescued(parts: Parts) -> Any:
    c = parts.c
    spent = c.attempt >= c.max_attempts
    ended = sa.case((spent, parts.state(State.DISCARDED)), else_=parts.state(State.RETRYABLE))
    target = parts.unless_cancelled(ended)
    power: ColumnElement[Any] = sa.func.power(
        sa.cast(c.failures + const(1), sa.Double()), const(4), type_=sa.Double()
    )
    jitter = const(0.9, sa.Double()) + const(0.2, sa.Double()) * sa.func.random(type_=sa.Double())
    delay: ColumnElement[Any] = (
        sa.func.least(power, const(9_223_372_036.0, sa.Double()), type_=sa.Double()) * jitter
    )
    return parts.update(
        {
            "state": target,
            "leased_until": sa.null(),
            "finalized_at": parts.when_final(target),
            "scheduled_at": sa.case((spent, c.scheduled_at), else_=parts.dialect.later(delay)),
            "rescues": c.rescues + const(1),
            "errors": parts.with_error(const(RESCUED, sa.Text())),
        }
    )


def promote_due(parts: Parts) -> Any:
    """``schedule``, answering with the queues."""
    return schedule(parts).returning(parts.c.queue)


def schedule(parts: Parts) -> Any:
    """scheduled, retryable → available when due, or discarded where another job holds the unique key."""
    table, c = parts.layout.base, parts.c
    due = parts.alias("due")
    d = due.table.c
    picked: Any = (
        sa.select(d.id, d.unique_key, d.unique_states, d.priority, d.scheduled_at, d.state)
        .where(
            due.is_in(State.SCHEDULED, State.RETRYABLE),
            d.scheduled_at <= parts.dialect.later(const(SOON, sa.Double())),
        )
        .order_by(d.priority, d.scheduled_at, d.id)
        .limit(_LIMIT)
    )
    locked = parts.dialect.skip_locked(picked, due.table).cte("locked")
    wants = sa.and_(
        locked.c.unique_key.is_not(None),
        sa.func.get_bit(locked.c.unique_states, const(_AVAILABLE_BIT)) == const(1),
    )
    holds = in_mask(table.schema, locked)
    turn = sa.func.row_number().over(
        partition_by=(locked.c.unique_key, wants),
        order_by=(holds.desc(), locked.c.priority, locked.c.scheduled_at, locked.c.id),
    )
    other = table.alias("other")
    taken = sa.exists().where(
        other.c.unique_key == locked.c.unique_key, other.c.id != locked.c.id, in_mask(table.schema, other)
    )
    conflict = sa.and_(wants, sa.or_(taken, turn > const(1)))
    judged = sa.select(locked.c.id, sa.func.coalesce(conflict, sa.false()).label("conflict")).subquery(
        "judged"
    )
    said = sa.func.jsonb_build_object(
        const("unique_key_conflict", sa.Text()), const("scheduler_discarded", sa.Text())
    )
    values = {
        "state": sa.case(
            (judged.c.conflict, parts.state(State.DISCARDED)), else_=parts.state(State.AVAILABLE)
        ),
        "finalized_at": sa.case((judged.c.conflict, parts.now()), else_=sa.null()),
    }
    metadata = sa.case((judged.c.conflict, table.c.metadata.op("||")(said)), else_=table.c.metadata)
    return parts.update(values).values({table.c.metadata: metadata}).where(c.key[0] == judged.c.id)


def in_mask(schema: str | None, of: Any) -> ColumnElement[bool]:
    """The row holds its unique key, in the words of the unique index, so that the planner can use it."""
    package = sa.func if schema is None else getattr(sa.func, schema)
    holds = package.river_job_state_in_bitmask(of.c.unique_states, of.c.state, type_=sa.Boolean())
    return sa.and_(of.c.unique_key.is_not(None), of.c.unique_states.is_not(None), holds)


def retry(parts: Parts) -> Any:
    """Any but running → available now; a job that waits its turn already keeps its place."""
    c = parts.c
    waits = sa.and_(c.is_in(State.AVAILABLE), c.scheduled_at < parts.now())
    values = {
        "state": parts.state(State.AVAILABLE),
        "scheduled_at": sa.case((waits, c.scheduled_at), else_=parts.now()),
        "finalized_at": sa.null(),
        "cancel_requested_at": sa.null(),
        "max_attempts": sa.case((c.attempt == c.max_attempts, c.attempt + const(1)), else_=c.max_attempts),
    }
    update = parts.update(values).where(parts.among(c), ~c.is_in(State.RUNNING))
    return update.returning(*c.key, c.state, c.lease)


def delete(parts: Parts) -> Any:
    """Any but running → gone."""
    c = parts.c
    return sa.delete(parts.layout.base).where(parts.among(c), ~c.is_in(State.RUNNING)).returning(*c.key)
