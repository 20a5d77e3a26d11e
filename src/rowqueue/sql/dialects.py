"""What differs by database, side by side: the clock, arithmetic with it, rows out of parameters, locks.

Statements are written once, over these methods. A method that a database has no word for is
not emulated silently: ``capabilities`` say which shape an operation must take there.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.sql.terms import Codec, Columns, const, param
from rowqueue.sql.types import Instant, JsonText, microseconds


class Dialect(Protocol):
    """The differences, as methods that build SQL or pack parameters."""

    name: str
    has_lateral: bool
    """True where one statement claims from several queues, each with its own limit."""

    def now(self) -> ColumnElement[datetime]:
        """The database's clock."""
        ...

    def later(self, seconds: ColumnElement[Any]) -> ColumnElement[datetime]:
        """The clock plus so many seconds (a float expression)."""
        ...

    def after(self, moment: ColumnElement[Any]) -> ColumnElement[datetime]:
        """The clock, but at least one microsecond later than a moment (which may be NULL)."""
        ...

    def seconds_until(self, moment: ColumnElement[Any]) -> ColumnElement[float]:
        """Seconds from now to a moment; negative when it is past."""
        ...

    def from_units(self, column: ColumnElement[Any], unit: int) -> ColumnElement[datetime]:
        """A moment from an integer that counts so many units a second since 1970."""
        ...

    def to_units(self, moment: ColumnElement[Any], unit: int) -> ColumnElement[Any]:
        """The other way."""
        ...

    def timestamps(self, zoned: bool) -> Codec:
        """How a user's timestamp column (with a zone, or in UTC without one) holds a moment."""
        ...

    def json_field(self, text: ColumnElement[Any], name: str) -> ColumnElement[Any]:
        """The text of one field of a JSON object that is given as text."""
        ...

    def iso_now(self) -> ColumnElement[str]:
        """The clock as ISO 8601 text in UTC."""
        ...

    def quote_json(self, text: ColumnElement[str]) -> ColumnElement[str]:
        """Text as a JSON string, quotes and all."""
        ...

    def rows(self, name: str, columns: Columns) -> sa.FromClause:
        """A table made of parameters, filled by ``pack_rows``; ``ordinal`` numbers its rows from 1."""
        ...

    def pack_rows(self, name: str, columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """The parameters for ``rows``: one list for each column."""
        ...

    def among(self, column: ColumnElement[Any], name: str, type_: Any) -> ColumnElement[bool]:
        """The column's value is one of a list, packed by ``pack_list``."""
        ...

    def pack_list(self, values: Sequence[Any]) -> Any:
        """The parameter for ``among``."""
        ...

    def insert_new(self, table: sa.Table) -> Any:
        """An INSERT that leaves out the rows that a unique index refuses."""
        ...

    def upsert(
        self,
        table: sa.Table,
        columns: list[str],
        source: sa.Select[Any],
        *,
        keys: list[str],
        changes: Callable[[Any], Mapping[str, Any]],
    ) -> Any:
        """Insert what a SELECT gives; where the key is there already, change its row instead.

        Args:
            table: where to.
            columns: the columns that the SELECT gives, in order.
            source: the SELECT; it has a WHERE clause, or SQLite takes ON CONFLICT for a join.
            keys: the unique columns.
            changes: from the row that was to be inserted to the columns' new values.
        """
        ...

    def skip_locked(self, select: sa.Select[Any], of: Any, *, weak: bool = False) -> sa.Select[Any]:
        """Lock the rows that a SELECT finds, passing over those that somebody else has locked."""
        ...

    def has_member(self, column: ColumnElement[Any], member: ColumnElement[Any]) -> ColumnElement[bool]:
        """A JSON list of text in a column holds the text."""
        ...

    def table_present(self, schema: ColumnElement[Any], table: ColumnElement[Any]) -> sa.Select[Any]:
        """Counts the tables of a name: 0 or 1."""
        ...

    def try_lock(self, name: str) -> Any | None:
        """A statement that takes a lock until the transaction ends, if it is free, and says whether it did."""
        ...

    def migration_lock(self, name: str) -> Any | None:
        """A statement that lets one process at a time migrate the tables of a name, if it takes one."""
        ...


class Postgres:
    """PostgreSQL, 15 or newer."""

    name = "postgresql"
    has_lateral = True

    def now(self) -> ColumnElement[datetime]:
        # statement_timestamp(), not now(): inside a long transaction of the caller's, now() is its start.
        return sa.func.statement_timestamp(type_=Instant())

    def later(self, seconds: ColumnElement[Any]) -> ColumnElement[datetime]:
        return self.now().op("+", return_type=Instant())(_interval(seconds))

    def after(self, moment: ColumnElement[Any]) -> ColumnElement[datetime]:
        one = sa.literal_column("interval '1 microsecond'", sa.Interval())
        return sa.func.greatest(self.now(), moment.op("+", return_type=Instant())(one), type_=Instant())

    def seconds_until(self, moment: ColumnElement[Any]) -> ColumnElement[float]:
        return sa.cast(
            sa.extract("epoch", moment.op("-", return_type=sa.Interval())(self.now())), sa.Double()
        )

    def from_units(self, column: ColumnElement[Any], unit: int) -> ColumnElement[datetime]:
        return sa.func.to_timestamp(sa.cast(column, sa.Numeric()) / const(unit), type_=Instant())

    def to_units(self, moment: ColumnElement[Any], unit: int) -> ColumnElement[Any]:
        return sa.extract("epoch", sa.cast(moment, Instant())) * const(unit)  # cast, because it may be NULL

    def timestamps(self, zoned: bool) -> Codec:
        if zoned:
            return Codec(lambda c: sa.type_coerce(c, Instant()))
        utc = const("UTC", sa.Text())
        return Codec(
            lambda c: sa.func.timezone(utc, c, type_=Instant()), lambda value: sa.func.timezone(utc, value)
        )

    def json_field(self, text: ColumnElement[Any], name: str) -> ColumnElement[Any]:
        return sa.func.json_extract_path_text(sa.cast(text, JsonText()), const(name, sa.Text()))

    def iso_now(self) -> ColumnElement[str]:
        utc = sa.func.timezone(const("UTC"), self.now())
        return sa.func.to_char(utc, const('YYYY-MM-DD"T"HH24:MI:SS.US"Z"', sa.Text()), type_=sa.Text())

    def quote_json(self, text: ColumnElement[str]) -> ColumnElement[str]:
        return sa.cast(sa.func.to_json(sa.cast(text, sa.Text())), sa.Text())

    def rows(self, name: str, columns: Columns) -> sa.FromClause:
        arrays = [param(f"{name}_{column}", postgresql.ARRAY(type_)) for column, type_ in columns.items()]
        shape = [sa.column(column, type_) for column, type_ in columns.items()]
        return (
            sa.func.unnest(*arrays).table_valued(*shape, with_ordinality="ordinal").render_derived(name=name)
        )

    def pack_rows(self, name: str, columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        return {f"{name}_{column}": values for column, values in columns.items()}

    def among(self, column: ColumnElement[Any], name: str, type_: Any) -> ColumnElement[bool]:
        return column == sa.any_(param(name, postgresql.ARRAY(type_)))

    def pack_list(self, values: Sequence[Any]) -> Any:
        return list(values)

    def insert_new(self, table: sa.Table) -> Any:
        return postgresql.insert(table).on_conflict_do_nothing()

    def upsert(
        self,
        table: sa.Table,
        columns: list[str],
        source: sa.Select[Any],
        *,
        keys: list[str],
        changes: Callable[[Any], Mapping[str, Any]],
    ) -> Any:
        insert = postgresql.insert(table).from_select(columns, source, include_defaults=False)
        return insert.on_conflict_do_update(index_elements=keys, set_=changes(insert.excluded))

    def skip_locked(self, select: sa.Select[Any], of: Any, *, weak: bool = False) -> sa.Select[Any]:
        return select.with_for_update(skip_locked=True, of=of, key_share=weak)

    def has_member(self, column: ColumnElement[Any], member: ColumnElement[Any]) -> ColumnElement[bool]:
        each = sa.func.json_array_elements_text(column).table_valued("value", name="each_member")
        return sa.exists(sa.select(const(1)).select_from(each).where(each.c.value == member))

    def table_present(self, schema: ColumnElement[Any], table: ColumnElement[Any]) -> sa.Select[Any]:
        catalog = sa.table("pg_tables", sa.column("schemaname"), sa.column("tablename"), schema="pg_catalog")
        where = catalog.c.schemaname == sa.func.coalesce(schema, sa.func.current_schema())
        return sa.select(sa.func.count()).select_from(catalog).where(where, catalog.c.tablename == table)

    def try_lock(self, name: str) -> Any | None:
        number = zlib.crc32(f"refresh {name}".encode())
        return sa.select(
            sa.func.pg_try_advisory_xact_lock(const(number, sa.BigInteger()), type_=sa.Boolean())
        )

    def migration_lock(self, name: str) -> Any | None:
        number = zlib.crc32(name.encode())
        return sa.select(sa.cast(sa.func.pg_advisory_xact_lock(const(number, sa.BigInteger())), sa.Text()))


class SQLite:
    """SQLite, 3.38 or newer: one writer at a time, so there are no row locks to pass over."""

    name = "sqlite"
    has_lateral = False

    def now(self) -> ColumnElement[datetime]:
        # Whole milliseconds: that is how finely SQLite reads the clock.
        return sa.literal_column(
            "(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)", Instant()
        )

    def later(self, seconds: ColumnElement[Any]) -> ColumnElement[datetime]:
        offset = sa.cast(sa.type_coerce(seconds, sa.Double()) * const(1_000_000), sa.Integer())
        return self.now().op("+", return_type=Instant())(offset)

    def after(self, moment: ColumnElement[Any]) -> ColumnElement[datetime]:
        least = sa.func.coalesce(sa.type_coerce(moment, sa.Integer()) + const(1), const(0))
        return sa.func.max(self.now(), least, type_=Instant())

    def seconds_until(self, moment: ColumnElement[Any]) -> ColumnElement[float]:
        difference = sa.type_coerce(moment, sa.Integer()) - sa.type_coerce(self.now(), sa.Integer())
        seconds: ColumnElement[Any] = sa.cast(difference, sa.Double()) / const(1_000_000.0, sa.Double())
        return seconds

    def from_units(self, column: ColumnElement[Any], unit: int) -> ColumnElement[datetime]:
        if unit < 1_000_000:
            column = column * const(1_000_000 // unit)
        elif unit > 1_000_000:
            column = column.op("/")(const(unit // 1_000_000))
        return sa.type_coerce(column, Instant())

    def to_units(self, moment: ColumnElement[Any], unit: int) -> ColumnElement[Any]:
        micro: ColumnElement[Any] = sa.type_coerce(moment, sa.Integer())
        if unit > 1_000_000:
            return micro * const(unit // 1_000_000)
        return micro.op("/")(const(1_000_000 // unit)) if unit < 1_000_000 else micro

    def timestamps(self, zoned: bool) -> Codec:
        def read(column: Any) -> Any:
            days: ColumnElement[Any] = sa.func.julianday(column, type_=sa.Double()) - const(
                2440587.5, sa.Double()
            )
            milli = sa.cast(sa.func.round(days * const(86400000)), sa.Integer())
            return sa.type_coerce(milli * const(1000), Instant())

        def write(value: Any) -> Any:
            seconds = sa.type_coerce(value, sa.Double()).op("/")(const(1_000_000.0, sa.Double()))
            return sa.func.strftime(const("%Y-%m-%d %H:%M:%f"), seconds, const("unixepoch"))

        return Codec(read, write)

    def json_field(self, text: ColumnElement[Any], name: str) -> ColumnElement[Any]:
        return sa.func.json_extract(text, const(f"$.{name}"))

    def iso_now(self) -> ColumnElement[str]:
        return sa.literal_column("strftime('%Y-%m-%dT%H:%M:%fZ', 'now')", sa.Text())

    def quote_json(self, text: ColumnElement[str]) -> ColumnElement[str]:
        return sa.func.json_quote(sa.cast(text, sa.Text()), type_=sa.Text())

    def rows(self, name: str, columns: Columns) -> sa.FromClause:
        each = sa.func.json_each(param(name, sa.Text())).table_valued("key", "value", name=f"{name}_each")
        picked = [
            sa.type_coerce(sa.func.json_extract(each.c.value, const(f"$[{index}]")), type_).label(column)
            for index, (column, type_) in enumerate(columns.items())
        ]
        return sa.select(*picked, (each.c.key + const(1)).label("ordinal")).subquery(name)

    def pack_rows(self, name: str, columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        rows = list(zip(*columns.values(), strict=True))
        return {name: json.dumps(rows, ensure_ascii=False, allow_nan=False, default=_sqlite_value)}

    def among(self, column: ColumnElement[Any], name: str, type_: Any) -> ColumnElement[bool]:
        each = sa.func.json_each(param(name, sa.Text())).table_valued("value", name=f"{name}_each")
        return column.in_(sa.select(each.c.value))

    def pack_list(self, values: Sequence[Any]) -> Any:
        return json.dumps(list(values), ensure_ascii=False)

    def insert_new(self, table: sa.Table) -> Any:
        return sqlite.insert(table).on_conflict_do_nothing()

    def upsert(
        self,
        table: sa.Table,
        columns: list[str],
        source: sa.Select[Any],
        *,
        keys: list[str],
        changes: Callable[[Any], Mapping[str, Any]],
    ) -> Any:
        insert = sqlite.insert(table).from_select(columns, source, include_defaults=False)
        return insert.on_conflict_do_update(index_elements=keys, set_=changes(insert.excluded))

    def skip_locked(self, select: sa.Select[Any], of: Any, *, weak: bool = False) -> sa.Select[Any]:
        return select

    def has_member(self, column: ColumnElement[Any], member: ColumnElement[Any]) -> ColumnElement[bool]:
        each = sa.func.json_each(column).table_valued("value", name="each_member")
        return sa.exists(sa.select(const(1)).select_from(each).where(each.c.value == member))

    def table_present(self, schema: ColumnElement[Any], table: ColumnElement[Any]) -> sa.Select[Any]:
        catalog = sa.table("sqlite_master", sa.column("type"), sa.column("name"))
        where = (catalog.c.type == const("table"), catalog.c.name == table)
        return sa.select(sa.func.count()).select_from(catalog).where(*where)

    def try_lock(self, name: str) -> Any | None:
        return None  # BEGIN IMMEDIATE is one already

    def migration_lock(self, name: str) -> Any | None:
        return None  # BEGIN IMMEDIATE is one already


def _interval(seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    one = sa.literal_column("interval '1 second'", sa.Interval())
    return sa.type_coerce(seconds, sa.Double()).op("*", return_type=sa.Interval())(one)


def _sqlite_value(value: object) -> Any:
    if isinstance(value, datetime):
        return microseconds(value)
    raise TypeError(f"{type(value).__name__} cannot be a parameter row")


def dialect_of(name: str) -> Dialect:
    """The dialect of a SQLAlchemy dialect name.

    Raises:
        KeyError: a database that rowqueue does not know.
    """
    known: dict[str, Dialect] = {"postgresql": Postgres(), "sqlite": SQLite()}
    return known[name]
