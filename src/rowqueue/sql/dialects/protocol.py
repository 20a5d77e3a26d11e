"""What differs by database, as methods that build SQL or pack parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.sql.terms import Codec, Columns


class Dialect(Protocol):
    """The differences, as methods that build SQL or pack parameters."""

    name: str
    has_lateral: bool
    """True where one statement claims from several queues, each with its own limit."""
    has_returning: bool
    """True where UPDATE and DELETE answer with the rows that they changed; else they are sent in three steps."""
    gathers: bool
    """True where what an INSERT answers can be put into one row, with an array of the new ids."""
    json_depth: int | None
    """How deep JSON may be nested that the database checks; None is as deep as one likes."""
    notifies: bool
    """True where a statement can wake whoever listens, once its transaction commits."""

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

    def among_keys(
        self, key: Sequence[ColumnElement[Any]], name: str, columns: Columns
    ) -> ColumnElement[bool]:
        """The key of several columns is one of a list, packed by ``pack_keys``."""
        ...

    def pack_keys(self, name: str, columns: Columns, keys: Sequence[Any]) -> dict[str, Any]:
        """The parameters for ``among_keys``."""
        ...

    def as_key(self, text: ColumnElement[Any], type_: Any) -> ColumnElement[Any]:
        """A key that is given as text, in its own type, so that an index on it is used."""
        ...

    def insert_new(self, table: sa.Table, *, answers: bool = False) -> Any:
        """An INSERT that leaves out the rows that a unique index refuses.

        Args:
            table: where to.
            answers: RETURNING gives the new rows only; without it, on MariaDB, those that were there as well.
        """
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

    def limit(self, count: sa.BindParameter[Any]) -> Any:
        """A LIMIT of so many rows, with which the planner walks an index in order and sorts nothing."""
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

    def notify(self, channel: str, payload: ColumnElement[str]) -> ColumnElement[Any]:
        """Tell those who listen to a channel, when the transaction commits (only where ``notifies``)."""
        ...

    def caps(self, limit: float, version: tuple[int | str, ...]) -> list[str]:
        """What makes the server end a transaction that is open for too long (seconds); not on SQLite."""
        ...

    def connection_id(self) -> ColumnElement[int]:
        """The server's number for this connection; not on SQLite."""
        ...

    def terminate(self, connection: int) -> str:
        """What ends another connection; not on SQLite."""
        ...

    def unlock(self, purpose: str, name: str) -> Any | None:
        """A statement that gives back the lock that was taken to ``refresh`` or ``migrate``, if it must be."""
        ...
