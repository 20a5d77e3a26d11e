"""What differs by database, side by side: the clock, arithmetic with it, rows out of parameters, locks.

Statements are written once, over these methods. A method that a database has no word for is
not emulated silently: ``capabilities`` say which shape an operation must take there.
"""

from __future__ import annotations

from rowqueue.sql.dialects.postgres import Postgres
from rowqueue.sql.dialects.protocol import Dialect
from rowqueue.sql.dialects.sqlite import SQLite

__all__ = ["Dialect", "Postgres", "SQLite", "dialect_of"]


def dialect_of(name: str) -> Dialect:
    """The dialect of a SQLAlchemy dialect name.

    Raises:
        KeyError: a database that rowqueue does not know.
    """
    if name in {"mariadb", "mysql"}:
        from rowqueue.sql.dialects.mariadb import MariaDB  # 60 ms of SQLAlchemy's, for those who need it

        return MariaDB()
    known: dict[str, Dialect] = {"postgresql": Postgres(), "sqlite": SQLite()}
    return known[name]
