"""SQLite's words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.sql.dialects.returning import Returning
from rowqueue.sql.terms import Codec, Columns, const, param
from rowqueue.sql.types import Instant, microseconds


class SQLite(Returning):
    """SQLite, 3.38 or newer: one writer at a time, so there are no row locks to pass over."""

    name = "sqlite"
    has_lateral = False
    gathers = False
    notifies = False

    def insert(self, table: sa.Table) -> Any:
        return sqlite.insert(table)

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

    def caps(self, limit: float, version: tuple[int | str, ...]) -> list[str]:
        raise NotImplementedError("SQLite has no server")

    def connection_id(self) -> ColumnElement[int]:
        raise NotImplementedError("SQLite has no server")

    def terminate(self, connection: int) -> str:
        raise NotImplementedError("SQLite has no server")

    def notify(self, channel: str, payload: ColumnElement[str]) -> ColumnElement[Any]:
        raise NotImplementedError("SQLite wakes nobody: its workers watch the file")


def _sqlite_value(value: object) -> Any:
    if isinstance(value, datetime):
        return microseconds(value)
    raise TypeError(f"{type(value).__name__} cannot be a parameter row")
