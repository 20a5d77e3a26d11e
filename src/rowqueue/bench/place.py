"""Tables of the bench's own in the user's database, and their removal, whatever happens."""

from __future__ import annotations

import contextlib
import secrets
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rowqueue.app import App
from rowqueue.cli.target import shown
from rowqueue.core.errors import RowqueueError
from rowqueue.store.database import Database

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP


@dataclass(frozen=True, slots=True)
class Place:
    """Where the tables are.

    Attributes:
        url: the database, password and all.
        prefix: what their names begin with.
        schema: PostgreSQL's schema that holds them; None elsewhere.
        name: what a person calls it: that schema, prefix or file.
    """

    url: str
    prefix: str
    schema: str | None
    name: str

    def app(self) -> App:
        """An app on these tables."""
        return App(self.url, prefix=self.prefix, schema=self.schema)


@contextlib.contextmanager
def own_place(url: str) -> Iterator[Place]:
    """Make the tables in a schema, under a prefix or in a file that nobody else has, and remove them afterwards.

    Args:
        url: the user's database.

    Raises:
        RowqueueError: the database refuses it, or is gone before they could be removed.
    """
    source = Database(url)
    own, remove = _chosen(source, f"rowqueue_bench_{secrets.token_hex(4)}")
    try:
        app = own.app()
        try:
            app.init()
        finally:
            app.close()
        yield own
    finally:
        try:
            remove()
        except Exception as error:  # noqa: BLE001 - any driver's: what is left must be said
            raise RowqueueError(
                f"{own.name} on {shown(source)} is left: it could not be removed ({error})"
            ) from None


def _chosen(source: Database, name: str) -> tuple[Place, Callable[[], None]]:
    if source.name == "sqlite":
        file = Path(source.url.database or "").absolute().with_name(f"{name}.db")
        return Place(f"sqlite:///{file}", "rowqueue_", None, str(file)), lambda: _remove_file(file)
    whole = source.url.render_as_string(hide_password=False)
    if source.name == "postgresql":
        place = Place(whole, "rowqueue_", name, f"schema {name}")
        return place, lambda: _run(source, f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
    return Place(whole, f"{name}_", None, f"prefix {name}_"), lambda: _drop_tables(source, f"{name}_")


def _run(source: Database, *statements: str) -> None:
    with contextlib.closing(source.connect()) as raw, contextlib.closing(raw.cursor()) as cursor:
        for statement in statements:
            cursor.execute(statement)


def _drop_tables(source: Database, prefix: str) -> None:
    tables: list[Any] = source.tables(prefix, None).metadata.sorted_tables
    _run(source, *(f"DROP TABLE IF EXISTS `{table.name}`" for table in reversed(tables)))


def _remove_file(file: Path) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + ending).unlink(missing_ok=True)


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """The first Ctrl-C (or SIGTERM, SIGHUP) unwinds; later ones do not cut the removal short.

    What it yields is to be called now and then: Python drops what a signal raises inside of a finalizer, and a driver
    may turn it into an error of its own.
    """
    asked = False

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return

    def unwind(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, unwind) for number in _SIGNALS}
    try:
        yield check
        check()
    except Exception:
        check()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def server_of(url: str) -> str:
    """The database's name and version, for people."""
    source = Database(url)
    if source.name == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    asked = "SHOW server_version" if source.name == "postgresql" else "SELECT version()"
    with contextlib.closing(source.connect()) as raw, contextlib.closing(raw.cursor()) as cursor:
        cursor.execute(asked)
        version = str(cursor.fetchone()[0])
    return f"{'PostgreSQL' if source.name == 'postgresql' else 'MariaDB'} {version.split(maxsplit=1)[0]}"
