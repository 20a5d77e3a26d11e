"""SQLAlchemy connections of the caller's: through SQLAlchemy, so that its transaction and events see us."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import exc
from sqlalchemy.engine import Connection, CursorResult

from rowqueue.core.errors import StoreError
from rowqueue.sql.compiled import Call, Rows
from rowqueue.sql.statements.catalog import Statements
from rowqueue.store.drivers.faults import from_mysql, from_sqlite, from_sqlstate

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


def translate(error: exc.DBAPIError) -> StoreError:
    """What the driver's error inside SQLAlchemy's means."""
    cause: Any = error.orig
    if (code := getattr(cause, "sqlite_errorcode", None)) is not None:
        return from_sqlite(code, str(cause))
    if type(cause).__module__.partition(".")[0] in {"pymysql", "aiomysql", "asyncmy", "MySQLdb"}:
        number = cause.args[0] if cause.args and isinstance(cause.args[0], int) else 0
        return from_mysql(number, type(cause).__name__, str(cause.args[1]) if len(cause.args) > 1 else "")
    if error.connection_invalidated:
        return from_sqlstate(None, type(cause).__name__, "")
    state = getattr(cause, "sqlstate", None) or getattr(getattr(cause, "__cause__", None), "sqlstate", None)
    diag = getattr(cause, "diag", None)
    return from_sqlstate(
        state, type(cause).__name__, getattr(diag, "message_primary", None) or "see the server's log"
    )


class SQLAlchemyConnection:
    """A borrowed Connection, or the one that a Session works on."""

    def __init__(self, raw: Connection, statements: Statements) -> None:
        self.raw = raw
        self.statements = statements

    def execute(self, call: Call) -> Rows:
        """Run one statement."""
        statement = call.statement
        try:
            return _rows(call, self.raw.exec_driver_sql(*statement.render(call.values)))
        except exc.DBAPIError as error:
            raise translate(error) from None


class AsyncSQLAlchemyConnection:
    """The same, awaited."""

    def __init__(self, raw: AsyncConnection, statements: Statements) -> None:
        self.raw = raw
        self.statements = statements

    async def execute(self, call: Call) -> Rows:
        """Run one statement."""
        statement = call.statement
        try:
            return _rows(call, await self.raw.exec_driver_sql(*statement.render(call.values)))
        except exc.DBAPIError as error:
            raise translate(error) from None


def _rows(call: Call, result: CursorResult[Any]) -> Rows:
    return call.statement.decode(list(map(tuple, result.fetchall()))) if call.statement.returns else []
