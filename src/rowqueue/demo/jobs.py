"""The demo's app and its one job."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from rowqueue.app import App, Context
from rowqueue.app.job import JobFunction
from rowqueue.core.control import Skip
from rowqueue.core.policies import RetryPolicy
from rowqueue.demo.database import open_engine
from rowqueue.demo.parse import Symbol, parse_file
from rowqueue.demo.schema import Tables, tables

QUEUE = "demo"
LEASE = 2.0
"""Seconds until the jobs of a killed worker run again: short, because somebody is watching."""

CONCURRENCY = 4

ATTEMPTS = 4
"""Starts before a failure is final. A kill uses one up, too, and this demo is killed often."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What a process of the demo works with."""

    app: App
    engine: Engine
    tables: Tables
    index_file: JobFunction[[int, str, str], None]

    def close(self) -> None:
        """Close all connections."""
        self.app.close()
        self.engine.dispose()


def open_demo(url: str, *, prefix: str = "rowqueue_", schema: str | None = None) -> Demo:
    """The app, its job, and the demo's own tables on one database; nothing connects yet."""
    app = App(url, prefix=prefix, schema=schema, lease=LEASE, max_attempts=ATTEMPTS, max_rescues=ATTEMPTS)
    database = app.store.database
    engine = open_engine(database, size=CONCURRENCY)
    own = tables(prefix, schema, database.name)
    parsing = Lock()  # CPython's ast.parse is not safe in two threads at once (python/cpython#106905)

    @app.job(kind="rowqueue.demo.index_file", queue=QUEUE, retry=RetryPolicy.constant(0.2))
    def index_file(context: Context, item: int, path: str, name: str) -> None:
        """Parse a file and write its symbols, in one transaction with the job's completion."""
        try:
            with parsing:
                symbols = parse_file(path, name)
        except FileNotFoundError:
            raise Skip("the file is gone") from None
        with engine.begin() as connection:
            write_symbols(connection, own, item, symbols)
            context.complete_in(connection)

    return Demo(app, engine, own, index_file)


def write_symbols(connection: Connection, tables: Tables, item: int, symbols: list[Symbol]) -> None:
    """Write what a file holds, and how much that is into the item's row."""
    rows = [
        {
            "item_id": item,
            "kind": symbol.kind,
            "name": symbol.name,
            "line": symbol.line,
            "own": symbol.own,
            "words": symbol.words,
            "docstring": symbol.docstring,
        }
        for symbol in symbols
    ]
    connection.execute(tables.symbol.insert(), rows)
    table = tables.item
    connection.execute(sa.update(table).where(table.c.id == item).values(symbols=len(rows)))
