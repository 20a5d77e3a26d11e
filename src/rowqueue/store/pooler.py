"""Whether a pooler stands between us and PostgreSQL, and whether it keeps prepared statements."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from typing import Any

from rowqueue.core.values import Finding
from rowqueue.store.database import Database

_ASK = "SELECT pg_backend_pid()"
_PATIENCE = 3.0


def examine(database: Database) -> Iterator[Finding]:
    """Look for a pooler; only PostgreSQL has one.

    A server tells every client its process number at the start. A pooler makes one up, because
    the process behind it changes.

    Raises:
        DatabaseUnavailable: the connection failed.
    """
    import psycopg

    from rowqueue.store.drivers.psycopg import translate

    with ExitStack() as connections:
        try:
            first = connections.enter_context(closing(database.connect()))
            if first.info.backend_pid == first.execute(_ASK, prepare=False).fetchone()[0]:
                yield Finding("pooler", ok=True, message="none: the connections go to the server itself")
                return
            second = connections.enter_context(closing(database.connect()))
            moved, kept = _probe(first, second)
        except psycopg.Error as error:
            raise translate(error) from None
    yield _finding(moved, kept, database.prepared)


def _finding(moved: bool, kept: bool, prepared: bool) -> Finding:
    if not moved:
        return Finding("pooler", ok=True, message="a pooler stands in front, in session mode")
    mode = "a pooler stands in front, in transaction mode: LISTEN does not work there, workers poll"
    if kept:
        return Finding("pooler", ok=True, message=f"{mode}; it keeps prepared statements")
    remedy = "prepared=False for App and Store (or PgBouncer 1.21 with max_prepared_statements = 200)"
    if prepared:
        return Finding("pooler", ok=False, message=f"{mode}; prepared statements fail", remedy=remedy)
    return Finding("pooler", ok=True, message=f"{mode}; prepared statements fail, and are switched off")


def _probe(first: Any, second: Any) -> tuple[bool, bool]:
    """Whether a connection moves between server processes, and whether its prepared statements move along.

    The second connection holds a transaction, so that the first gets another process if it does
    not own one. A pooler with a single process makes it wait; it goes on when that transaction ends.
    """
    import psycopg

    before = first.execute(_ASK, prepare=True).fetchone()[0]
    second.autocommit = False
    second.execute(_ASK, prepare=False)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(lambda: first.execute(_ASK, prepare=True).fetchone()[0])
        wait([asked], timeout=_PATIENCE)
        second.rollback()
        try:
            return asked.result() != before, True
        except psycopg.errors.InvalidSqlStatementName:
            return True, False
