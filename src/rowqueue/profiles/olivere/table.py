"""``jobqueue_jobs`` as a queue of rowqueue's: which column holds what.

A job's due time is its priority: minus nanoseconds since 1970, so that the oldest due runs first. The original
only sorts by it; the claim here tests it, so that a backoff really delays. The table has no lease: rowqueue keeps
that beside it. Times that are not set are 0, never NULL, because the original reads them into plain integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement, quoted_name

from rowqueue.core.states import State
from rowqueue.profiles.olivere.rows import JobState, job_of
from rowqueue.sql.dialects import Dialect
from rowqueue.sql.mapping import Column, JobTable
from rowqueue.sql.statements import finish, operate
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import Codec, const

NAME = "jobqueue_jobs"
STATES = {
    State.AVAILABLE: JobState.WAITING,
    State.RUNNING: JobState.WORKING,
    State.COMPLETED: JobState.SUCCEEDED,
    State.DISCARDED: JobState.FAILED,
}
_NS = 1_000_000_000
_MS = 1_000_000


def jobs_table() -> sa.Table:
    """The table as the original's migrations leave it, for every dialect."""
    rank = quoted_name("rank", quote=True)  # MySQL 8 reserves it, which the original trips over
    table = sa.Table(
        NAME,
        sa.MetaData(),
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("topic", sa.String(255)),
        sa.Column("state", sa.String(30)),
        sa.Column("args", sa.Text),
        sa.Column(rank, sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("priority", sa.BigInteger),
        sa.Column("retry", sa.Integer),
        sa.Column("max_retry", sa.Integer),
        sa.Column("correlation_group", sa.String(255)),
        sa.Column("correlation_id", sa.String(255)),
        sa.Column("created", sa.BigInteger),
        sa.Column("started", sa.BigInteger),
        sa.Column("completed", sa.BigInteger),
        sa.Column("last_mod", sa.BigInteger),
    )
    for name in (
        "topic",
        "state",
        "priority",
        "correlation_id",
        "created",
        "started",
        "completed",
        "last_mod",
    ):
        sa.Index(f"ix_jobs_{name}", table.c[name])
    sa.Index("ix_jobs_rank_priority", table.c.rank, table.c.priority)
    sa.Index("ix_jobs_correlation_group_and_id", table.c.correlation_group, table.c.correlation_id)
    return table


def mapping(dialect: Dialect, schema: str | None) -> JobTable:
    """The mapping of ``jobqueue_jobs``.

    Args:
        dialect: the database.
        schema: where the table is; None is the connection's own.
    """
    return JobTable(
        NAME,
        schema=schema,
        columns={
            "kind": "topic",
            "queue": Column("rank", Codec(lambda c: sa.cast(c, sa.Text()))),
            "priority": None,
            "scheduled_at": Column("priority", _negative(dialect)),
            "args": Column("args", Codec(lambda c: sa.func.coalesce(c, const("[]", sa.Text())))),
            "failures": Column("retry", Codec(write=_up_to_max)),
            "max_attempts": Column(
                "max_retry", Codec(lambda c: c + const(1), lambda value: value - const(1))
            ),
            "attempted_at": Column("started", _zero_or_time(dialect)),
            "finalized_at": Column("completed", _zero_or_time(dialect)),
            "created_at": Column("created", "nanoseconds"),
            "heartbeat_at": Column("last_mod", "nanoseconds"),
        },
        states={state.value: word.value for state, word in STATES.items()},
        order_by=lambda t: (t.c.rank.desc(), t.c.priority.desc()),
        record=job_of,
        statements={
            **{name: _touched(build) for name, build in _WRITES.items()},
            "rescue_dropped": _touched(rescue),
        },
    )


def now(dialect: Dialect) -> ColumnElement[int]:
    """The database's clock in nanoseconds."""
    return sa.cast(dialect.to_units(dialect.now(), _NS), sa.BigInteger())


def moment(dialect: Dialect, client: ColumnElement[int]) -> ColumnElement[int]:
    """Now in nanoseconds; where the database's clock has whole milliseconds, finer by the client's.

    Args:
        dialect: the database.
        client: the client's clock, read before the statement was sent; one that is ahead of the database's, or
            more than a second behind, is not used.
    """
    clock = now(dialect)
    if dialect.name != "sqlite":
        return clock
    return sa.case((client.between(clock - const(_NS), clock + const(_MS - 1)), client), else_=clock)


def _due(dialect: Dialect, priority: Any) -> ColumnElement[Any]:
    if dialect.name != "sqlite":
        return dialect.from_units(-priority, _NS)
    return dialect.from_units(
        (-priority).op("/")(const(_MS)), 1000
    )  # as coarse as the clock: what is due now, is


def _negative(dialect: Dialect) -> Codec:
    return Codec(
        lambda c: _due(dialect, c),
        lambda value: -sa.cast(dialect.to_units(value, _NS), sa.BigInteger()),
    )


def _zero_or_time(dialect: Dialect) -> Codec:
    return Codec(
        lambda c: dialect.from_units(sa.func.nullif(c, const(0), type_=sa.BigInteger()), _NS),
        lambda value: sa.func.coalesce(
            sa.cast(dialect.to_units(value, _NS), sa.BigInteger()), const(0, sa.BigInteger())
        ),
    )


def _up_to_max(value: Any) -> Any:
    """The last failure does not count as a retry, because none follows."""
    most = sa.column("max_retry", sa.Integer())
    return sa.case((value > most, most), else_=value)


def rescue(parts: Parts) -> Any:
    """working with an expired lease → waiting, or failed: there is no room for crashes, so each is a retry."""
    c, table = parts.c, parts.layout.base
    spent = table.c.retry >= table.c.max_retry
    target = sa.case((spent, parts.state(State.DISCARDED)), else_=parts.state(State.AVAILABLE))
    update = parts.update(
        {"state": target, "finalized_at": parts.when_final(target), "failures": c.failures + const(1)}
    )
    found = (*c.key, c.kind, c.queue, c.state, c.lease, c.attempted_by)
    return update.where(parts.among(c), c.is_in(State.RUNNING)).returning(*found)


_WRITES: dict[str, Callable[[Parts], Any]] = {
    "complete": finish.complete,
    "fail": finish.fail,
    "snooze": finish.snooze,
    "release": finish.release,
    "discard": finish.discard,
    "discard_by_key": operate.discard_by_key,
    "retry": operate.retry,
    "promote": operate.promote,
}


def _touched(build: Callable[[Parts], Any]) -> Callable[[Parts], Any]:
    """A statement that also says when the row was written, in the column that the original compares."""
    return lambda parts: build(parts).values({parts.layout.base.c.last_mod: later(parts)})


def later(parts: Parts) -> ColumnElement[int]:
    """Now in nanoseconds, but later than the row was written last: a write never leaves ``last_mod`` as it was."""
    old = sa.func.coalesce(parts.layout.base.c.last_mod, const(0, sa.BigInteger()))
    return sa.case((now(parts.dialect) > old, now(parts.dialect)), else_=old + const(1))
