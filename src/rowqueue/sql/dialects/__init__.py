"""What differs by database, side by side: the clock, arithmetic with it, rows out of parameters, locks.

Statements are written once, over these methods. A method that a database has no word for is
not emulated silently: ``capabilities`` say which shape an operation must take there.
"""

from __future__ import annotations

from rowqueue.sql.dialects.mariadb import MariaDB
from rowqueue.sql.dialects.postgres import Postgres
from rowqueue.sql.dialects.protocol import Dialect
from rowqueue.sql.dialects.sqlite import SQLite

__all__ = ["Dialect", "MariaDB", "Postgres", "SQLite", "dialect_of"]


def dialect_of(name: str) -> Dialect:
    """The dialect of a SQLAlchemy dialect name.

    Raises:
        KeyError: a database that rowqueue does not know.
    """
    known: dict[str, Dialect] = {
        "postgresql": Postgres(),
        "sqlite": SQLite(),
        "mariadb": MariaDB(),
        "mysql": MariaDB(),
    }
    return known[name]
