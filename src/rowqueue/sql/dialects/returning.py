"""What PostgreSQL and SQLite write the same: RETURNING, ON CONFLICT, a limit that the planner cannot see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.sql.terms import Columns


class Returning:
    """A database whose INSERT, UPDATE and DELETE answer with rows, and whose locks end with the transaction."""

    has_returning = True
    json_depth: int | None = None

    def insert(self, table: sa.Table) -> Any:
        """SQLAlchemy's INSERT of the database."""
        raise NotImplementedError

    def insert_new(self, table: sa.Table, *, answers: bool = False) -> Any:
        """An INSERT that leaves out the rows that a unique index refuses."""
        return self.insert(table).on_conflict_do_nothing()

    def upsert(
        self,
        table: sa.Table,
        columns: list[str],
        source: sa.Select[Any],
        *,
        keys: list[str],
        changes: Callable[[Any], Mapping[str, Any]],
    ) -> Any:
        """Insert what a SELECT gives; where the key is there already, change its row instead."""
        insert = self.insert(table).from_select(columns, source, include_defaults=False)
        return insert.on_conflict_do_update(index_elements=keys, set_=changes(insert.excluded))

    def limit(self, count: sa.BindParameter[Any]) -> Any:
        """A LIMIT that the planner cannot see, or it would weigh it against a guess of the rows."""
        return sa.select(count).scalar_subquery()

    def among_keys(
        self, key: Sequence[ColumnElement[Any]], name: str, columns: Columns
    ) -> ColumnElement[bool]:
        """The key of several columns is one of a list, packed by ``pack_keys``."""
        keys = self.rows(name, columns)
        return sa.tuple_(*key).in_(sa.select(*(keys.c[column] for column in columns)))

    def pack_keys(self, name: str, columns: Columns, keys: Sequence[Any]) -> dict[str, Any]:
        """The parameters for ``among_keys``."""
        return self.pack_rows(name, {column: [key[i] for key in keys] for i, column in enumerate(columns)})

    def as_key(self, text: ColumnElement[Any], type_: Any) -> ColumnElement[Any]:
        """A key that is given as text, in its own type."""
        return sa.cast(text, type_)

    def unlock(self, purpose: str, name: str) -> Any | None:
        """Nothing to do."""
        return None

    def rows(self, name: str, columns: Columns) -> sa.FromClause:
        """Each database's own."""
        raise NotImplementedError

    def pack_rows(self, name: str, columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Each database's own."""
        raise NotImplementedError
