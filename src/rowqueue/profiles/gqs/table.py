"""gqs' table ``jobs``: its DDL, and how it is a queue of rowqueue's.

``attempts`` grows with every pull and nothing lowers it, which makes it the fence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql.elements import Null

from rowqueue.core.states import State
from rowqueue.profiles.gqs.model import Job, Status
from rowqueue.sql.dialects import Dialect
from rowqueue.sql.mapping import Column, JobTable
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import Codec, const, param

_LIMIT = sa.select(param("limit", sa.Integer())).scalar_subquery()
INDEXES = ("next_run_at", "locked_until", "updated_at")


class _Declared(sa.types.UserDefinedType[Any]):
    """A type by the word that gqs itself declares on SQLite."""

    cache_ok = True

    def __init__(self, word: str) -> None:
        self.word = word

    def get_col_spec(self, **_: Any) -> str:
        return self.word


def ddl(name: str, schema: str | None, driver: sa.Dialect) -> list[str]:
    """What creates the table and its indexes, unless they are there.

    Args:
        name: the table.
        schema: its database schema.
        driver: SQLAlchemy's dialect to write for.
    """
    lite = driver.name == "sqlite"
    moment: Any = _Declared("timestamp") if lite else postgresql.TIMESTAMP(timezone=True)
    table = sa.Table(
        name,
        sa.MetaData(),
        sa.Column("id", _Declared("uuid") if lite else sa.Uuid(), primary_key=True),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("status", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("attempts", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("locked_until", moment),
        sa.Column("next_run_at", moment, nullable=False),
        sa.Column("metadata", _Declared("jsonb") if lite else postgresql.JSONB()),
        sa.Column("payload", _Declared("blob") if lite else postgresql.BYTEA()),
        schema=schema,
    )
    indexes = [sa.Index(f"{name}_status_{column}_idx", table.c.status, table.c[column]) for column in INDEXES]
    made: list[Any] = [CreateTable(table, if_not_exists=True)]
    made += [CreateIndex(index, if_not_exists=True) for index in indexes]
    return [str(statement.compile(dialect=driver)).strip() for statement in made]


def table(name: str, schema: str | None, dialect: Dialect) -> JobTable:
    """The mapping of ``jobs``.

    Args:
        name: the table.
        schema: its database schema.
        dialect: the database.
    """
    moment = moments(dialect)
    touched = Codec(moment.read, lambda _value: moment.write(dialect.now()))
    return JobTable(
        name,
        schema=schema,
        columns={
            "state": Column("status", Codec(_as_word, lambda value: sa.cast(value, sa.Integer()))),
            "lease": "attempts",
            "attempt": Column("attempts", Codec(into=_kept)),
            "leased_until": Column("locked_until", moment),
            "heartbeat_at": Column("updated_at", touched),
            "finalized_at": Column("updated_at", touched),
            "scheduled_at": Column("next_run_at", moment),
            "created_at": Column("created_at", moment),
            "meta": Column("metadata", Codec(_as_text)),
        },
        states={
            State.AVAILABLE: _word(Status.PENDING),
            State.RUNNING: _word(Status.PROCESSING),
            State.COMPLETED: _word(Status.DONE),
            State.DISCARDED: _word(Status.DEAD),
        },
        order_by=lambda t: (t.c.next_run_at,),
        select=lambda t: text_columns(t, dialect),
        record=job_of,
        claim_expired=True,
        statements={"rescue": bury},
    )


def bury(parts: Parts) -> Any:
    """Processing, left by a crash, with no attempts left → Dead; a pull takes the others as they are."""
    left, c = parts.alias("left_behind"), parts.c
    picked = (
        sa.select(*left.key)
        .where(left.is_in(State.RUNNING), parts.expired(left), left.attempt >= left.max_attempts)
        .order_by(left.leased_until)
        .limit(_LIMIT)
    )
    update = parts.update(
        {
            "state": parts.state(State.DISCARDED),
            "leased_until": sa.null(),
            "finalized_at": parts.now(),
        }
    )
    return update.where(parts.is_one_of(left, picked)).returning(
        *c.key, c.kind, c.queue, c.state, c.lease, c.attempted_by
    )


def moments(dialect: Dialect) -> Codec:
    """How a moment is stored: timestamptz, or gqs' text on SQLite, which ends in its offset."""
    plain = dialect.timestamps(zoned=True)
    if dialect.name != "sqlite":
        return plain

    def write(value: Any) -> Any:
        if isinstance(value, Null):
            return value
        return plain.write(value).concat(const("+00:00", sa.Text()))

    return Codec(plain.read, write)


def text_columns(of: Any, dialect: Dialect) -> tuple[Any, ...]:
    """What a ``Job`` needs beside the columns as they are."""
    read = moments(dialect).read
    names = ("created_at", "updated_at", "locked_until", "next_run_at")
    times = [read(of.c[name]).label(f"{name}_read") for name in names]
    return (_as_text(of.c.metadata).label("metadata_text"), *times)


def job_of(row: Mapping[str, Any]) -> Job:
    """A row as ``text_columns`` reads it."""
    names = ("created_at", "updated_at", "locked_until", "next_run_at")
    times: dict[str, Any] = {
        name: None if (at := row[f"{name}_read"]) is None else at.astimezone(UTC) for name in names
    }
    id_ = row["id"]
    return Job(
        id=id_ if isinstance(id_, UUID) else UUID(id_),
        status=Status(row["status"]),
        attempts=row["attempts"],
        metadata=json.loads(row["metadata_text"] or "null") or {},
        payload=bytes(row["payload"] or b""),
        **times,
    )


def _word(status: Status) -> str:
    return str(status.value)


def _as_word(column: Any) -> Any:
    return sa.cast(column, sa.Text())


def _as_text(column: Any) -> Any:
    return sa.cast(column, sa.Text())


def _kept(current: Any, _value: Any, _written: Mapping[str, Any]) -> Any:
    return current
