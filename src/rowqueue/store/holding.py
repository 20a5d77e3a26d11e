"""Which held claims the running code is inside of, so that it never waits for itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from rowqueue.core.errors import ConfigurationError
from rowqueue.core.values import Key
from rowqueue.operations.base import Access, Operation
from rowqueue.store.database import Database

LEASE = 5.0
"""Seconds between the commit of a claim and the lock of its row; after a crash, until the row can be rescued."""


@dataclass(eq=False, slots=True)
class Hold:
    """One open held claim.

    Attributes:
        place: which database.
        table: its job table.
        key: the row that is locked.
        whole: it is SQLite, so the whole file is locked against other writers.
        open: False once it ended, wherever that was.
    """

    place: str
    table: str
    key: Key
    whole: bool
    open: bool = True


# The one state of a module in rowqueue: a context is of a thread or a task, and of no store.
_HOLDS: ContextVar[tuple[Hold, ...]] = ContextVar("rowqueue_holds", default=())


def place_of(database: Database) -> str:
    """One name for a database, however its stores were opened."""
    url = database.url
    if database.name == "sqlite":
        return "sqlite " + os.path.realpath(url.database or "")
    return f"{database.name} {url.host}:{url.port} {url.database} {sorted(url.query.items())}"


@contextmanager
def inside(hold: Hold) -> Iterator[None]:
    """The code inside is in a held claim. It may end in another thread or task than it began in."""
    _HOLDS.set((*_here(), hold))
    try:
        yield
    finally:
        hold.open = False
        _HOLDS.set(_here())


def _here() -> tuple[Hold, ...]:
    return tuple(hold for hold in _HOLDS.get() if hold.open)


def refuse_second(database: Database, table: str, *, independent: bool) -> None:
    """Refuse a held claim inside another one that it would wait for.

    Args:
        database: where the second is to be.
        table: the job table of the second.
        independent: several claims of one table may be held in one thread (not on SQLite).

    Raises:
        ConfigurationError: there is such a claim.
    """
    place = place_of(database)
    for hold in _here():
        if hold.place == place and hold.whole:
            raise ConfigurationError(
                f"row {hold.key} of {hold.table} is held already, and with it the write lock of the SQLite file: end "
                "that held claim first, for a file holds one at a time"
            )
        if hold.place == place and hold.table == table and not independent:
            raise ConfigurationError(
                f"row {hold.key} of {table} is held already in this thread or task: end that held claim first, or "
                "claim several rows with store.claim(limit=...)"
            )


def refuse_inside(database: Database, table: str, operation: Operation[Any]) -> None:
    """Refuse an operation on a connection of the store's that would wait for a held claim around it.

    Raises:
        ConfigurationError: it would; the message says how to write instead.
    """
    if not _HOLDS.get():
        return
    place = place_of(database)
    for hold in _here():
        if hold.place == place and hold.whole and operation.access is not Access.READ:
            raise ConfigurationError(
                f"a held claim (row {hold.key} of {hold.table}) has the write lock of the SQLite file: write through "
                "its own connection, as job.on(held.connection).enqueue(...) or store.on(held.connection) (in a worker's "
                "job, context.connection), or after it"
            )
        if hold.place == place and hold.table == table and hold.key in operation.keys:
            raise ConfigurationError(
                f"row {hold.key} of {table} is held right here: use held.complete(result), raise Snooze, Skip, Cancel "
                "or Discard to end it, or run this on store.on(held.connection), in a worker's job context.connection"
            )
