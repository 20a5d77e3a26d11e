"""What is only read: one job, pages of jobs, counts, logs, how a row stands."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from rowqueue.core.states import State
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import param


def get(parts: Parts) -> Any:
    """One job by its key."""
    return sa.select(*parts.columns()).where(parts.is_key(parts.c))


def standing(parts: Parts) -> Any:
    """How rows stand now: what a refused verb needs for its answer."""
    c, sidecar = parts.c, parts.layout.sidecar
    if sidecar is None:
        source: Any = c.table
        fence: tuple[Any, ...] = c.fence
    else:
        same = [a == sidecar.c[b] for a, b in zip(c.key, parts.layout.key, strict=True)]
        source, fence = sa.outerjoin(c.table, sidecar, sa.and_(*same)), (sidecar.c.lease,)
    found = (*c.key, *fence, c.state, c.cancel_requested_at.is_not(None))
    return sa.select(*found).select_from(source).where(parts.among(c))


def rival(parts: Parts) -> Any:
    """The unfinished job that holds the unique key of another."""
    mine, other = parts.tables.job.alias("mine"), parts.tables.job
    wanted = sa.select(mine.c.unique_key).where(mine.c.id == param("id", sa.BigInteger()))
    key, holds = parts.unique_key(other)
    return sa.select(other.c.id).where(
        key == wanted.scalar_subquery(),
        holds,
        other.c.id != param("id", sa.BigInteger()),
    )


@dataclass(frozen=True, slots=True)
class Filter:
    """Which conditions a listing has; the values are bound under the same names."""

    queue: bool = False
    kind: bool = False
    states: Collection[State] = ()
    tags: int = 0
    correlation_id: bool = False
    correlation_group: bool = False
    newest_first: bool = False
    after: bool = False


def page(parts: Parts, chosen: Filter) -> Any:
    """One page by key: ``after`` is the last key of the page before."""
    c = parts.c
    (key,) = c.key
    (type_,) = parts.layout.key_columns.values()
    after = param("after", type_)
    beyond = key < after if chosen.newest_first else key > after
    select = sa.select(*parts.columns())
    if chosen.after:  # not ``after IS NULL OR …``, which reads all pages before this one
        select = select.where(beyond)
    for name in ("queue", "kind", "correlation_id", "correlation_group"):
        if getattr(chosen, name):
            select = select.where(c[name] == param(name, sa.Text()))
    if chosen.states:
        select = select.where(c.is_in(*chosen.states))
    elif parts.layout.mapped:  # rows in other states of the user's are no jobs
        select = select.where(c.is_in(*parts.layout.states))
    for index in range(chosen.tags):
        select = select.where(parts.dialect.has_member(c.tags, param(f"tag_{index}", sa.Text())))
    order = key.desc() if chosen.newest_first else key
    return select.order_by(order).limit(param("limit", sa.Integer()))


def counts(parts: Parts) -> Any:
    """Jobs by queue and state, and the longest wait of those that are ready (seconds)."""
    c = parts.c
    waiting = sa.case((c.is_in(State.AVAILABLE), c.scheduled_at))
    oldest = -parts.dialect.seconds_until(sa.func.min(waiting))
    grouped = [c[name] for name in ("queue", "state") if parts.layout.has(name)]
    return sa.select(c.queue, c.state, sa.func.count(), oldest).group_by(*grouped)


def queues(parts: Parts) -> Any:
    """Queues that were paused or have settings."""
    return sa.select(*parts.tables.queue.c).order_by(parts.tables.queue.c.name)


def unclaimable(parts: Parts) -> Any:
    """Kinds that workers met and did not know."""
    return sa.select(*parts.tables.kind.c).order_by(parts.tables.kind.c.name)


def workers(parts: Parts) -> Any:
    """Workers, and how long ago each was heard of (seconds)."""
    table = parts.tables.worker
    silent = -parts.dialect.seconds_until(table.c.seen_at)
    return sa.select(*table.c, silent).order_by(table.c.id)


def log(parts: Parts) -> Any:
    """The execution log of one job."""
    table = parts.tables.log
    columns = (table.c.job_id, table.c.lease, table.c.seq, table.c.at, table.c.entry)
    return sa.select(*columns).where(table.c.job_id == param("id", sa.BigInteger())).order_by(table.c.seq)


def version(parts: Parts) -> Any:
    """The schema's version."""
    return sa.select(sa.func.max(parts.tables.version.c.version))


def present(parts: Parts) -> Any:
    """Whether a table is there."""
    return parts.dialect.table_present(param("schema", sa.Text()), param("table", sa.Text()))


def record_version(parts: Parts) -> Any:
    """The schema is at a version now."""
    return sa.insert(parts.tables.version).values(
        version=param("version", sa.Integer()), applied_at=parts.now()
    )
