"""What both stores share: the settings, the tables, the compiled statements, and their text."""

from __future__ import annotations

import math
import time
from typing import Any

from rowqueue.core.errors import ConfigurationError
from rowqueue.operations.settings import StoreSettings
from rowqueue.sql.dialects import dialect_of
from rowqueue.sql.layout import Layout
from rowqueue.sql.mapping import JobTable
from rowqueue.sql.migrations import ddl
from rowqueue.sql.statements.catalog import Statements
from rowqueue.store.borrowed import Adopter, AsyncBoundStore, BoundStore, adopt
from rowqueue.store.database import Database, driver_dialect
from rowqueue.store.mapped import layout_of

_FLAVOURS = {
    "postgresql": "postgresql+psycopg",
    "sqlite": "sqlite+pysqlite",
    "mariadb": "mariadb+pymysql",
    "mysql": "mysql+pymysql",
}


class StoreBase:
    """The part of a store that needs no database.

    Args:
        database: a URL, an Engine, an AsyncEngine, or a ``Database``.
        settings: the checked settings.
        table: a table of the user's; None is the default table.
        layout: of that table, as another store has found it; None looks at the table.
    """

    def __init__(
        self,
        database: Database,
        settings: StoreSettings,
        table: JobTable | None = None,
        layout: Layout | None = None,
    ) -> None:
        if settings.schema is not None and database.name == "sqlite":
            raise ConfigurationError("a SQLite file has no schemas: leave schema out, and choose a prefix")
        self.database = database
        self.settings = settings
        self.table = table
        self.tables = database.tables(settings.prefix, settings.schema)
        self._flavours: dict[str, Statements] = {}
        self._adopters: dict[type, Adopter] = {}
        self._layout = layout
        if table is not None and layout is None:
            self._layout = layout_of(database, table, settings)
        self._statements = self._statements_for(database.url.drivername)
        self._refresh_at = 0.0 if self._layout is not None and self._layout.read_only else math.inf

    @property
    def layout(self) -> Layout | None:
        """What was found of a table of the user's, for other stores over it; None for the default table."""
        return self._layout

    def _refreshed(self, began: float) -> None:
        """A refresh has ended: the next one is due after ten times as long as it took, at least a second."""
        now = time.monotonic()
        self._refresh_at = now + max(1.0, 10 * (now - began))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.database.url.render_as_string(hide_password=True)!r})"

    @property
    def jobs(self) -> Any:
        """The job table, for conditions of your own (``claim(where=...)``)."""
        return self._statements.layout.base

    @property
    def can_wake(self) -> bool:
        """New jobs can be told to workers that listen: on PostgreSQL, unless a pooler stands before it."""
        return self._statements.can_wake and self.database.prepared

    def on(self, connection: Any) -> BoundStore | AsyncBoundStore:
        """The verbs in the transaction of a connection of yours.

        Args:
            connection: a SQLAlchemy Session, Connection, AsyncSession or AsyncConnection, or a
                connection of psycopg (sync, async), asyncpg, sqlite3 or PyMySQL.

        Returns:
            A ``BoundStore`` for a sync connection; an ``AsyncBoundStore``, awaited, for an async one.

        Raises:
            ConfigurationError: not such a connection, or to another kind of database.
        """
        wrapped, is_async = adopt(connection, self.database.name, self._statements_for, self._adopters)
        return AsyncBoundStore(wrapped, self.settings) if is_async else BoundStore(wrapped, self.settings)

    def ddl(self, dialect: str | None = None) -> str:
        """The SQL that creates the tables, for a DBA or a migration tool.

        Args:
            dialect: sqlite, postgresql, mariadb or mysql; None is this store's own.
        """
        statements = ddl(self.tables, driver_dialect(_flavour(dialect, self.database.name)))
        return ";\n\n".join(statements) + ";\n"

    def statements(self, dialect: str | None = None) -> list[tuple[str, str]]:
        """Every statement with its name, as it is sent to the database."""
        catalog = self._statements_for(_flavour(dialect, self.database.name))
        return [(name, catalog[name].sql) for name in catalog.names()]

    def _statements_for(self, drivername: str) -> Statements:
        if self._layout is None:
            return self.database.statements(self.tables, drivername)
        found = self._flavours.get(drivername)
        if found is None:
            driver = driver_dialect(drivername)
            found = self._flavours[drivername] = Statements(
                self.tables, dialect_of(driver.name), driver, self._layout
            )
        return found


def _flavour(dialect: str | None, own: str) -> str:
    name = dialect or own
    if name not in _FLAVOURS:
        raise ConfigurationError(f"no such dialect: {name!r}; there are {', '.join(sorted(_FLAVOURS))}")
    return _FLAVOURS[name]
