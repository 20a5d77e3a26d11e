"""INSERT ... ON CONFLICT, which PostgreSQL and SQLite write the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import sqlalchemy as sa


class OnConflict:
    """What to do with a row whose unique key is taken."""

    insert: ClassVar[Callable[[sa.Table], Any]]
    """SQLAlchemy's INSERT of the database."""

    def insert_new(self, table: sa.Table) -> Any:
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
