"""asyncpg connections of the caller's, for enqueueing and completing in their transaction."""

from __future__ import annotations

from typing import Any

from rowqueue.core.errors import StoreError
from rowqueue.sql.compiled import Call, Rows
from rowqueue.sql.statements.catalog import Statements
from rowqueue.store.drivers.faults import from_sqlstate


class AsyncpgConnection:
    """A borrowed asyncpg connection."""

    def __init__(self, raw: Any, statements: Statements) -> None:
        self.raw = raw
        self.statements = statements

    async def execute(self, call: Call) -> Rows:
        """Run one statement."""
        import asyncpg

        statement = call.statement
        try:
            rows = await self.raw.fetch(statement.sql, *statement.bind(call.values))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise translate(error) from None
        return statement.decode(list(map(tuple, rows)))


def translate(error: BaseException) -> StoreError:
    """What an asyncpg error means."""
    said = str(getattr(error, "message", None) or "no message")
    return from_sqlstate(getattr(error, "sqlstate", None), type(error).__name__, said)
