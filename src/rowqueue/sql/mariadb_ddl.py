"""A table with its indexes as one statement, for MariaDB and MySQL, where DDL does not wait for a commit.

One statement is all or nothing, and may be sent again: what a crash left undone, the next ``init`` does.
There are no partial indexes; what stands in for one depends on its condition.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression

from rowqueue.sql.dialects.json_table import COLLATION


def create_whole(table: sa.Table, dialect: sa.Dialect) -> str:
    """The statement that creates a table, unless it is there.

    Args:
        table: with its indexes.
        dialect: SQLAlchemy's dialect to write for.
    """
    text = str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)).strip()
    body, closing, _ = text.rpartition("\n)")
    lines = [body.rstrip()]
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        lines += _index(table, index, dialect)
    options = f"ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE={COLLATION[dialect.name]}"
    return ", \n\t".join(lines) + f"{closing} {options}"


def add_index(index: sa.Index, dialect: sa.Dialect) -> str:
    """The statement that adds an index, and the column that it may need, to a table that is there."""
    table = index.table
    assert table is not None
    *columns, line = _index(table, index, dialect)
    added = [f"ADD COLUMN IF NOT EXISTS {column}" for column in columns]
    return (
        f"ALTER TABLE {dialect.identifier_preparer.format_table(table)} {', '.join([*added, f'ADD {line}'])}"
    )


def _index(table: sa.Table, index: sa.Index, dialect: sa.Dialect) -> list[str]:
    where = index.dialect_options["postgresql"]["where"]
    quote = dialect.identifier_preparer.quote
    place = f" ON {dialect.identifier_preparer.format_table(table)} ("
    columns = str(CreateIndex(index).compile(dialect=dialect)).partition(place)[2].removesuffix(")")
    lines: list[str] = []
    if (name := index.info.get("generated")) is not None:
        # A column that is NULL where the condition does not hold: a unique index lets NULLs be.
        first = next(iter(index.columns))
        case = sa.case((where, first))
        value = str(case.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
        value = re.sub(rf"\b{re.escape(quote(table.name))}\.", "", value)
        type_ = first.type.compile(dialect=dialect)
        lines.append(f"{quote(name)} {type_} GENERATED ALWAYS AS ({value}) STORED")
        columns = quote(name) + columns.removeprefix(quote(first.name))
    elif (state := _is_constant(where)) is not None and not columns.startswith(quote(state)):
        columns = f"{quote(state)}, {columns}"
    unique = "UNIQUE INDEX" if index.unique else "INDEX"
    return [*lines, f"{unique} {quote(str(index.name))} ({columns})"]


def _is_constant(where: Any) -> str | None:
    """The column of which the condition says that it has one value; it leads the index then."""
    if isinstance(where, BinaryExpression) and where.operator is operators.eq:
        return str(where.left.name)
    return None
