"""What tells sync connections from async ones to a type checker.

By shape and not by class, because a driver that is not installed would turn its class into Any,
and an overload with Any in it swallows all others.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol


class SyncConnection(Protocol):
    """A SQLAlchemy Session or Connection, or a connection of psycopg, sqlite3 or another DB-API driver."""

    def commit(self) -> None:
        """End the transaction; rowqueue never calls it."""

    def rollback(self) -> None:
        """End the transaction; rowqueue never calls it."""


class AwaitedConnection(Protocol):
    """A SQLAlchemy AsyncSession or AsyncConnection, or psycopg's AsyncConnection."""

    def commit(self) -> Awaitable[None]:
        """End the transaction; rowqueue never calls it."""
        ...

    def rollback(self) -> Awaitable[None]:
        """End the transaction; rowqueue never calls it."""
        ...


class AsyncpgConnection(Protocol):
    """asyncpg's Connection, or one that its pool lent."""

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    def fetchval(self, query: str, *args: Any) -> Awaitable[Any]:
        """Run a query."""
        ...


AsyncConnection = AwaitedConnection | AsyncpgConnection
