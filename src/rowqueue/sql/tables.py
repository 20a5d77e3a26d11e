"""The default tables: one narrow hot table, and beside it only what must be apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.names import EARLIEST, LATEST, MOST_COUNTED, MOST_LEASES
from rowqueue.core.states import FINAL, State
from rowqueue.sql.terms import const
from rowqueue.sql.types import BigKey, Instant, JsonText

# Rows of the hot table change two or three times and then lie still: room on the page for the new
# version, and a vacuum that runs by rows changed rather than by a fifth of the table.
_HOT = {
    "fillfactor": 85,
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_vacuum_threshold": 1000,
    "autovacuum_analyze_scale_factor": 0.05,
    "autovacuum_vacuum_cost_delay": 0,
}
_COUNTERS = ("attempt", "failures", "rescues", "snoozes")


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one store, under its prefix and schema."""

    metadata: sa.MetaData
    job: sa.Table
    log: sa.Table
    queue: sa.Table
    worker: sa.Table
    kind: sa.Table
    version: sa.Table
    ledger: sa.Table
    cursor: sa.Table
    ranges: sa.Table
    idle: sa.Table

    @property
    def prefix(self) -> str:
        """What every table name begins with."""
        return self.job.name.removesuffix("job")


def tables(prefix: str = "rowqueue_", schema: str | None = None) -> Tables:
    """Build the tables' definitions.

    Args:
        prefix: what every table and index name begins with.
        schema: the database schema; None is the connection's own.
    """
    metadata = sa.MetaData(schema=schema)
    made = Tables(
        metadata=metadata,
        job=_job(metadata, prefix),
        log=_log(metadata, prefix),
        queue=_queue(metadata, prefix),
        worker=_worker(metadata, prefix),
        kind=_kind(metadata, prefix),
        version=sa.Table(
            f"{prefix}version",
            metadata,
            sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("applied_at", Instant, nullable=False),
        ),
        ledger=_ledger(metadata, prefix),
        cursor=_cursor(metadata, prefix),
        ranges=_ranges(metadata, prefix),
        idle=_idle(metadata, prefix),
    )
    for table in metadata.tables.values():
        table.dialect_options["sqlite"]["strict"] = True
    return made


def _job(metadata: sa.MetaData, prefix: str) -> sa.Table:
    states = sa.Column("state", sa.String(16), nullable=False)
    table = sa.Table(
        f"{prefix}job",
        metadata,
        sa.Column("id", BigKey, sa.Identity(), primary_key=True),
        sa.Column("kind", sa.String(200), nullable=False),
        sa.Column("queue", sa.String(200), nullable=False),
        states,
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("args", JsonText, nullable=False),
        sa.Column("scheduled_at", Instant, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("lease", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("leased_until", Instant),
        sa.Column("attempted_at", Instant),
        sa.Column("attempted_by", sa.String(200)),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("finalized_at", Instant),
        sa.Column("rescues", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("snoozes", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("timeout", sa.Double),
        sa.Column("cancel_requested_at", Instant),
        sa.Column("unique_key", sa.String(200)),
        sa.Column("unique_states", sa.SmallInteger),
        sa.Column("tags", JsonText),
        sa.Column("correlation_id", sa.String(200)),
        sa.Column("correlation_group", sa.String(200)),
        sa.Column("meta", JsonText),
        sa.Column("errors", JsonText),
        sa.Column("progress", JsonText),
        sa.Column("result", JsonText),
        sqlite_autoincrement=True,  # an id is never given twice, or a late worker's claim would fit a new job
        postgresql_with=_HOT,
    )
    final = [const(state.value, sa.String()) for state in State if state in FINAL]
    table.append_constraint(
        sa.CheckConstraint(
            table.c.state.in_([const(state.value, sa.String()) for state in State]), name=f"{prefix}job_state"
        )
    )
    table.append_constraint(
        sa.CheckConstraint(
            table.c.finalized_at.is_not(None) == table.c.state.in_(final), name=f"{prefix}job_final"
        )
    )
    # PostgreSQL's json refuses what is no JSON; elsewhere one such row, written by hand, would stop every claim.
    valid = sa.CheckConstraint(sa.func.json_valid(table.c.args) == const(1), name=f"{prefix}job_args")
    table.append_constraint(valid.ddl_if(callable_=lambda *_, dialect, **__: dialect.name != "postgresql"))
    moments = [column for column in table.c if isinstance(column.type, Instant)]
    # Infinity, and whatever else Python has no datetime for, would stop every claim and list that comes to it.
    readable = sa.and_(
        *(moment.between(const(EARLIEST, Instant), const(LATEST, Instant)) for moment in moments)
    )
    table.append_constraint(sa.CheckConstraint(readable, name=f"{prefix}job_moments"))
    # At the end of its type, one more attempt of one row would be an error of the whole claim.
    countable = sa.and_(
        table.c.lease.between(const(0), const(MOST_LEASES, sa.BigInteger())),
        *(table.c[name].between(const(0), const(MOST_COUNTED)) for name in _COUNTERS),
    )
    table.append_constraint(sa.CheckConstraint(countable, name=f"{prefix}job_counters"))
    _job_indexes(table, prefix)
    return table


def _job_indexes(table: sa.Table, prefix: str) -> None:
    c = table.c

    def partial(
        name: str,
        *columns: sa.Column[Any],
        where: ColumnElement[bool],
        unique: bool = False,
        generated: str | None = None,
    ) -> None:
        # A name for MariaDB's column that stands in for the condition.
        info: dict[str, Any] = {} if generated is None else {"generated": generated}
        options: dict[str, Any] = {"postgresql_where": where, "sqlite_where": where}
        sa.Index(f"{prefix}job_{name}", *columns, unique=unique, info=info, **options)

    partial("claim", c.queue, c.priority, c.scheduled_at, c.id, where=is_in(table, State.AVAILABLE))
    waits = is_in(table, State.SCHEDULED, State.RETRYABLE)
    partial("due", c.scheduled_at, c.id, where=waits, generated="due_at")
    # Not partial on the state: the guard of every finishing UPDATE (state = 'running') would lure the
    # planner from the primary key into walking all running rows (38 ms instead of 2 for 500 rows).
    partial("lease", c.leased_until, where=c.leased_until.is_not(None))
    partial("final", c.state, c.finalized_at, where=c.finalized_at.is_not(None))
    partial("unique", c.unique_key, where=occupies(table), unique=True, generated="held_key")


def is_in(table: Any, *states: State) -> ColumnElement[bool]:
    """The row is in one of these states, written as constants so that partial indexes match."""
    column: ColumnElement[Any] = table.c.state
    if len(states) == 1:
        return column == const(states[0].value, sa.String())
    return column.in_([const(state.value, sa.String()) for state in sorted(states)])


def occupies(table: Any) -> ColumnElement[bool]:
    """The row holds its unique key: not final, or final in a state of its own wider set."""
    final = sa.case(
        *(
            (table.c.state == const(state.value, sa.String()), const(state.bit))
            for state in State
            if state in FINAL
        ),
        else_=const(0),
    )
    return sa.and_(
        table.c.unique_key.is_not(None),
        sa.or_(table.c.finalized_at.is_(None), table.c.unique_states.op("&")(final) != const(0)),
    )


def _log(metadata: sa.MetaData, prefix: str) -> sa.Table:
    table = sa.Table(
        f"{prefix}log",
        metadata,
        sa.Column("seq", BigKey, sa.Identity(), primary_key=True),
        sa.Column("job_id", sa.BigInteger, nullable=False),
        sa.Column("lease", sa.BigInteger, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("entry", JsonText, nullable=False),
        sqlite_autoincrement=True,
    )
    sa.Index(f"{prefix}log_job", table.c.job_id, table.c.seq)
    return table


def _queue(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}queue",
        metadata,
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("paused_at", Instant),
        sa.Column("settings", JsonText),
    )


def _worker(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}worker",
        metadata,
        sa.Column("id", sa.String(200), primary_key=True),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("seen_at", Instant, nullable=False),
        sa.Column("idle", sa.Boolean, nullable=False),
        sa.Column("queues", JsonText, nullable=False),
        sa.Column("kinds", JsonText, nullable=False),
    )


def _idle(metadata: sa.MetaData, prefix: str) -> sa.Table:
    """Which workers would start a job of a queue at once, and until when that may be believed of them."""
    return sa.Table(
        f"{prefix}idle",
        metadata,
        sa.Column("queue", sa.String(200), primary_key=True),
        sa.Column("worker", sa.String(200), primary_key=True),
        sa.Column("idle_until", Instant, nullable=False),
    )


def _kind(metadata: sa.MetaData, prefix: str) -> sa.Table:
    return sa.Table(
        f"{prefix}kind",
        metadata,
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("unclaimable", sa.BigInteger, nullable=False),
        sa.Column("unclaimable_at", Instant, nullable=False),
    )


_SOURCE_KEY = sa.Text().with_variant(sa.String(255), "mysql", "mariadb")
"""A key of a source table as text: MariaDB indexes text only up to a length."""


def _ledger(metadata: sa.MetaData, prefix: str) -> sa.Table:
    """Which source row had which job, for ever: without a foreign key, because the job may be pruned."""
    return sa.Table(
        f"{prefix}backfill",
        metadata,
        sa.Column("destination", sa.String(200), primary_key=True),
        sa.Column("source_key", _SOURCE_KEY, primary_key=True),
        sa.Column("job_id", sa.BigInteger, nullable=False),
    )


def _cursor(metadata: sa.MetaData, prefix: str) -> sa.Table:
    """How far each backfill has handed out its source's keys; the version grows with every step."""
    return sa.Table(
        f"{prefix}backfill_cursor",
        metadata,
        sa.Column("destination", sa.String(200), primary_key=True),
        sa.Column("position", _SOURCE_KEY),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("begun_at", Instant, nullable=False),
    )


def _ranges(metadata: sa.MetaData, prefix: str) -> sa.Table:
    """The key ranges that were handed out and are not done."""
    table = sa.Table(
        f"{prefix}backfill_range",
        metadata,
        sa.Column("id", BigKey, sa.Identity(), primary_key=True),
        sa.Column("destination", sa.String(200), nullable=False),
        sa.Column("first_key", _SOURCE_KEY, nullable=False),
        sa.Column("last_key", _SOURCE_KEY, nullable=False),
        sa.Column("lease", sa.BigInteger, nullable=False),
        sa.Column("leased_until", Instant),
        sqlite_autoincrement=True,
    )
    sa.Index(f"{prefix}backfill_range_free", table.c.destination, table.c.leased_until)
    return table
