"""Answers from the index that the demo built."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
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
    """The symbols that have all of the words; those first that have them in their own name.

    Raises:
        ConfigurationError: there is no word in it.
        SchemaMissing: nothing is indexed in this database.
    """
    terms = re.findall(r"\w+", words)
    if not terms:
        raise ConfigurationError("--find needs words, such as --find 'json decoder'")
    try:
        with reading(demo.engine).connect() as connection:
            rows = _SEARCHES[connection.dialect.name](demo, connection, terms, limit)
    except SchemaMissing:
        raise SchemaMissing("there is no index in this database yet: run 'rowqueue demo' first") from None
    return [Hit(name, kind, f"{file}:{line}", _first_line(text)) for name, kind, file, line, text in rows]


Rows = list[sa.Row[str, str, str, int, str]]


def _columns(demo: Demo) -> sa.Select[str, str, str, int, str]:
    item, symbol = demo.tables.item, demo.tables.symbol
    columns = (symbol.c.name, symbol.c.kind, item.c.name, symbol.c.line, symbol.c.docstring)
    return sa.select(*columns).join(item, item.c.id == symbol.c.item_id)


def _search_sqlite(demo: Demo, connection: Connection, terms: list[str], limit: int) -> Rows:
    symbol, name = demo.tables.symbol, demo.tables.index_name
    index = sa.table(name, sa.column("rowid"))
    matches = sa.text(f"{name} MATCH :wanted")
    own = sa.select(index.c.rowid).where(sa.text(f"{name} MATCH :own"))
    rank = sa.text(f"bm25({name}, 10.0, 5.0, 1.0)")
    query = _columns(demo).join(index, index.c.rowid == symbol.c.id).where(matches)
    query = query.order_by(symbol.c.id.in_(own).desc(), rank, symbol.c.id).limit(limit)
    wanted = " ".join(f'"{term}"' for term in terms)
    rows = connection.execute(query, {"wanted": wanted, "own": f"own : ({wanted})"})
    return list(rows)


def _search_postgresql(demo: Demo, connection: Connection, terms: list[str], limit: int) -> Rows:
    symbol = demo.tables.symbol
    wanted = _tsquery(" & ".join(f"'{term}'" for term in terms))
    own = symbol.c.text.op("@@")(_tsquery(" & ".join(f"'{term}':A" for term in terms)))
    rank = sa.func.ts_rank(symbol.c.text, wanted, 1)  # 1: long texts do not win by their length
    query = _columns(demo).where(symbol.c.text.op("@@")(wanted))
    rows = connection.execute(query.order_by(own.desc(), rank.desc(), symbol.c.id).limit(limit))
    return list(rows)


def _search_mariadb(demo: Demo, connection: Connection, terms: list[str], limit: int) -> Rows:
    symbol = demo.tables.symbol
    wanted = " ".join(f"+{term}" for term in terms)
    own = mysql.match(symbol.c.own, against=wanted).in_boolean_mode()
    found = mysql.match(symbol.c.own, symbol.c.words, symbol.c.docstring, against=wanted).in_boolean_mode()
    query = _columns(demo).where(found)
    rows = connection.execute(query.order_by(own.desc(), found.desc(), symbol.c.id).limit(limit))
    return list(rows)


_SEARCHES = {
    "sqlite": _search_sqlite,
    "postgresql": _search_postgresql,
    "mariadb": _search_mariadb,
    "mysql": _search_mariadb,
}


def _tsquery(text: str) -> sa.ColumnElement[Any]:
    return sa.func.to_tsquery(sa.literal_column("'simple'::regconfig"), text)


def _first_line(text: str) -> str:
    return text.partition("\n")[0].strip()
