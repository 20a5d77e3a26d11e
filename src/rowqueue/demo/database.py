"""The demo's own connections, as an application would open them: a SQLAlchemy engine beside rowqueue."""

from __future__ import annotations

import sqlite3
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.exc import DBAPIError

from rowqueue.store.database import Database
from rowqueue.store.drivers.sqlalchemy import translate
from rowqueue.store.drivers.sqlite import prepare

_READS = "rowqueue_demo_reads"


def open_engine(database: Database, *, size: int = 1) -> Engine:
    """An engine on a database; its errors are rowqueue's typed ones.

    Args:
        database: where.
        size: the most connections. On SQLite there is one, because a file takes one writer at a time.
    """
    if database.name == "mariadb":
        options = {"isolation_level": "READ COMMITTED"}
        engine = sa.create_engine(database.url, pool_size=size, max_overflow=1, **options)
    elif database.name != "sqlite":
        engine = sa.create_engine(database.url, pool_size=size, max_overflow=1)
    else:
        engine = sa.create_engine(database.url, pool_size=1, max_overflow=0)
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    event.listen(engine, "handle_error", _typed)
    return engine


def reading(engine: Engine) -> Engine:
    """The same engine for transactions that only read: on SQLite they do not wait for the writer."""
    return engine.execution_options(**{_READS: True})


def _prepare(raw: sqlite3.Connection, _record: Any) -> None:
    prepare(raw, synchronous="FULL")


def _begin(connection: Connection) -> None:
    # A transaction that reads first and then wants to write can be refused at once, whatever the time-out.
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _typed(context: ExceptionContext) -> None:
    error = context.sqlalchemy_exception
    if isinstance(error, DBAPIError):
        raise translate(error) from None
