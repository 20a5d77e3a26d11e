"""PyMySQL: rowqueue's driver for MariaDB."""

from __future__ import annotations

import re
import select
from typing import Any

import pymysql
from pymysql.constants import SERVER_STATUS

from rowqueue.core.errors import ConfigurationError, StoreError
from rowqueue.sql.compiled import Call, Rows
from rowqueue.sql.statements.catalog import Statements
from rowqueue.store.drivers import sockets
from rowqueue.store.drivers.faults import MARIADB_SESSION, from_mysql

OLDEST = (10, 6)


def translate(error: pymysql.err.MySQLError) -> StoreError:
    """What a PyMySQL error means."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    said = str(error.args[1]) if len(error.args) > 1 else ""
    return from_mysql(code, type(error).__name__, said)


class PyMySQLConnection:
    """One connection, ours or borrowed."""

    def __init__(self, raw: pymysql.Connection[Any], statements: Statements) -> None:
        self.raw: Any = raw
        self.statements = statements

    def execute(self, call: Call) -> Rows:
        """Run one statement."""
        statement = call.statement
        if statement.locks and not in_transaction(self.raw):
            raise ConfigurationError(
                "this verb locks rows before it writes them, but the connection commits each statement by itself: "
                "begin a transaction first (connection.begin())"
            )
        try:
            with pymysql.cursors.Cursor(self.raw) as cursor:
                cursor.execute(*statement.render(call.values))
                return statement.decode(list(cursor.fetchall())) if statement.returns else []
        except pymysql.err.MySQLError as error:
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
            self.raw.query(sql)
        except pymysql.err.MySQLError as error:
            raise translate(error) from None

    def usable(self) -> bool:
        """Whether it still seems alive: an idle socket that can be read means that the server hung up."""
        if not self.raw.open or in_transaction(self.raw):
            return False
        poll = select.poll()
        poll.register(self.raw._sock.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)  # noqa: SLF001
        return not poll.poll(0)

    def hang_up(self) -> None:
        """From any thread: whoever waits for an answer here gets an error."""
        if (connected := self.raw._sock) is not None:  # noqa: SLF001 - it has no word for that
            sockets.hang_up(connected.fileno())

    def close(self) -> None:
        """Close it."""
        if self.raw.open:
            self.raw.close()


def in_transaction(raw: Any) -> bool:
    """Statements on this connection are in a transaction, or begin one."""
    return not raw.get_autocommit() or bool(raw.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)


def prepare(raw: pymysql.Connection[Any]) -> None:
    """Set up a connection of ours: autocommit, READ COMMITTED, UTC, and errors where data does not fit.

    Raises:
        ConfigurationError: the server is not MariaDB, or too old.
    """
    version = raw.get_server_info().removeprefix("5.5.5-")
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if "MariaDB" not in version or number < OLDEST:
        raw.close()
        raise ConfigurationError(
            f"this server is {version}: rowqueue needs MariaDB 10.6 or newer, or SQLite or PostgreSQL (MySQL has no "
            "INSERT ... RETURNING)"
        )
    own: Any = raw
    sockets.notice_dead_peers(own._sock)  # noqa: SLF001 - its own options have no keepalive
    raw.autocommit(True)
    for sql in MARIADB_SESSION:
        raw.query(sql)
