"""Checks of the names and numbers that come from outside, with messages that say what to write."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from rowqueue.core.errors import ConfigurationError

NAME_LIMIT = 200
TAGS_LIMIT = 50
EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""The moments that Python can show in every time zone."""
MOST_COUNTED, MOST_LEASES = 10**9, 10**18
"""What a job's counters may reach: far from what any life comes to, and from the end of their types."""

_PREFIX = re.compile(r"[a-z_][a-z0-9_]{0,39}\Z")


def text(value: object, what: str, *, limit: int = NAME_LIMIT) -> str:
    """A name: text that every database can hold, from 1 to ``limit`` characters.

    Raises:
        ConfigurationError: not text, empty, too long, or with a NUL or a lone surrogate in it.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{what} must be text, not {type(value).__name__}")
    if not value or len(value) > limit:
        raise ConfigurationError(f"{what} must have 1 to {limit} characters, not {len(value)}")
    if value.isascii():
        if "\x00" in value:
            raise ConfigurationError(f"{what} has a NUL character in it, which PostgreSQL cannot store")
    elif "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigurationError(f"{what} has a NUL or a lone surrogate in it, which databases cannot store")
    return value


def texts(values: object, what: str) -> list[str]:
    """A list of names.

    Raises:
        ConfigurationError: one name by itself, or one that ``text`` refuses.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigurationError(f"{what} must be a list of names: write [{values!r}]")
    return [text(value, what) for value in values]


def prefix(value: str) -> str:
    """A table prefix: lower-case letters, digits and underscores, at most 40.

    Raises:
        ConfigurationError: anything else, because it becomes part of table names.
    """
    if not isinstance(value, str) or not _PREFIX.match(value):
        raise ConfigurationError(
            f"the table prefix {value!r} must be lower-case letters, digits and '_', at most 40, no digit first"
        )
    return value


def schema(value: str) -> str:
    """The name of a database schema, which is quoted wherever it stands.

    Raises:
        ConfigurationError: no name, longer than PostgreSQL keeps (63 bytes), reserved, or with a '%' in it.
    """
    text(value, "the schema")
    if len(value.encode()) > 63:
        raise ConfigurationError("the schema must have at most 63 bytes: PostgreSQL would cut the rest off")
    if "%" in value or value.startswith("pg_"):
        raise ConfigurationError(
            f"the schema {value!r} must not hold a '%' nor begin with pg_: choose another"
        )
    return value


def whole(value: object, what: str, least: int, most: int) -> int:
    """A whole number within bounds.

    Raises:
        ConfigurationError: not an int, or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigurationError(f"{what} must be a whole number from {least} to {most}, not {value!r}")
    return value


def instant(value: object, what: str) -> datetime:
    """An aware datetime.

    Raises:
        ConfigurationError: not a datetime, or a naive one (nobody can know which zone it means), or one that not every
            time zone's clock can show.
    """
    if not isinstance(value, datetime):
        raise ConfigurationError(f"{what} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ConfigurationError(
            f"{what} is naive: give it a zone, datetime.now(timezone.utc) or .astimezone()"
        )
    if not EARLIEST <= value <= LATEST:
        raise ConfigurationError(f"{what} must be from {EARLIEST.date()} to {LATEST.date()}, not {value}")
    return value
