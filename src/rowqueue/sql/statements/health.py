"""What ``doctor`` asks of a database: how the jobs fare, and how its server keeps their table."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.states import State
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import const, param

_SECONDS: sa.Double[float] = sa.Double()


def waiting(parts: Parts) -> Any:
    """By queue and kind: jobs that are ready, the longest wait of those, jobs due soon, and the oldest's age.

    Soon is within ``margin`` seconds, because a kind that a worker does not know is put off for a while.
    """
    job, dialect = parts.tables.job.c, parts.dialect
    ready = parts.c.is_in(State.AVAILABLE)
    return (
        sa.select(
            job.queue,
            job.kind,
            sa.func.count(sa.case((ready, job.id))),
            -dialect.seconds_until(sa.func.min(sa.case((ready, job.scheduled_at)))),
            sa.func.count(),
            -dialect.seconds_until(sa.func.min(job.created_at)),
        )
        .where(
            parts.c.is_in(State.AVAILABLE, State.SCHEDULED, State.RETRYABLE),
            job.scheduled_at <= dialect.later(param("margin", _SECONDS)),
        )
        .group_by(job.queue, job.kind)
        .order_by(job.queue, job.kind)
    )


def neglected(parts: Parts) -> Any:
    """How many leases ran out, and how many jobs became due, more than ``-margin`` seconds ago."""
    job, before = parts.tables.job.c, parts.dialect.later(param("margin", _SECONDS))
    expired = sa.select(sa.func.count()).where(parts.c.is_in(State.RUNNING), job.leased_until < before)
    due = sa.select(sa.func.count()).where(
        parts.c.is_in(State.SCHEDULED, State.RETRYABLE), job.scheduled_at < before
    )
    return sa.select(expired.scalar_subquery(), due.scalar_subquery())


# PostgreSQL


def server(_parts: Parts) -> Any:
    """The server's version, whether it only reads, whether autovacuum is on, and this connection's process."""
    read_only = sa.or_(
        sa.func.pg_is_in_recovery(type_=sa.Boolean()),
        sa.func.current_setting(const("transaction_read_only"), type_=sa.Text()) == const("on"),
    )
    return sa.select(
        sa.cast(sa.func.current_setting(const("server_version_num")), sa.Integer()),
        read_only,
        sa.func.current_setting(const("autovacuum"), type_=sa.Text()) == const("on"),
        sa.func.pg_backend_pid(type_=sa.Integer()),
    )


def upkeep(parts: Parts) -> Any:
    """The job table's settings, its live and dead rows, and seconds since its last vacuum."""
    stats = _catalog(
        "pg_stat_user_tables", "relid", "n_live_tup", "n_dead_tup", "last_vacuum", "last_autovacuum"
    )
    table, named = _job_table(parts)
    last = sa.func.greatest(stats.c.last_vacuum, stats.c.last_autovacuum)
    return (
        sa.select(
            sa.type_coerce(table.c.reloptions, postgresql.ARRAY(sa.Text())),
            sa.type_coerce(stats.c.n_live_tup, sa.BigInteger()),
            sa.type_coerce(stats.c.n_dead_tup, sa.BigInteger()),
            _since(last),
        )
        .select_from(table)
        .outerjoin(stats, stats.c.relid == table.c.oid)
        .where(named)
    )


def invalid_indexes(parts: Parts) -> Any:
    """Indexes of the job table that a failed CREATE or REINDEX CONCURRENTLY left behind, which serve nobody."""
    table, named = _job_table(parts)
    link = _catalog("pg_index", "indexrelid", "indrelid", "indisvalid")
    index = _catalog("pg_class", "oid", "relname").alias("index_class")
    return (
        sa.select(sa.type_coerce(index.c.relname, sa.Text()))
        .select_from(table)
        .join(link, link.c.indrelid == table.c.oid)
        .join(index, index.c.oid == link.c.indexrelid)
        .where(named, sa.not_(link.c.indisvalid))
        .order_by(index.c.relname)
    )


def long_transactions(_parts: Parts) -> Any:
    """Transactions of this database that are older than ``age`` seconds, prepared ones too, longest first.

    Vacuum keeps every row that the oldest of them could still see. Their queries are not read,
    because they may hold arguments.
    """
    activity = _catalog(
        "pg_stat_activity",
        "pid",
        "usename",
        "application_name",
        "state",
        "xact_start",
        "datname",
        "backend_type",
    )
    prepared = _catalog("pg_prepared_xacts", "gid", "owner", "prepared", "database")
    here = sa.func.current_database(type_=sa.Text())
    open_ = sa.select(
        sa.cast(activity.c.pid, sa.Text()).label("who"),
        sa.cast(activity.c.usename, sa.Text()).label("role"),
        sa.cast(activity.c.application_name, sa.Text()).label("program"),
        sa.cast(activity.c.state, sa.Text()).label("state"),
        _since(activity.c.xact_start).label("seconds"),
    ).where(
        activity.c.datname == here,
        activity.c.backend_type == const("client backend", sa.Text()),  # a vacuum does not hold back another
        activity.c.xact_start.is_not(None),
        activity.c.pid != sa.func.pg_backend_pid(type_=sa.Integer()),
    )
    forgotten = sa.select(
        sa.cast(prepared.c.gid, sa.Text()),
        sa.cast(prepared.c.owner, sa.Text()),
        const("", sa.Text()),
        const("prepared", sa.Text()),
        _since(prepared.c.prepared),
    ).where(prepared.c.database == here)
    found = sa.union_all(open_, forgotten).subquery("transactions")
    return (
        sa.select(*found.c)
        .where(found.c.seconds > param("age", _SECONDS))
        .order_by(found.c.seconds.desc())
        .limit(const(20))
    )


def hidden_backends(_parts: Parts) -> Any:
    """How many connections of other users' this role may not look into."""
    activity = _catalog("pg_stat_activity", "backend_start", "datname")
    here = activity.c.datname == sa.func.current_database(type_=sa.Text())
    return sa.select(sa.func.count()).select_from(activity).where(here, activity.c.backend_start.is_(None))


def vacuum_settings(parts: Parts) -> dict[str, str]:
    """The storage settings that ``init`` gives the job table on PostgreSQL."""
    options = parts.tables.job.dialect_options["postgresql"]["with"]
    return {name: str(value) for name, value in options.items()}


# MariaDB


def maria_server(_parts: Parts) -> Any:
    """The server's version, whether it only reads, and how far a commit reaches (1 is the disk)."""
    return sa.select(
        sa.func.version(type_=sa.Text()),
        sa.literal_column("@@global.read_only", sa.Integer()),
        sa.literal_column("@@global.innodb_flush_log_at_trx_commit", sa.Integer()),
    )


def maria_transactions(_parts: Parts) -> Any:
    """InnoDB transactions that are older than ``age`` seconds, longest first: they hold locks, and the undo log back.

    Only with the right PROCESS.
    """
    open_ = sa.table("innodb_trx", *(sa.column(name) for name in _TRX), schema="information_schema")
    now = sa.func.now(type_=sa.DateTime())  # as the server's clock on the wall has it, like trx_started
    age = sa.func.timestampdiff(sa.literal_column("SECOND"), open_.c.trx_started, now, type_=sa.Integer())
    return (
        sa.select(open_.c.trx_mysql_thread_id, age, open_.c.trx_rows_locked)
        .where(age > param("age", _SECONDS))
        .order_by(age.desc())
        .limit(const(20))
    )


_TRX = ("trx_mysql_thread_id", "trx_started", "trx_rows_locked")


# SQLite


def pragmas(_parts: Parts) -> Any:
    """The journal's mode, and how far a commit of this connection reaches (2 is FULL)."""
    journal = sa.func.pragma_journal_mode().table_valued(sa.column("journal_mode", sa.Text()), name="journal")
    level = sa.func.pragma_synchronous().table_valued(sa.column("synchronous", sa.Integer()), name="level")
    return sa.select(journal.c.journal_mode, level.c.synchronous).select_from(
        sa.join(journal, level, sa.true())
    )


def quick_check(_parts: Parts) -> Any:
    """Reads the whole file for damage: one row that says ok, or one for each fault."""
    faults = sa.func.pragma_quick_check().table_valued(sa.column("quick_check", sa.Text()), name="faults")
    return sa.select(faults.c.quick_check)


def _catalog(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(column) for column in columns), schema="pg_catalog")


def _job_table(parts: Parts) -> tuple[Any, ColumnElement[bool]]:
    job = parts.tables.job
    table = _catalog("pg_class", "oid", "relname", "relnamespace", "reloptions")
    space = _catalog("pg_namespace", "oid", "nspname")
    schema: Any = (
        sa.func.current_schema(type_=sa.Text()) if job.schema is None else const(job.schema, sa.Text())
    )
    oid = sa.select(space.c.oid).where(space.c.nspname == schema).scalar_subquery()
    return table, sa.and_(table.c.relname == const(job.name, sa.Text()), table.c.relnamespace == oid)


def _since(moment: ColumnElement[Any]) -> ColumnElement[float]:
    age = sa.func.clock_timestamp().op("-", return_type=sa.Interval())(moment)
    return sa.cast(sa.extract("epoch", age), _SECONDS)
