"""Which database, and how a connection to it is opened."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from functools import cached_property, lru_cache
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import quote

from sqlalchemy import create_engine, exc
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.pool import NullPool

from rowqueue.core.errors import ConfigurationError, DatabaseUnavailable
from rowqueue.sql.compiled import Statement
from rowqueue.sql.dialects import Dialect, dialect_of
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.tables import Tables, tables
from rowqueue.store.drivers import sockets

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_SYNCHRONOUS = ("FULL", "NORMAL", "EXTRA")
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "sqlite": "sqlite+pysqlite",
    "mariadb": "mariadb+pymysql",
    "mysql": "mysql+pymysql",
}
_EXTRAS = {"postgresql": "postgres", "mariadb": "mariadb"}

_DEAD_PEERS = {
    "keepalives_idle": sockets.IDLE,
    "keepalives_interval": sockets.INTERVAL,
    "keepalives_count": sockets.COUNT,
    "tcp_user_timeout": sockets.UNACKNOWLEDGED,
}
"""libpq's words for ``sockets.notice_dead_peers``."""

_CONNECT_TIMEOUT = 10
"""Seconds; without it a host that swallows packets holds up a connect for two minutes."""


# To make the tables and to compile the statements over them takes 50 ms to 200 ms, and depends on nothing but these
# names: a process that opens many stores, as tests do, pays once.
_tables = lru_cache(maxsize=16)(tables)


@lru_cache(maxsize=16)
def _compiled(prefix: str, schema: str | None, drivername: str) -> dict[str, Statement]:  # noqa: ARG001 - the key
    """The statements over tables of these names, for a driver, as they are compiled one by one."""
    return {}


class Database:
    """A database: its dialect, and connections of rowqueue's own to it.

    Args:
        source: a URL, or a SQLAlchemy Engine or AsyncEngine.
        synchronous: SQLite only: FULL, NORMAL or EXTRA.
        prepared: PostgreSQL only: False behind a pooler that cannot keep prepared statements.

    Raises:
        ConfigurationError: the URL is wrong, its driver is missing, or rowqueue does not know the database.
    """

    def __init__(self, source: Any, *, synchronous: str = "FULL", prepared: bool = True) -> None:
        if synchronous not in _SYNCHRONOUS:
            raise ConfigurationError(
                f"synchronous must be one of {', '.join(_SYNCHRONOUS)}, not {synchronous!r}"
            )
        self.engine: Engine | None = source if isinstance(source, Engine) else None
        self.async_engine: AsyncEngine | None = source if _is_async(source) else None
        self.url = _url(source)
        self.synchronous = synchronous
        self.prepared = prepared
        self.dialect: Dialect = dialect_of(self.url.get_backend_name())
        # Of all stores here, a worker's among them.
        self._statements: dict[tuple[str, str | None, str], Statements] = {}
        self._check()

    @property
    def name(self) -> str:
        """sqlite, postgresql or mariadb."""
        return self.dialect.name

    @property
    def native_async(self) -> bool:
        """Async connections of the driver's own; where False, an operation takes one thread hop.

        An Engine of the caller's may open its connections in ways that a URL does not tell, so it
        is always used, by a thread.
        """
        return self.name == "postgresql" and self.engine is None

    @cached_property
    def catalog_engine(self) -> Engine:
        """For what is done rarely, by SQLAlchemy: the caller's Engine, or one that keeps no connection.

        It is kept for what SQLAlchemy compiles to look into a database's catalog: 100 ms on PostgreSQL.
        """
        return self.engine or create_engine(self.url, poolclass=NullPool)

    def tables(self, prefix: str, schema: str | None) -> Tables:
        """The tables with that prefix, made once."""
        return _tables(prefix, schema)

    def statements(self, tables: Tables, flavour: str | None = None) -> Statements:
        """The statements over them, for a driver (by default rowqueue's own for this database), compiled once."""
        drivername = flavour or self.url.drivername
        key = (tables.prefix, tables.metadata.schema, drivername)
        if (found := self._statements.get(key)) is not None:
            return found
        driver = driver_dialect(drivername)
        made = Statements(tables, dialect_of(driver.name), driver, shared=_compiled(*key))
        return self._statements.setdefault(key, made)

    def connect(self) -> Any:
        """Open a raw connection of the driver's, in autocommit.

        Raises:
            DatabaseUnavailable: it cannot be reached.
        """
        if self.name == "sqlite":
            return self._connect_sqlite()
        if self.name == "mariadb":
            return self._connect_mariadb()
        import psycopg

        from rowqueue.store.drivers.psycopg import unreachable

        try:
            if self.engine is not None:
                raw = self._detached()
                raw.autocommit = True
            else:
                args, options = self._connect_arguments()
                raw = psycopg.connect(*args, autocommit=True, **options)
        except psycopg.Error as error:
            raise unreachable(error) from None
        raw.prepare_threshold = 5 if self.prepared else None
        return raw

    async def connect_async(self) -> Any:
        """``connect``, awaited (PostgreSQL only)."""
        import psycopg

        from rowqueue.store.drivers.psycopg import unreachable

        args, options = self._connect_arguments()
        try:
            raw = await psycopg.AsyncConnection.connect(*args, autocommit=True, **options)
        except psycopg.Error as error:
            raise unreachable(error) from None
        except asyncio.CancelledError as error:
            # Or the half-open connection stays until its garbage is collected.
            clear_frames(error.__traceback__)
            raise
        raw.prepare_threshold = 5 if self.prepared else None
        return raw

    def file(self) -> str:
        """SQLite only: the whole path of the file, links followed, as SQLite itself names it."""
        raw = self.connect()
        try:
            return str(raw.execute("PRAGMA database_list").fetchone()[2])
        finally:
            raw.close()

    def _connect_arguments(self) -> tuple[Any, dict[str, Any]]:
        try:
            args, options = driver_dialect(self.url.drivername).create_connect_args(self.url)
        except (exc.ArgumentError, ValueError, TypeError):
            raise ConfigurationError(
                f"the hosts, ports or options of that database URL do not fit together: write {_EXAMPLES}"
            ) from None
        if self.name != "postgresql":
            return args, dict(options)
        if "PGCONNECT_TIMEOUT" not in os.environ:
            options = {"connect_timeout": _CONNECT_TIMEOUT, **options}
        return args, {**_DEAD_PEERS, **options}

    def _detached(self) -> Any:
        assert self.engine is not None
        try:
            fairy = self.engine.raw_connection()
        except exc.DBAPIError as error:
            raise DatabaseUnavailable(f"the engine could not connect ({type(error.orig).__name__})") from None
        raw = fairy.driver_connection
        fairy.detach()
        return raw

    def _connect_sqlite(self) -> sqlite3.Connection:
        from rowqueue.store.drivers.sqlite import prepare, translate

        try:
            if self.engine is not None:
                raw = self._detached()
            else:
                raw = sqlite3.connect(
                    self.url.database or "",
                    check_same_thread=False,
                    uri=(self.url.database or "").startswith("file:"),
                )
        except sqlite3.Error as error:
            raise translate(error) from None
        try:
            prepare(raw, synchronous=self.synchronous)
        except BaseException:
            raw.close()
            raise
        return raw  # type: ignore[no-any-return]

    def _connect_mariadb(self) -> Any:
        import pymysql

        from rowqueue.store.drivers.pymysql import prepare, translate

        try:
            if self.engine is not None:
                raw = self._detached()
            else:
                args, options = self._connect_arguments()
                raw = pymysql.connect(*args, **options)
            prepare(raw)
        except pymysql.err.MySQLError as error:
            raise translate(error) from None
        return raw

    def _check(self) -> None:
        if self.name == "sqlite" and self.url.database in {None, "", ":memory:"}:
            raise ConfigurationError(
                "an SQLite database in memory cannot be shared between threads and processes: name a file, sqlite:///jobs.db"
            )
        try:
            driver_dialect(self.url.drivername).import_dbapi()
        except ImportError as error:
            extra = _EXTRAS.get(self.name, self.name)
            raise ConfigurationError(
                f"the driver for {self.name} is not installed ({error.name}): pip install 'rowqueue[{extra}]'"
            ) from None
        if self.engine is None:
            self._connect_arguments()  # so that a wrong URL is refused here, not by every worker later


@lru_cache(maxsize=16)
def driver_dialect(drivername: str) -> Any:
    """SQLAlchemy's dialect object of a driver, which compiles for its parameter style; it connects nowhere."""
    return URL.create(drivername).get_dialect()()


def _url(source: Any) -> URL:
    if isinstance(source, Engine):
        url = source.url
    elif _is_async(source):
        url = source.sync_engine.url
    elif isinstance(source, str | URL):
        url = _parse(source)
    else:
        raise ConfigurationError(
            f"the database must be a URL or a SQLAlchemy Engine or AsyncEngine, not {type(source).__name__}"
        )
    backend = url.get_backend_name()
    if backend not in _DRIVERS:
        raise ConfigurationError(f"rowqueue does not know {backend!r} databases: use {_EXAMPLES}")
    if isinstance(source, Engine):
        if url.get_driver_name() not in {"psycopg", "pysqlite", "pymysql"}:
            raise ConfigurationError(
                f"an Engine on {url.get_driver_name()} cannot be used: create it with {_DRIVERS[backend]}://, or pass the URL"
            )
        return url
    if backend == "sqlite" and "uri" not in url.query and (unknown := sorted({*url.query} - _SQLITE_OPTIONS)):
        raise ConfigurationError(
            f"a SQLite URL takes no {unknown[0]!r}: leave it out, or add uri=true if it is SQLite's own"
        )
    return url.set(drivername=_DRIVERS[backend])


def _is_async(source: Any) -> TypeGuard[AsyncEngine]:
    return isinstance(getattr(source, "sync_engine", None), Engine)


_SQLITE_OPTIONS = {"timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"}
_EXAMPLES = "sqlite:///jobs.db, postgresql://user@host/database or mariadb://user@host/database"


def _parse(source: str | URL) -> URL:
    if isinstance(source, URL):
        return source
    try:
        url = make_url(_several_hosts(source))
        url.get_backend_name()
    except (exc.ArgumentError, ValueError):
        raise ConfigurationError(f"that is no database URL: write {_EXAMPLES}") from None
    return url


def _several_hosts(source: str) -> str:
    """libpq's ``//user@one:1,two:2/name`` in the form that SQLAlchemy knows, ``?host=one:1&host=two:2``."""
    match = re.match(
        r"(?P<head>postgres(?:ql)?(?:\+\w+)?://(?:[^@/]*@)?)(?P<hosts>[^/?@]*,[^/?@]*)(?P<rest>.*)\Z", source
    )
    if match is None:
        return source
    path, _, query = match["rest"].partition("?")
    hosts = "&".join(f"host={quote(host, safe=':')}" for host in match["hosts"].split(","))
    return f"{match['head']}{path}?{hosts}{'&' + query if query else ''}"
