"""psycopg 3, sync and async: rowqueue's own driver for PostgreSQL."""

from __future__ import annotations

import select
from contextlib import suppress
from typing import Any, LiteralString

import psycopg
from psycopg.rows import tuple_row

from rowqueue.core.errors import DatabaseUnavailable, StoreError
from rowqueue.sql.compiled import Call, Rows
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.types import NAMES_OF_UTC
from rowqueue.store.drivers import sockets
from rowqueue.store.drivers.faults import from_sqlstate

_UTC = frozenset(name.encode() for name in NAMES_OF_UTC)


def translate(error: psycopg.Error) -> StoreError:
    """What a psycopg error means."""
    broken = error.sqlstate is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    said = error.diag.message_primary or ("" if error.sqlstate or broken else str(error))
    return from_sqlstate(error.sqlstate if not broken else None, type(error).__name__, said or "no message")


def unreachable(error: psycopg.Error) -> StoreError:
    """What it means that a connection could not be opened.

    libpq then names host, port, database and role, but never the password.
    """
    if error.sqlstate is not None or not isinstance(error, psycopg.OperationalError):
        return translate(error)
    said = next(iter(str(error).splitlines()), "no message").removeprefix("connection failed: ")
    return DatabaseUnavailable(f"PostgreSQL cannot be reached: {' '.join(said.split())}")


class PsycopgConnection:
    """One connection, ours or borrowed."""

    def __init__(self, raw: psycopg.Connection[Any], statements: Statements) -> None:
        self.raw = raw
        self.statements = statements
        self._cursor = raw.cursor(binary=True, row_factory=tuple_row)  # one for all: a new one costs 10 us

    def execute(self, call: Call) -> Rows:
        """Run one statement."""
        statement = call.statement
        try:
            self._cursor.execute(_text(statement.sql), statement.bind(call.values))
            if not statement.returns:
                return []
            return statement.decode(self._cursor.fetchall(), utc=_is_utc(self.raw))
        except psycopg.Error as error:
            raise translate(error) from None

    def begin(self) -> None:
        """Open a transaction (ours are in autocommit otherwise)."""
        self._plain("BEGIN")

    def commit(self) -> None:
        """Commit it."""
        self._plain("COMMIT")

    def rollback(self) -> None:
        """Undo it."""
        self._plain("ROLLBACK")

    def _plain(self, sql: str) -> None:
        try:
            self.raw.execute(_text(sql))
        except psycopg.Error as error:
            raise translate(error) from None

    def usable(self) -> bool:
        """Whether it still seems alive: an idle socket that can be read means that the server hung up."""
        return _usable(self.raw)

    def hang_up(self) -> None:
        """From any thread: whoever waits for an answer here gets an error."""
        _hang_up(self.raw)

    def close(self) -> None:
        """Close it."""
        self.raw.close()


class AsyncPsycopgConnection:
    """The same, awaited."""

    def __init__(self, raw: psycopg.AsyncConnection[Any], statements: Statements) -> None:
        self.raw = raw
        self.statements = statements
        self._cursor = raw.cursor(binary=True, row_factory=tuple_row)

    async def execute(self, call: Call) -> Rows:
        """Run one statement."""
        statement = call.statement
        try:
            await self._cursor.execute(_text(statement.sql), statement.bind(call.values))
            if not statement.returns:
                return []
            return statement.decode(await self._cursor.fetchall(), utc=_is_utc(self.raw))
        except psycopg.Error as error:
            raise translate(error) from None

    async def begin(self) -> None:
        """Open a transaction."""
        await self._plain("BEGIN")

    async def commit(self) -> None:
        """Commit it."""
        await self._plain("COMMIT")

    async def rollback(self) -> None:
        """Undo it."""
        await self._plain("ROLLBACK")

    async def _plain(self, sql: str) -> None:
        try:
            await self.raw.execute(_text(sql))
        except psycopg.Error as error:
            raise translate(error) from None

    def usable(self) -> bool:
        """Whether it still seems alive."""
        return _usable(self.raw)

    def hang_up(self) -> None:
        """Whoever waits for an answer here gets an error."""
        _hang_up(self.raw)

    async def close(self) -> None:
        """Close it."""
        await self.raw.close()


def _text(sql: str) -> LiteralString:
    """For type checkers: our statements are SQLAlchemy's, and values are bound beside them."""
    return sql  # pyright: ignore[reportReturnType]


def _hang_up(raw: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    # Not by its close(): libpq is in use by whoever waits.
    with suppress(psycopg.Error):  # one that is closed has no descriptor
        sockets.hang_up(raw.fileno())


def _is_utc(raw: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """It reads moments in UTC; asked each time, because a session of the caller's may change that."""
    return raw.pgconn.parameter_status(b"TimeZone") in _UTC


def _usable(raw: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    if raw.closed or raw.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
        return False
    poll = select.poll()  # not select(): that fails for descriptors over 1,023
    poll.register(raw.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return not poll.poll(0)
