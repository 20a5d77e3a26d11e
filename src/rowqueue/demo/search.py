"""Answers from the index that the demo built."""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rowqueue.core.errors import ConfigurationError, SchemaMissing
from rowqueue.demo.database import reading
from rowqueue.demo.jobs import Demo


@dataclass(frozen=True, slots=True)
class Hit:
    """A symbol that was found: ``place`` is file:line, ``summary`` its docstring's first line."""

    name: str
    kind: str
    place: str
    summary: str


def find(demo: Demo, words: str, *, limit: int = 10) -> list[Hit]:
    """The symbols that have all of the words, best first.

    Raises:
        ConfigurationError: there is no word in it.
        SchemaMissing: nothing is indexed in this database.
    """
    terms = re.findall(r"\w+", words)
    if not terms:
        raise ConfigurationError("--find needs words, such as --find 'json decoder'")
    try:
        with reading(demo.engine).connect() as connection:
            search = _search_sqlite if connection.dialect.name == "sqlite" else _search_postgresql
            rows = search(demo, connection, terms, limit)
    except SchemaMissing:
        raise SchemaMissing("there is no index in this database yet: run 'rowqueue demo' first") from None
    return [Hit(name, kind, f"{file}:{line}", _first_line(text)) for name, kind, file, line, text in rows]


Rows = list[tuple[str, str, str, int, str]]


def _columns(demo: Demo) -> sa.Select[tuple[str, str, str, int, str]]:
    item, symbol = demo.tables.item, demo.tables.symbol
    columns = (symbol.c.name, symbol.c.kind, item.c.name, symbol.c.line, symbol.c.docstring)
    return sa.select(*columns).join(item, item.c.id == symbol.c.item_id)


def _search_sqlite(demo: Demo, connection: Connection, terms: list[str], limit: int) -> Rows:
    symbol, name = demo.tables.symbol, demo.tables.index_name
    index = sa.table(name, sa.column("rowid"))
    wanted = " ".join(f'"{term}"' for term in terms)
    rank = sa.text(f"bm25({name}, 10.0, 1.0)")  # a word of the name weighs ten times one of the docstring
    query = _columns(demo).join(index, index.c.rowid == symbol.c.id)
    query = query.where(sa.text(f"{name} MATCH :wanted")).order_by(rank, symbol.c.id).limit(limit)
    return [tuple(row) for row in connection.execute(query, {"wanted": wanted})]


def _search_postgresql(demo: Demo, connection: Connection, terms: list[str], limit: int) -> Rows:
    symbol = demo.tables.symbol
    wanted = sa.func.plainto_tsquery(sa.literal_column("'english'::regconfig"), " ".join(terms))
    rank = sa.func.ts_rank(symbol.c.text, wanted, 1)  # 1: long texts do not win by their length
    query = _columns(demo).where(symbol.c.text.op("@@")(wanted))
    return [tuple(row) for row in connection.execute(query.order_by(rank.desc(), symbol.c.id).limit(limit))]


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip()
