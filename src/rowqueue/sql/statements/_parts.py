"""Pieces that several statements share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.states import FINAL, State
from rowqueue.sql.dialects import Columns, Dialect, const
from rowqueue.sql.tables import Tables, is_in
from rowqueue.sql.types import JsonText

HISTORY_LIMIT = 256 * 1024
"""Characters of a job's errors; past that the list starts afresh, so that a row stays writable."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a builder needs: the tables and the dialect."""

    tables: Tables
    dialect: Dialect

    @property
    def job(self) -> sa.Table:
        """The hot table."""
        return self.tables.job

    def now(self) -> ColumnElement[Any]:
        """The database's clock."""
        return self.dialect.now()

    def state(self, state: State) -> ColumnElement[str]:
        """A state as a constant."""
        return const(state.value, sa.String())

    def columns(self, of: Any = None) -> list[Any]:
        """The columns of ``Job``, in its order."""
        return list((self.job if of is None else of).c)

    def rows(self, columns: Columns) -> Any:
        """The rows given as parameters, as a table named ``given``."""
        return self.dialect.rows("given", columns)

    def with_error(self, fragment: ColumnElement[Any]) -> ColumnElement[Any]:
        """The job's errors with one more, stamped with the database's clock.

        Args:
            fragment: the entry's own fields as JSON text without braces.
        """
        c = self.job.c
        old = sa.cast(c.errors, sa.Text())
        fresh = sa.or_(c.errors.is_(None), sa.func.length(old) > const(HISTORY_LIMIT))
        begun = sa.case(
            (fresh, const("[", sa.Text())),
            else_=sa.func.substr(old, const(1), sa.func.length(old) - const(1)).concat(const(",", sa.Text())),
        )
        entry = (
            const('{"at":"', sa.Text())
            .concat(self.dialect.iso_now())
            .concat(const('","attempt":', sa.Text()))
            .concat(sa.cast(c.attempt, sa.Text()))
            .concat(const(',"lease":', sa.Text()))
            .concat(sa.cast(c.lease, sa.Text()))
            .concat(const(",", sa.Text()))
            .concat(fragment)
            .concat(const("}]", sa.Text()))
        )
        return sa.cast(begun.concat(entry), JsonText())

    def with_error_given(self, fragment: ColumnElement[Any]) -> ColumnElement[Any]:
        """The same; unchanged where the fragment is NULL."""
        return sa.case((fragment.is_(None), self.job.c.errors), else_=self.with_error(fragment))

    def cancel_asked(self) -> ColumnElement[bool]:
        """Somebody asked for this running job to be cancelled."""
        return self.job.c.cancel_requested_at.is_not(None)

    def unless_cancelled(self, target: ColumnElement[Any]) -> ColumnElement[Any]:
        """The state to go to, or ``cancelled`` where somebody asked for that while it ran."""
        return sa.case((self.cancel_asked(), self.state(State.CANCELLED)), else_=target)

    def when_final(self, target: ColumnElement[Any]) -> ColumnElement[Any]:
        """``finalized_at`` for a target state: now where that is final, else NULL."""
        final = target.in_([self.state(state) for state in sorted(FINAL)])
        return sa.case((final, self.now()), else_=sa.null())

    def fenced(self, given: Any) -> ColumnElement[bool]:
        """The fence: this row, still running, under this very lease."""
        c = self.job.c
        return sa.and_(c.id == given.c.id, c.lease == given.c.lease, is_in(self.job, State.RUNNING))

    def is_one_of(self, alias: Any, picked: sa.Select[Any], *, weak: bool = False) -> ColumnElement[bool]:
        """The rows that a SELECT of keys finds and locks, without a join.

        PostgreSQL goes by ctid: a TID scan, where a join of the keys can be planned as a scan of the
        whole table. SQLite looks each key up.

        Args:
            alias: the job table's alias in the SELECT.
            picked: selects its keys, in lock order.
            weak: lock weakly enough for foreign keys to be checked meanwhile.
        """
        if not self.dialect.has_lateral:
            return self.job.c.id.in_(self.dialect.skip_locked(picked, alias, weak=weak))
        rows: sa.Select[Any] = picked.with_only_columns(
            sa.literal_column(f"{alias.name}.ctid"), maintain_column_froms=True
        )
        locked = self.dialect.skip_locked(rows, alias, weak=weak)
        return sa.literal_column("ctid") == sa.any_(sa.func.array(locked.scalar_subquery()))

    def update(self, values: Mapping[str, Any]) -> Any:
        """An UPDATE of the hot table, its columns in the table's order."""
        return sa.update(self.job).values({self.job.c[name]: value for name, value in values.items()})
