"""A schema of a PostgreSQL database for one test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from rowqueue.core.errors import ConfigurationError
from rowqueue.store.database import Database

PREFIX = "rowqueue_test_"


@contextmanager
def temporary_schema(url: str) -> Iterator[str]:
    """Create a schema, and drop it with everything in it at the end of the block.

    Args:
        url: a PostgreSQL database in which schemas may be created.

    Yields:
        The URL whose connections see that schema alone.

    Raises:
        ConfigurationError: it is no PostgreSQL URL.
        DatabaseUnavailable: it cannot be reached.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or not parsed.drivername.startswith("postgres"):
        raise ConfigurationError(
            "--rowqueue-database takes a PostgreSQL URL, such as postgresql://user@host/database; leave it out for SQLite"
        )
    name = PREFIX + secrets.token_hex(6)
    database = Database(url)
    with closing(database.connect()) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    given = parsed.query.get("options", "")
    options = " ".join([given] if isinstance(given, str) else given)
    inside = parsed.update_query_dict({"options": f"{options} -csearch_path={name}".strip()})
    try:
        yield inside.render_as_string(hide_password=False)
    finally:
        with closing(database.connect()) as connection:
            # A test that left a transaction open must not hang the suite.
            connection.execute("SET lock_timeout = '10s'")
            connection.execute(f"DROP SCHEMA {name} CASCADE")
