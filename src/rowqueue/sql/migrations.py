"""Versioned migrations: each one is a list of DDL statements for a dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateSchema, CreateTable

from rowqueue.sql.dialects.json_table import COLLATION
from rowqueue.sql.mariadb_ddl import add_index, create_whole
from rowqueue.sql.sqlite_ddl import strict
from rowqueue.sql.tables import Tables

Migration: TypeAlias = Callable[[Tables, sa.Dialect], Sequence[str]]


def _create(tables: Tables, dialect: sa.Dialect) -> list[str]:
    ddl: list[str] = []
    if tables.metadata.schema is not None and dialect.name != "sqlite":
        ddl.append(str(CreateSchema(tables.metadata.schema, if_not_exists=True).compile(dialect=dialect)))
    for table in (tables.job, tables.kind, tables.log, tables.queue, tables.version, tables.worker):
        ddl += create(table, dialect)
    return ddl


def _backfill(tables: Tables, dialect: sa.Dialect) -> list[str]:
    return [ddl for table in (tables.ledger, tables.cursor, tables.ranges) for ddl in create(table, dialect)]


def _idle(tables: Tables, dialect: sa.Dialect) -> list[str]:
    return create(tables.idle, dialect)


def create_index(index: sa.Index, dialect: sa.Dialect) -> str:
    """The DDL of one index of a table that is there."""
    if dialect.name in COLLATION:
        return add_index(index, dialect).replace("%%", "%")
    return str(CreateIndex(index).compile(dialect=dialect)).strip()


def create(table: sa.Table, dialect: sa.Dialect) -> list[str]:
    """The DDL of one table and its indexes."""
    if dialect.name in COLLATION:
        return [create_whole(table, dialect).replace("%%", "%")]
    if dialect.name == "sqlite" and table.dialect_options["sqlite"]["strict"]:
        dialect = strict(dialect)
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    made: list[Any] = [CreateTable(table), *(CreateIndex(index) for index in indexes)]
    texts = [str(statement.compile(dialect=dialect)).strip() for statement in made]
    # SQLAlchemy doubles percent signs in names for drivers whose placeholders begin with one: this is plain SQL.
    return [text.replace("%%", "%") if "format" in dialect.paramstyle else text for text in texts]


MIGRATIONS: Mapping[int, Migration] = {1: _create, 2: _backfill, 3: _idle}
"""By the version that each one leads to."""

CURRENT = max(MIGRATIONS)


def ddl(tables: Tables, dialect: sa.Dialect, *, since: int = 0) -> list[str]:
    """The DDL from a version to the current one.

    Args:
        tables: the tables under their prefix and schema.
        dialect: SQLAlchemy's dialect to write for.
        since: the version that is there; 0 where there is nothing yet.
    """
    return [
        statement
        for version in sorted(MIGRATIONS)
        if version > since
        for statement in MIGRATIONS[version](tables, dialect)
    ]
