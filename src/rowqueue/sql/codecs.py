"""How the values of a user's column are ours, by the column's type: both directions are SQL."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.errors import ConfigurationError
from rowqueue.sql.dialects import Dialect
from rowqueue.sql.terms import Codec, const
from rowqueue.sql.types import Instant

INSTANTS = frozenset(
    [
        "scheduled_at",
        "leased_until",
        "heartbeat_at",
        "attempted_at",
        "created_at",
        "finalized_at",
        "cancel_requested_at",
    ]
)
JSONS = frozenset({"args", "tags", "meta", "errors", "progress", "result"})
UNITS = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
WORKERS_KEPT = 100


def codec_for(name: str, column: sa.Column[Any], asked: str | Codec | None, dialect: Dialect) -> Codec:
    """The codec of one of our columns on a table of the user's.

    Args:
        name: our name for it.
        column: the reflected column.
        asked: what the mapping says; None goes by the column's type.
        dialect: the database.

    Raises:
        ConfigurationError: the mapping asks for a codec that does not exist or does not fit.
    """
    if isinstance(asked, Codec):
        return asked
    if name in INSTANTS:
        return _instant(name, column, asked, dialect)
    if asked == "message" and name == "errors":
        return _message(dialect)
    if asked is not None:
        raise ConfigurationError(
            f"column {column.table}.{column.name} asks for codec {asked!r}: there are {', '.join(UNITS)} for times, "
            "and message for errors"
        )
    if name == "state":
        return _word(column)
    if name == "attempted_by" and isinstance(column.type, sa.ARRAY):
        return _last_of(column)
    if name in JSONS:
        return _json(name, column)
    return Codec()


def _word(column: sa.Column[Any]) -> Codec:
    if isinstance(column.type, sa.Enum) and isinstance(column.type, postgresql.ENUM):
        return Codec(lambda c: sa.cast(c, sa.Text()), lambda value: sa.cast(value, column.type))
    return Codec()


def _instant(name: str, column: sa.Column[Any], asked: str | None, dialect: Dialect) -> Codec:
    type_ = column.type
    if isinstance(type_, sa.Boolean):  # a flag where we keep a time: it was set at some time
        return Codec(
            lambda c: sa.case((c, dialect.now())),
            lambda value: sa.case(
                (sa.type_coerce(value, Instant()).is_not(None), sa.true()), else_=sa.false()
            ),
        )
    if isinstance(type_, sa.Integer):
        unit = UNITS.get(asked or "microseconds")
        if unit is None:
            raise ConfigurationError(
                f"the time in {column.name} must be in one of {', '.join(UNITS)}, not {asked!r}"
            )
        return Codec(
            lambda c: dialect.from_units(c, unit),
            lambda value: sa.cast(dialect.to_units(value, unit), sa.BigInteger()),
        )
    if asked is not None:
        raise ConfigurationError(f"{column.name} is no integer column, so its unit cannot be {asked!r}")
    if isinstance(type_, sa.DateTime | sa.String):
        in_session_zone = dialect.name == "mariadb" and isinstance(type_, sa.TIMESTAMP)
        return dialect.timestamps(getattr(type_, "timezone", False) or in_session_zone)
    raise ConfigurationError(f"column {column.name} ({type_}) cannot hold a time, which {name} needs")


def _json(name: str, column: sa.Column[Any]) -> Codec:
    type_ = column.type
    if isinstance(type_, sa.ARRAY):

        def append(c: Any, entry: Any, _fragment: Any) -> Any:
            element = sa.cast(entry, type_.item_type)
            return sa.func.array_append(c, element, type_=type_)

        return Codec(
            lambda c: sa.cast(sa.func.to_json(c), sa.Text()),
            lambda value: value,
            append if name == "errors" else None,
        )
    if isinstance(type_, sa.JSON):
        return Codec(lambda c: sa.cast(c, sa.Text()), lambda value: sa.cast(sa.cast(value, sa.Text()), type_))
    return Codec()


def _message(dialect: Dialect) -> Codec:
    """Errors kept as the text of the last one: written as it is, and read as a history of none."""

    def append(_column: Any, _entry: Any, fragment: ColumnElement[Any]) -> Any:
        whole = const("{", sa.Text()).concat(fragment).concat(const("}", sa.Text()))
        return dialect.json_field(whole, "error")

    return Codec(lambda _c: sa.null(), lambda value: value, append)


def _last_of(column: sa.Column[Any]) -> Codec:
    """Workers kept as a list: the last one is who has it; the oldest are dropped."""
    kept = column[
        sa.func.greatest(
            sa.func.cardinality(column) - const(WORKERS_KEPT - 2), const(1)
        ) : sa.func.cardinality(column)
    ]
    return Codec(
        lambda c: c[sa.func.cardinality(c)],
        lambda value: sa.func.array_append(
            sa.func.coalesce(kept, sa.cast(postgresql.array([]), column.type)),
            sa.func.coalesce(value, const("rowqueue", sa.Text())),  # a NULL in the list breaks other readers
        ),
    )


def legible(column: Any) -> ColumnElement[Any]:
    """A user's column for a record; types that the driver only gives as raw bytes are read as their text."""
    type_ = column.type
    if isinstance(type_, postgresql.ENUM | postgresql.BIT):
        return sa.cast(column, sa.Text()).label(column.key)
    if isinstance(type_, sa.ARRAY) and isinstance(type_.item_type, postgresql.ENUM | postgresql.BIT):
        return sa.cast(column, postgresql.ARRAY(sa.Text())).label(column.key)
    return column  # type: ignore[no-any-return]


def is_exact(column: sa.Column[Any], dialect: Dialect) -> bool:
    """Whether a claim time in this column tells any two claims apart: microseconds or finer."""
    if dialect.name == "postgresql":
        precision = getattr(column.type, "precision", None)
        return isinstance(column.type, sa.DateTime) and precision in {None, 6}
    if dialect.name == "mariadb":
        return isinstance(column.type, sa.DateTime) and getattr(column.type, "fsp", None) == 6
    return False
