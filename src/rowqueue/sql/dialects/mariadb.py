"""MariaDB's words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.sql.dialects.json_table import GivenRows, Listed, json_members, json_rows
from rowqueue.sql.terms import Codec, Columns, const
from rowqueue.sql.types import Instant

_EPOCH = "TIMESTAMP'1970-01-01 00:00:00'"


class MariaDB:
    """MariaDB, 10.6 or newer."""

    name = "mariadb"
    has_lateral = False
    gathers = False
    has_returning = False
    notifies = False
    json_depth: int | None = 31

    def now(self) -> ColumnElement[datetime]:
        # In UTC whatever the session's time zone is, which on a connection of the caller's is the caller's.
        return sa.literal_column("UTC_TIMESTAMP(6)", Instant())

    def later(self, seconds: ColumnElement[Any]) -> ColumnElement[datetime]:
        micro = sa.cast(sa.type_coerce(seconds, sa.Double()) * const(1_000_000), sa.BigInteger())
        return _add(micro, self.now())

    def after(self, moment: ColumnElement[Any]) -> ColumnElement[datetime]:
        least = sa.func.coalesce(_add(const(1), moment), self.now())
        return sa.func.greatest(self.now(), least, type_=Instant())

    def seconds_until(self, moment: ColumnElement[Any]) -> ColumnElement[float]:
        seconds = _between(self.now(), moment) * sa.literal_column("1e-6", sa.Double())
        return sa.type_coerce(seconds, sa.Double())

    def from_units(self, column: ColumnElement[Any], unit: int) -> ColumnElement[datetime]:
        if unit < 1_000_000:
            column = column * const(1_000_000 // unit)
        elif unit > 1_000_000:
            column = column.op("DIV")(const(unit // 1_000_000))
        return _add(column, sa.literal_column(_EPOCH, Instant()))

    def to_units(self, moment: ColumnElement[Any], unit: int) -> ColumnElement[Any]:
        micro = _between(sa.literal_column(_EPOCH, Instant()), moment)
        if unit > 1_000_000:
            return micro * const(unit // 1_000_000)
        return micro.op("DIV")(const(1_000_000 // unit)) if unit < 1_000_000 else micro

    def timestamps(self, zoned: bool) -> Codec:
        if not zoned:
            return Codec(lambda c: sa.type_coerce(c, Instant()))
        # A TIMESTAMP is read and written in the session's time zone.
        utc, here = const("+00:00", sa.Text()), sa.literal_column("@@session.time_zone", sa.Text())
        return Codec(
            lambda c: sa.func.convert_tz(c, here, utc, type_=Instant()),
            lambda value: sa.func.convert_tz(value, utc, here),
        )

    def json_field(self, text: ColumnElement[Any], name: str) -> ColumnElement[Any]:
        return sa.func.json_value(text, const(f"$.{name}", sa.Text()), type_=sa.Text())

    def iso_now(self) -> ColumnElement[str]:
        form = const("%Y-%m-%dT%H:%i:%s.%fZ", sa.Text())
        return sa.func.date_format(self.now(), form, type_=sa.Text())

    def quote_json(self, text: ColumnElement[str]) -> ColumnElement[str]:
        return sa.func.json_quote(text, type_=sa.Text())

    def rows(self, name: str, columns: Columns) -> sa.FromClause:
        return json_rows(name, columns)

    def pack_rows(self, name: str, columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        return {name: GivenRows(columns)}

    def among(self, column: ColumnElement[Any], name: str, type_: Any) -> ColumnElement[bool]:
        return column.op("IN", is_comparison=True, return_type=sa.Boolean())(
            sa.bindparam(name, None, type_=Listed(type_))
        )

    def pack_list(self, values: Sequence[Any]) -> Any:
        return list(values)

    def among_keys(
        self, key: Sequence[ColumnElement[Any]], name: str, columns: Columns
    ) -> ColumnElement[bool]:
        listed = sa.bindparam(name, None, type_=Listed(*columns.values()))
        return sa.tuple_(*key).op("IN", is_comparison=True, return_type=sa.Boolean())(listed)

    def pack_keys(self, name: str, columns: Columns, keys: Sequence[Any]) -> dict[str, Any]:
        return {name: list(keys)}

    def insert_new(self, table: sa.Table, *, answers: bool = False) -> Any:
        insert = mysql.insert(table)
        if (
            answers
        ):  # IGNORE lets other faults of a row pass, too: whoever asks must miss what did not come back
            return insert.prefix_with("IGNORE")
        key = next(iter(table.primary_key))
        return insert.on_duplicate_key_update({key.name: key})

    def upsert(
        self,
        table: sa.Table,
        columns: list[str],
        source: sa.Select[Any],
        *,
        keys: list[str],
        changes: Callable[[Any], Mapping[str, Any]],
    ) -> Any:
        insert = mysql.insert(table).from_select(columns, source, include_defaults=False)
        return insert.on_duplicate_key_update(dict(changes(insert.inserted)))

    def skip_locked(self, select: sa.Select[Any], of: Any, *, weak: bool = False) -> sa.Select[Any]:
        return select.with_for_update(skip_locked=True)

    def limit(self, count: sa.BindParameter[Any]) -> Any:
        return count

    def has_member(self, column: ColumnElement[Any], member: ColumnElement[Any]) -> ColumnElement[bool]:
        each = json_members(column)  # JSON_CONTAINS takes an escaped character for another than itself
        return sa.exists(sa.select(const(1)).select_from(each).where(each.c.value == member))

    def table_present(self, schema: ColumnElement[Any], table: ColumnElement[Any]) -> sa.Select[Any]:
        catalog = sa.table(
            "tables", sa.column("table_schema"), sa.column("table_name"), schema="information_schema"
        )
        where = catalog.c.table_schema == sa.func.coalesce(schema, sa.func.database())
        return sa.select(sa.func.count()).select_from(catalog).where(where, catalog.c.table_name == table)

    def as_key(self, text: ColumnElement[Any], type_: Any) -> ColumnElement[Any]:
        if isinstance(type_, sa.String | sa.Uuid):  # a cast of text would have a collation of its own
            return text
        return sa.cast(text, type_)

    def notify(self, channel: str, payload: ColumnElement[str]) -> ColumnElement[Any]:
        raise NotImplementedError("MariaDB wakes nobody: its workers poll")

    def caps(self, limit: float, version: tuple[int | str, ...]) -> list[str]:
        # The server counts whole seconds; MySQL has no such setting, and skips what is in the comment.
        return [f"SET @rowqueue_held = 1 /*M! , SESSION idle_transaction_timeout = {math.ceil(limit) + 1} */"]

    def connection_id(self) -> ColumnElement[int]:
        return sa.func.connection_id(type_=sa.Integer())

    def terminate(self, connection: int) -> str:
        return f"KILL {int(connection)}"

    # Locks of the session, and not of the transaction: they are given back by name.

    def try_lock(self, name: str) -> Any | None:
        return sa.select(sa.func.get_lock(_lock_name("refresh", name), const(0)) == const(1))

    def migration_lock(self, name: str) -> Any | None:
        return sa.select(sa.func.get_lock(_lock_name("migrate", name), const(60)))

    def unlock(self, purpose: str, name: str) -> Any | None:
        return sa.select(sa.func.release_lock(_lock_name(purpose, name)))


def _add(micro: ColumnElement[Any], moment: ColumnElement[Any]) -> ColumnElement[datetime]:
    return sa.func.timestampadd(sa.literal_column("MICROSECOND"), micro, moment, type_=Instant())


def _between(begin: ColumnElement[Any], end: ColumnElement[Any]) -> ColumnElement[Any]:
    return sa.func.timestampdiff(sa.literal_column("MICROSECOND"), begin, end, type_=sa.BigInteger())


def _lock_name(purpose: str, name: str) -> ColumnElement[Any]:
    """A name that is of this database: the server has one space of names for all, of 64 characters."""
    place = sa.func.concat(sa.func.database(), const(".", sa.Text()), const(name, sa.Text()))
    return sa.func.concat(const(f"rowqueue {purpose} ", sa.Text()), sa.func.crc32(place))
