"""What is installed, compared with what this version needs; and, where it is all there, how the jobs fare."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import sqlalchemy as sa
from sqlalchemy import exc

from rowqueue.core.errors import DatabaseUnavailable, SchemaError
from rowqueue.core.values import Finding
from rowqueue.operations import schema
from rowqueue.sql.migrations import CURRENT, create_index
from rowqueue.sql.statements.catalog import Statements
from rowqueue.store import health
from rowqueue.store.database import Database
from rowqueue.store.pools import Pool

_UPGRADE = "run 'rowqueue init'"


def doctor(database: Database, statements: Statements) -> list[Finding]:
    """Look at the schema (version, tables, columns, indexes), the database under it, and the jobs in it.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    with closing(Pool(database, statements, 1)) as pool:
        findings = [_version(pool)]
        with inspector(database) as inspect:
            for table in statements.parts.tables.metadata.sorted_tables:
                findings += _table(inspect, table)
        whole = all(finding.ok for finding in findings if finding.check != "index")
        if whole and not statements.layout.mapped:
            findings += health.examine(database, statements, pool)
    return findings


@contextmanager
def inspector(database: Database) -> Iterator[sa.Inspector]:
    """SQLAlchemy's view of a database's tables.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    with connect(database) as connection:
        yield sa.inspect(connection)


@contextmanager
def connect(database: Database) -> Iterator[sa.Connection]:
    """A SQLAlchemy connection, for what is done rarely.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    try:
        with database.catalog_engine.connect() as connection:
            yield connection
    except exc.OperationalError as error:
        raise DatabaseUnavailable(f"the database cannot be reached ({type(error.orig).__name__})") from None


def _version(pool: Pool) -> Finding:
    try:
        found = pool.run(schema.check())
    except SchemaError as error:
        return Finding("schema", ok=False, message=str(error), remedy=_UPGRADE)
    return Finding("schema", ok=True, message=f"version {found} of {CURRENT}")


def _table(inspect: sa.Inspector, table: sa.Table) -> Iterator[Finding]:
    if not inspect.has_table(table.name, schema=table.schema):
        yield Finding("table", ok=False, message=f"{table.fullname} is missing", remedy=_UPGRADE)
        return
    there = {column["name"] for column in inspect.get_columns(table.name, schema=table.schema)}
    missing = [column.name for column in table.columns if column.name not in there]
    if missing:
        words = ", ".join(missing)
        yield Finding("columns", ok=False, message=f"{table.fullname} lacks {words}", remedy=_UPGRADE)
    else:
        yield Finding("columns", ok=True, message=f"{table.fullname} has all {len(table.columns)}")
    installed = {index["name"] for index in inspect.get_indexes(table.name, schema=table.schema)}
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        if index.name in installed:
            yield Finding("index", ok=True, message=str(index.name))
        else:
            remedy = create_index(index, inspect.dialect)
            yield Finding("index", ok=False, message=f"{index.name} is missing", remedy=remedy)
