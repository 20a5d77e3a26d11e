"""What tells sync connections from async ones to a type checker.

By shape and not by class, because a driver that is not installed would turn its class into Any,
and an overload with Any in it swallows all others.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol, TypeAlias


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
    """asyncpg's Connection."""

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    def fetchval(self, query: str, *args: Any) -> Awaitable[Any]:
        """Run a query."""
        ...


class LentConnection(Protocol):
    """What asyncpg's pool lends: it forwards to a connection by methods that no type checker sees."""

    _con: Any

    def __getattr__(self, attr: str) -> Any:
        """Forward to the connection."""
        ...


AsyncConnection: TypeAlias = AwaitedConnection | AsyncpgConnection | LentConnection
