"""Stores for tests: sync and async ones under one way of calling, and a look at their rows past them."""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from sqlalchemy.engine import URL, make_url

from rowqueue.store.async_store import AsyncStore
from rowqueue.store.store import Store
from tests.support.mariadb import MariaRaw
from tests.support.session import plain_url

_SECOND = {"sqlite": "1000000", "postgresql": "interval '1 second'", "mariadb": "INTERVAL 1 SECOND"}


_OURS = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'rowqueue_*'",
    "postgresql": "SELECT tablename AS name FROM pg_tables WHERE tablename ~ '^rowqueue_'",
    "mariadb": "SELECT table_name AS name FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_name LIKE 'rowqueue%'",
}


MOMENT = {"sqlite": "bigint", "postgresql": "timestamptz", "mariadb": "datetime(6)"}
"""A column type for times."""


def kind_of(url: str) -> str:
    """Which database a URL is of, by the name that the store has for it."""
    backend = make_url(url).get_backend_name()
    return {"mysql": "mariadb"}.get(backend, backend)


class Awaited:
    """A sync store whose methods are awaited, so that one text of a test serves both stores."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.store, name)

        async def call(*args: Any, **options: Any) -> Any:
            return method(*args, **options)

        return call

    def on(self, connection: Any) -> Any:
        return self.store.on(connection)


def open_store(url: str, *, asynchronous: bool = False, **options: Any) -> Any:
    """A store whose methods are awaited either way."""
    return AsyncStore(url, **options) if asynchronous else Awaited(Store(url, **options))


class Raw:
    """A connection of the test's own, past the store: whole rows, and time that passes at once."""

    def __init__(self, url: str, table: str = "rowqueue_job") -> None:
        self.kind = kind_of(url)
        self.is_sqlite = self.kind == "sqlite"
        self.table = table
        self.second = _SECOND[self.kind]
        self._connection: Any
        if self.kind == "mariadb":
            self._connection = MariaRaw(url)
        elif self.is_sqlite:
            self._connection = sqlite3.connect(
                url.removeprefix("sqlite:///"), isolation_level=None, timeout=10
            )
            self._connection.row_factory = sqlite3.Row
        else:
            self._connection = psycopg.connect(plain_url(url), autocommit=True)
            self._connection.row_factory = dict_row

    def rows(self, query: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self._connection.execute(query).fetchall()]

    def execute(self, command: str) -> None:
        self._connection.execute(command)

    def all(self) -> dict[int, dict[str, Any]]:
        """Every row of the job table, whole, by id."""
        return {row["id"]: row for row in self.rows(f"SELECT * FROM {self.table} ORDER BY id")}

    def row(self, key: int) -> dict[str, Any]:
        (row,) = self.rows(f"SELECT * FROM {self.table} WHERE id = {int(key)}")
        return row

    def count(self, where: str = "1 = 1") -> int:
        (row,) = self.rows(f"SELECT count(*) AS n FROM {self.table} WHERE {where}")
        count: int = row["n"]
        return count

    def pass_time(self, seconds: int, *keys: int) -> None:
        """Move every moment of rows (all, or some) into the past, as if that much time had passed."""
        moments = ("scheduled_at", "leased_until", "attempted_at", "created_at", "finalized_at")
        moved = ", ".join(f"{name} = {name} - {seconds} * {self.second}" for name in moments)
        which = f" WHERE id IN ({', '.join(map(str, keys))})" if keys else ""
        self.execute(f"UPDATE {self.table} SET {moved}{which}")

    def drop_all(self) -> None:
        """Drop our tables, whatever they are by now."""
        for row in self.rows(_OURS[self.kind]):
            self.execute(f"DROP TABLE {row['name']}")

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def raw(url: str, table: str = "rowqueue_job") -> Iterator[Raw]:
    connection = Raw(url, table)
    try:
        yield connection
    finally:
        connection.close()


def fast_directory(fallback: Path) -> Path:
    """Memory if there is some, because a commit costs a flush of the disk."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and shutil.disk_usage(shared).free > 256 * 1024 * 1024 else fallback


def truncate(url: str) -> None:
    """Empty the default tables on PostgreSQL, and number rows from 1 again."""
    found = "SELECT quote_ident(tablename) FROM pg_tables WHERE tablename ~ '^rowqueue_' AND tablename !~ '_version$'"
    with psycopg.connect(plain_url(url), autocommit=True, options="-c lock_timeout=10s") as connection:
        tables = ", ".join(row[0] for row in connection.execute(found))
        connection.execute(f"TRUNCATE {tables} RESTART IDENTITY")  # type: ignore[call-overload]


def driver_url(url: str, *, asynchronous: bool = False) -> URL:
    """A URL for an Engine of SQLAlchemy's, or an AsyncEngine."""
    sync = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql"}
    apart = {
        "sqlite": "sqlite+aiosqlite",
        "postgresql": "postgresql+psycopg",
        "mariadb": "mariadb+aiomysql",
    }
    return make_url(url).set(drivername=(apart if asynchronous else sync)[kind_of(url)])
