"""claim: available → running; and the queues that have something to claim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import State
from rowqueue.sql.codecs import legible
from rowqueue.sql.layout import Cols
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import Columns, const, param
from rowqueue.sql.types import Instant

Where: TypeAlias = Callable[[Any], Any]

WANTED: Columns = {
    "queue": sa.Text(),
    "slots": sa.Integer(),
    "after_priority": sa.SmallInteger(),
    "after_at": Instant(),
    "after_id": sa.BigInteger(),
}
"""On PostgreSQL: the queues, how many of each, and the place in each queue's order to begin after."""


def claim(parts: Parts, *, kinds: bool = False, queue: bool = False, where: Where | None = None) -> Any:
    """Claim up to so many jobs of each queue, the foremost first; paused queues give none.

    Args:
        parts: tables and dialect.
        kinds: only the kinds in the parameter of that name.
        queue: on a table of the user's: only the queue in the parameter of that name.
        where: one more condition, made from the job table (or the view of a mapping).
    """
    ready = parts.alias("ready")
    if parts.layout.mapped:
        return _taken(parts).where(_choose(parts, ready, kinds, queue, where))
    conditions = [ready.is_in(State.AVAILABLE), *_conditions(parts, ready, ready.table, kinds, where)]
    choose = _choose_lateral if parts.dialect.has_lateral else _choose_one_queue
    return _taken(parts).where(choose(parts, ready, conditions))


def _taken(parts: Parts) -> Any:
    c = parts.c
    update = parts.update(
        {
            "state": parts.state(State.RUNNING),
            "attempt": c.attempt + const(1),
            "lease": c.lease + const(1),
            "leased_until": parts.dialect.later(param("duration", sa.Double())),
            "heartbeat_at": parts.now(),
            "attempted_at": _claim_time(parts),
            "attempted_by": param("worker", sa.Text()),
            **({} if parts.layout.retry_on_read is None else {"finalized_at": sa.null()}),
        }
    )
    return update.returning(*parts.columns(), *(c.fence if parts.layout.mapped else ()))


def _claim_time(parts: Parts) -> ColumnElement[Any]:
    """Now; where the time is part of the fence, later than the claim before it in any case."""
    if "attempted_at" not in parts.layout.fence:
        return parts.now()
    return parts.dialect.after(parts.c.attempted_at)


def _conditions(parts: Parts, ready: Cols, source: Any, kinds: bool, where: Where | None) -> list[Any]:
    conditions: list[Any] = []
    if kinds:
        conditions.append(parts.dialect.among(ready.kind, "kinds", sa.Text()))
    made = (condition(source) for condition in (parts.layout.where, where) if condition is not None)
    return [*conditions, *map(_checked, made)]


def _checked(condition: Any) -> Any:
    if not isinstance(condition, ColumnElement):
        raise ConfigurationError(
            f"where must return a SQLAlchemy condition over the table, not {type(condition).__name__}"
        )
    return condition


def _choose_lateral(parts: Parts, ready: Cols, conditions: list[Any]) -> ColumnElement[bool]:
    """PostgreSQL: by ctid, each queue through its own part of the claim index.

    A join of the locked rows was planned as a hash join over the whole table (20 ms for 500 of
    40,000 rows); by ctid it is a TID scan under any statistics. ``queue = ANY(...)`` instead of a
    LATERAL for each queue sorts the backlog (1,138 ms against 1.3 ms on a million rows).

    What is behind the given place first, by a range of the index: so nobody walks over the dead entries of what
    was claimed before. What is in front of it is read only where that is not enough.
    """
    wanted = parts.dialect.rows("wanted", WANTED)
    order = (ready.priority, ready.scheduled_at, *ready.key)
    place, after = sa.tuple_(*order), sa.tuple_(wanted.c.after_priority, wanted.c.after_at, wanted.c.after_id)

    def part(name: str, in_part: ColumnElement[bool]) -> Any:
        picked: sa.Select[Any] = (
            sa.select(*parts.place(ready))
            .select_from(ready.table)
            .where(ready.queue == wanted.c.queue, *conditions, in_part)
            .order_by(*order)
            .limit(wanted.c.slots)
            .correlate(wanted)
        )
        return sa.select(parts.dialect.skip_locked(picked, ready.table).lateral(name).c.place)

    both = sa.union_all(part("behind", place > after), part("before", place <= after))
    # Of a union, SQLAlchemy leaves out the table of a column.
    slots: ColumnElement[int] = sa.literal_column("wanted.slots")
    lateral = both.limit(slots).lateral("picked")
    rows = (
        sa.select(lateral.c.place)
        .select_from(wanted.join(lateral, sa.true()))
        .where(~_paused(parts, wanted.c.queue))
        .limit(param("limit", sa.Integer()))
    )
    return parts.is_row(rows)


def _choose_one_queue(parts: Parts, ready: Cols, conditions: list[Any]) -> ColumnElement[bool]:
    """SQLite and MariaDB: one queue a statement, inside one transaction."""
    queue = param("queue", sa.Text())
    picked = (
        sa.select(*ready.key)
        .where(ready.queue == queue, *conditions, ~_paused(parts, queue))
        .order_by(ready.priority, ready.scheduled_at, *ready.key)
        .limit(param("limit", sa.Integer()))
    )
    return parts.is_row(parts.dialect.skip_locked(parts.by_index(picked, ready, "claim"), ready.table))


def _choose(parts: Parts, ready: Cols, kinds: bool, queue: bool, where: Where | None) -> ColumnElement[bool]:
    """A table of the user's: chosen from its view, where it has one, and locked on the base table.

    State and due time are tested on the base, under the lock: tested on the view alone, 2,000 rows
    were delivered 2,635 times.
    """
    layout = parts.layout
    source, joined = ready.table, ready.table
    if layout.view is not None:
        source = layout.view.alias("source")
        same = [a == source.c[b] for a, b in zip(ready.key, layout.key, strict=True)]
        joined = sa.join(source, ready.table, sa.and_(*same))
    order = layout.order_by(source) if layout.order_by is not None else _usual_order(ready)
    conditions = _conditions(parts, ready, source, kinds, where)
    if queue:
        conditions.append(ready.queue == param("queue", sa.Text()))
    claimable = _claimable(parts, ready)
    picked = (
        sa.select(*ready.key)
        .select_from(joined)
        .where(claimable, *conditions)
        .order_by(*(order if isinstance(order, tuple | list) else (order,)), *ready.key)
        .limit(param("limit", sa.Integer()))
    )
    return parts.taken(ready, picked, claimable)


def _usual_order(ready: Cols) -> tuple[Any, ...]:
    # As stored, not as read: a codec keeps the order of moments, and an index knows only the column.
    fields = ready.layout.fields
    return tuple(ready.table.c[fields[name].name] for name in ("priority", "scheduled_at") if name in fields)


def _claimable(parts: Parts, ready: Cols) -> ColumnElement[bool]:
    """Available and due; and failed long enough ago, where the table keeps no time to retry at."""
    layout = parts.layout
    available = ready.is_in(State.AVAILABLE)
    if layout.claim_expired:
        left = (ready.is_in(State.RUNNING), parts.expired(ready), ready.attempt < ready.max_attempts)
        available = sa.or_(available, sa.and_(*left))
    if layout.has("scheduled_at"):
        due = ready.scheduled_at
        available = sa.and_(available, sa.or_(due.is_(None), due <= parts.now()))
    if layout.retry_on_read is None:
        return available
    old = parts.dialect.later(const(-layout.retry_on_read, sa.Double()))
    failed = [ready.is_in(State.RETRYABLE), ready.finalized_at < old]
    if layout.max_failures is not None and layout.has("failures"):
        failed.append(ready.failures < const(layout.max_failures))
    return sa.or_(available, sa.and_(*failed))


def _paused(parts: Parts, queue: ColumnElement[Any]) -> ColumnElement[bool]:
    table = parts.tables.queue
    return sa.exists().where(table.c.name == queue, table.c.paused_at.is_not(None))


def ready_queues(parts: Parts) -> Any:
    """The queues that have a ready job, found by hops through the claim index, not by a scan.

    On MariaDB only the next one after the parameter of that name.
    """
    c = parts.c
    if not parts.dialect.has_returning:  # MariaDB reads the backlog for a hop in SQL, so the operation hops
        beyond = c.queue > param("after", sa.Text())
        return sa.select(sa.func.min(c.queue)).where(c.is_in(State.AVAILABLE), beyond)
    first = sa.select(sa.func.min(c.queue).label("queue")).where(c.is_in(State.AVAILABLE))
    hops = first.cte("hops", recursive=True)
    onward = sa.select(sa.func.min(c.queue)).where(c.is_in(State.AVAILABLE), c.queue > hops.c.queue)
    hops = hops.union_all(sa.select(onward.scalar_subquery()).where(hops.c.queue.is_not(None)))
    return sa.select(hops.c.queue).where(hops.c.queue.is_not(None))


def records(parts: Parts) -> Any:
    """The records of claimed rows, as the view (or the table) shows them after the claim."""
    layout = parts.layout
    cols = Cols(layout, layout.base if layout.view is None else layout.view)
    extra = () if layout.select is None else layout.select(cols.table)
    more = extra if isinstance(extra, tuple | list) else (extra,)
    order = () if layout.order_by is None else layout.order_by(cols.table)
    ordered = order if isinstance(order, tuple | list) else (order,)
    columns = map(legible, cols.table.c)
    return sa.select(*cols.key, *columns, *more).where(parts.among(cols)).order_by(*ordered, *cols.key)
