"""What wakes workers: who is idle, telling them of new work, and one look at what there is."""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.states import State
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.tables import Tables
from rowqueue.sql.terms import const, param

TELLING = (State.AVAILABLE, State.SCHEDULED)
"""The states of a new job that a worker wants to know of: to claim it, or to be awake when it is due."""

_CHANNEL_LIMIT = 63  # bytes of an identifier of PostgreSQL's


def channel_of(tables: Tables) -> str:
    """The channel on which the workers of these tables listen.

    Two schemas that a ``search_path`` chooses share one: their workers look once too often then.
    """
    name = ".".join(filter(None, [tables.metadata.schema, f"{tables.prefix}wake"]))
    if len(name.encode()) <= _CHANNEL_LIMIT:
        return name
    return f"{tables.prefix}{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def read_payload(payload: str) -> tuple[State, str] | None:
    """State and queue of what ``notify`` told; None for what we did not write."""
    state, _, queue = payload.partition(" ")
    return (State(state), queue) if state in TELLING and queue else None


def notify(parts: Parts, state: ColumnElement[Any], queue: ColumnElement[Any]) -> ColumnElement[Any]:
    """Tell the workers of a job in that state and queue."""
    payload = state.concat(const(" ", sa.Text())).concat(queue)
    return parts.dialect.notify(channel_of(parts.tables), payload)


def told(
    parts: Parts, queue: ColumnElement[Any] | None = None, state: ColumnElement[Any] | None = None
) -> ColumnElement[bool]:
    """RETURNING of an enqueue: a worker is idle that wants to know, and knows if ``aloud`` was asked for.

    PostgreSQL folds equal notifications of one transaction into one. A worker that became idle after
    this statement's snapshot is not seen; it looks again by itself, shortly after it said so.

    Args:
        parts: tables and dialect.
        queue: the queue of all new rows; None looks at each row's own.
        state: the state of all new rows; None is each row's own.
    """
    if not parts.dialect.notifies:
        return sa.false()
    c, idle = parts.tables.job.c, parts.tables.idle.c
    now = idle.idle_until > parts.now()
    heard: ColumnElement[bool]
    if queue is None:  # the same for all rows: asked once for the statement
        heard = c.queue.in_(sa.select(idle.queue).where(now))
    else:
        heard = sa.exists().where(idle.queue == queue, now)
    state = c.state if state is None else state
    wanted = state.in_([const(each.value, sa.String()) for each in TELLING])
    said = notify(parts, state, c.queue if queue is None else queue).is_not(None)
    answer: ColumnElement[bool] = sa.case(
        (~sa.and_(wanted, heard), sa.false()), (param("aloud", sa.Boolean()), said), else_=sa.true()
    )
    return answer.label("told")


def tell(parts: Parts) -> Any:
    """Tell of a job of which an idle worker wants to know, as its enqueue has shown."""
    return sa.select(notify(parts, param("state", sa.Text()), param("queue", sa.Text())))


def wake(parts: Parts) -> Any:
    """Tell of jobs, given as states and queues, as far as a worker is idle that wants to know."""
    given = parts.rows({"state": sa.Text(), "queue": sa.Text()})
    idle = parts.tables.idle.c
    heard = sa.exists().where(idle.queue == given.c.queue, idle.idle_until > parts.now())
    return sa.select(notify(parts, given.c.state, given.c.queue)).select_from(given).where(heard)


def say_idle(parts: Parts) -> Any:
    """A worker is idle in queues for so many seconds from now on; 0 is no more."""
    given = parts.rows({"queue": sa.Text(), "seconds": sa.Double()})
    worker = sa.type_coerce(param("worker", sa.Text()), sa.Text())
    until = parts.dialect.later(given.c.seconds)
    source: Any = sa.select(given.c.queue, sa.cast(worker, sa.Text()), until).where(sa.true())
    return parts.dialect.upsert(
        parts.tables.idle,
        ["queue", "worker", "idle_until"],
        source,
        keys=["queue", "worker"],
        changes=lambda new: {"idle_until": new.idle_until},
    )


def forget_idle(parts: Parts) -> Any:
    """A worker that stopped."""
    idle = parts.tables.idle
    return sa.delete(idle).where(idle.c.worker == param("worker", sa.Text()))


def forget_silent_idle(parts: Parts) -> Any:
    """What workers said that were not heard of since a moment."""
    idle = parts.tables.idle
    return sa.delete(idle).where(idle.c.idle_until < parts.dialect.later(param("offset", sa.Double())))


def look(parts: Parts) -> Any:
    """For each queue asked for: whether it has a ready job; and in every row: when the next job is due."""
    given = parts.rows({"queue": sa.Text()})
    c, paused = parts.c, parts.tables.queue.c
    # Its order makes the planner take the claim index; an EXISTS is planned as a scan of the table, because it
    # expects a ready row on every page.
    foremost = (
        sa.select(c.key[0])
        .where(c.queue == given.c.queue, c.is_in(State.AVAILABLE))
        .order_by(c.priority, c.scheduled_at, *c.key)
        .limit(const(1))
        .correlate(given)
        .scalar_subquery()
    )
    going = ~sa.exists().where(paused.name == given.c.queue, paused.paused_at.is_not(None))
    waits, time = parts.waits(c)
    first = (
        sa.select(time.label("due"))
        .select_from(c.table)
        .where(waits)
        .order_by(time, *c.key)
        .limit(const(1))
        .subquery("first")
    )
    due = sa.select(parts.dialect.seconds_until(first.c.due)).scalar_subquery()
    return sa.select(
        given.c.queue, sa.and_(foremost.is_not(None), going).label("ready"), due.label("due")
    ).select_from(given)
