"""PostgreSQL's words."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.sql.dialects.returning import Returning
from rowqueue.sql.terms import Codec, Columns, const, param
from rowqueue.sql.types import Instant, JsonText


class Postgres(Returning):
    """PostgreSQL, 15 or newer."""

    name = "postgresql"
    has_lateral = True
    gathers = True
    notifies = True

    def insert(self, table: sa.Table) -> Any:
        return postgresql.insert(table)

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
        arrays = [
            _unsized(param(f"{name}_{column}", postgresql.ARRAY(type_))) for column, type_ in columns.items()
        ]
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

    def caps(self, limit: float, version: tuple[int | str, ...]) -> list[str]:
        names = ["idle_in_transaction_session_timeout"]
        if version[:1] >= (17,):
            names.append("transaction_timeout")
        return [f"SET LOCAL {name} = {max(1, round(limit * 1000))}" for name in names]

    def connection_id(self) -> ColumnElement[int]:
        return sa.func.pg_backend_pid(type_=sa.Integer())

    def terminate(self, connection: int) -> str:
        return f"SELECT pg_terminate_backend({int(connection)})"

    def notify(self, channel: str, payload: ColumnElement[str]) -> ColumnElement[Any]:
        return sa.cast(sa.func.pg_notify(const(channel, sa.Text()), payload), sa.Text())


def _unsized(array: Any) -> Any:
    """An array whose length the planner does not look at, so that it expects ten rows and goes by the primary key.

    Told of 500, and with statistics from when no row was running, it joined them to a scan of the whole
    table by a nested loop: 430 ms for a batch of 500 on 20,000 rows, against 3 ms.
    """
    return sa.select(array).scalar_subquery()


def _interval(seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    one = sa.literal_column("interval '1 second'", sa.Interval())
    return sa.type_coerce(seconds, sa.Double()).op("*", return_type=sa.Interval())(one)
