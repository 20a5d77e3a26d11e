"""Pieces that several statements share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.states import FINAL, State
from rowqueue.core.values import Job
from rowqueue.sql.dialects import Dialect
from rowqueue.sql.layout import Cols, Layout
from rowqueue.sql.locked import Chosen, hinted
from rowqueue.sql.tables import Tables, occupies
from rowqueue.sql.terms import Columns, const, param
from rowqueue.sql.types import Instant, JsonText

HISTORY_LIMIT = 256 * 1024
"""Characters of a job's errors; past that the list starts afresh, so that a row stays writable."""

JOB_FIELDS = tuple(field.name for field in fields(Job))


@dataclass(frozen=True, slots=True)
class Parts:
    """What a builder needs: the job table by our names, the tables beside it, and the dialect."""

    layout: Layout
    tables: Tables
    dialect: Dialect

    @property
    def c(self) -> Cols:
        """The job table's columns by our names."""
        return Cols(self.layout, self.layout.base)

    def alias(self, name: str) -> Cols:
        """The job table once more, under another name."""
        return self.c.alias(name)

    def now(self) -> ColumnElement[Any]:
        """The database's clock."""
        return self.dialect.now()

    def state(self, state: State) -> ColumnElement[str]:
        """A state as a constant, in the table's word."""
        return const(self.layout.value(state), sa.String())

    def columns(self, of: Cols | None = None) -> list[Any]:
        """The columns of ``Job``, in its order."""
        cols = of or self.c
        return [*cols.key, *(cols[name] for name in JOB_FIELDS if name != "id")]

    def rows(self, columns: Columns) -> Any:
        """The rows given as parameters, as a table named ``given``."""
        return self.dialect.rows("given", columns)

    def claims(self, columns: Columns | None = None) -> Any:
        """Claims given as parameters: key, fence, and what else there is for each."""
        layout = self.layout
        return self.rows({**layout.key_columns, **layout.fence_columns, **(columns or {})})

    def among(self, cols: Cols) -> ColumnElement[bool]:
        """The row's key is one of the parameter ``keys``, packed by ``Statements.pack_keys``."""
        if len(cols.key) == 1:
            (type_,) = self.layout.key_columns.values()
            return self.dialect.among(cols.key[0], "keys", type_)
        return self.dialect.among_keys(cols.key, "keys", self.layout.key_columns)

    def is_key(self, cols: Cols) -> ColumnElement[bool]:
        """The row's key is the parameters ``id`` (or ``key_0``, ``key_1`` …)."""
        named = zip(cols.key, self.layout.key_columns.items(), strict=True)
        return sa.and_(*(column == param(name, type_) for column, (name, type_) in named))

    def is_fence(self, cols: Cols) -> ColumnElement[bool]:
        """The row's fence is the parameters ``lease`` (or ``fence_…``)."""
        named = zip(cols.fence, self.layout.fence_columns.items(), strict=True)
        return sa.and_(*(_equal(column, param(name, type_)) for column, (name, type_) in named))

    def keys_match(self, cols: Cols, given: Any) -> list[ColumnElement[bool]]:
        """The row's key is the given row's."""
        return [a == given.c[b] for a, b in zip(cols.key, self.layout.key_columns, strict=True)]

    def fences_match(self, cols: Cols, given: Any) -> list[ColumnElement[bool]]:
        """The row's fence is the given row's."""
        return [_equal(a, given.c[b]) for a, b in zip(cols.fence, self.layout.fence_columns, strict=True)]

    def fenced(self, given: Any) -> ColumnElement[bool]:
        """The fence: this row, still running, under this very claim."""
        c = self.c
        return sa.and_(*self.keys_match(c, given), *self.fences_match(c, given), c.is_in(State.RUNNING))

    def with_error(self, fragment: ColumnElement[Any]) -> ColumnElement[Any]:
        """The job's errors with one more, stamped with the database's clock.

        Args:
            fragment: the entry's own fields as JSON text without braces.
        """
        c = self.c
        entry = (
            const('{"at":"', sa.Text())
            .concat(self.dialect.iso_now())
            .concat(const('","attempt":', sa.Text()))
            .concat(sa.cast(c.attempt, sa.Text()))
            .concat(const(',"lease":', sa.Text()))
            .concat(sa.cast(c.lease, sa.Text()))
            .concat(const(",", sa.Text()))
            .concat(fragment)
        )
        field = self.layout.fields.get("errors")
        if field is not None and field.codec.append is not None:
            whole = entry.concat(const("}", sa.Text()))
            return field.codec.append(self.layout.base.c[field.name], whole, fragment)  # type: ignore[no-any-return]
        old = sa.cast(c.errors, sa.Text())
        fresh = sa.or_(c.errors.is_(None), sa.func.char_length(old) > const(HISTORY_LIMIT))
        begun = sa.case(
            (fresh, const("[", sa.Text())),
            else_=sa.func.substr(old, const(1), sa.func.char_length(old) - const(1)).concat(
                const(",", sa.Text())
            ),
        )
        return sa.cast(begun.concat(entry.concat(const("}]", sa.Text()))), JsonText())

    def with_error_given(self, fragment: ColumnElement[Any]) -> ColumnElement[Any]:
        """The same; unchanged where the fragment is NULL."""
        field = self.layout.fields.get("errors")
        own = field is not None and field.codec.append is not None
        old = self.layout.base.c[field.name] if field is not None and own else self.c.errors
        return sa.case((fragment.is_(None), old), else_=self.with_error(fragment))

    def cancel_asked(self) -> ColumnElement[bool]:
        """Somebody asked for this running job to be cancelled."""
        return self.c.cancel_requested_at.is_not(None)

    @property
    def can_cancel(self) -> bool:
        """The table has room for a request to cancel a running job, and a word for what becomes of it."""
        return self.layout.has("cancel_requested_at") and State.CANCELLED in self.layout.states

    def unless_cancelled(self, target: ColumnElement[Any]) -> ColumnElement[Any]:
        """The state to go to, or ``cancelled`` where somebody asked for that while it ran."""
        if not self.can_cancel:
            return target
        return sa.case((self.cancel_asked(), self.state(State.CANCELLED)), else_=target)

    def when_final(self, target: ColumnElement[Any]) -> ColumnElement[Any]:
        """``finalized_at`` for a target state: now where that is final, else NULL."""
        ended = sorted(FINAL) if self.layout.retry_on_read is None else [*sorted(FINAL), State.RETRYABLE]
        final = target.in_([const(word, sa.String()) for word in self.layout.values(ended)])
        return sa.case((final, self.now()), else_=sa.null())

    def is_one_of(self, alias: Cols, picked: sa.Select[Any], *, weak: bool = False) -> ColumnElement[bool]:
        """The rows that a SELECT finds and locks, without a join.

        PostgreSQL goes by ctid: a TID scan, where a join of the keys can be planned as a scan of the
        whole table. SQLite, and tables that are no plain heap, look each key up.

        Args:
            alias: the job table's alias in the SELECT.
            picked: a SELECT from it, in lock order; its columns are replaced.
            weak: lock weakly enough for foreign keys to be checked meanwhile.
        """
        return self.is_row(
            self.dialect.skip_locked(
                picked.with_only_columns(*self.place(alias), maintain_column_froms=True),
                alias.table,
                weak=weak,
            )
        )

    def expiry(self, cols: Cols) -> ColumnElement[Any]:
        """The moment that says how old a claim is: the end of its lease, or its last heartbeat."""
        return cols.leased_until if self.layout.has("leased_until") else cols.heartbeat_at

    def expired(self, cols: Cols) -> ColumnElement[bool]:
        """The claim has run out; a row that another program claimed, only after the mapping's own age."""
        layout, later = self.layout, self.dialect.later
        foreign = None if layout.rescue_after is None else later(const(-layout.rescue_after, sa.Double()))
        if layout.has("leased_until"):
            ours = cols.leased_until < self.now()
            if foreign is None or not layout.has("attempted_at"):
                return ours
            return sa.or_(ours, sa.and_(cols.leased_until.is_(None), cols.attempted_at < foreign))
        return cols.heartbeat_at < (later(-param("duration", sa.Double())) if foreign is None else foreign)

    def place(self, alias: Cols) -> tuple[ColumnElement[Any], ...]:
        """What finds a row of an alias again: its ctid, or its key."""
        if self.dialect.has_lateral and self.layout.heap:
            return (sa.literal_column(f"{alias.table.name}.ctid").label("place"),)
        return alias.key

    def is_row(self, places: Any) -> ColumnElement[bool]:
        """The row is one of those that a SELECT of places finds."""
        if not self.dialect.has_returning:
            return Chosen(places)
        if self.dialect.has_lateral and self.layout.heap:
            return sa.literal_column("ctid") == sa.any_(sa.func.array(places.scalar_subquery()))
        key = self.c.key
        return key[0].in_(places) if len(key) == 1 else sa.tuple_(*key).in_(places)

    def taken(
        self, alias: Cols, picked: sa.Select[Any], claimable: ColumnElement[bool]
    ) -> ColumnElement[bool]:
        """``is_one_of`` for a SELECT of the user's order and view: one that sorts and joins.

        Args:
            alias: the job table's alias in the SELECT.
            picked: a SELECT from it.
            claimable: what makes a row claimable, by the base table alone.
        """
        if not self.dialect.has_returning:
            again = sa.select(*alias.key).where(claimable)
            return Chosen(picked.with_only_columns(*alias.key, maintain_column_froms=True), again)
        return self.is_one_of(alias, picked)

    def limit(self) -> Any:
        """The parameter ``limit``, as a LIMIT with which the planner walks an index in order."""
        return self.dialect.limit(param("limit", sa.Integer()))

    def by_index(self, select: Any, cols: Cols, name: str) -> Any:
        """Through an index of the default table's, on a database that would lock the rows of another way, too."""
        index = f"FORCE INDEX ({self.tables.prefix}job_{name})"
        return select if self.layout.mapped else hinted(select, cols.table, index)

    def by_key(self, select: Any, cols: Cols) -> Any:
        """Through the primary key, where that is the key: a small table would be read, and locked, whole."""
        primary = tuple(column.name for column in self.layout.base.primary_key) == self.layout.key
        return hinted(select, cols.table, "FORCE INDEX (PRIMARY)") if primary else select

    def waits(self, cols: Cols) -> tuple[ColumnElement[bool], ColumnElement[Any]]:
        """The row waits for its time; and that time, as the index of waiting rows has it."""
        if self.dialect.has_returning or self.layout.mapped:
            return cols.is_in(State.SCHEDULED, State.RETRYABLE), cols.scheduled_at
        due: ColumnElement[Any] = generated(cols.table, "due_at", Instant())
        return due.is_not(None), due

    def unique_key(self, table: Any) -> tuple[ColumnElement[Any], ColumnElement[bool]]:
        """The unique key that a row of the default table holds; and that it does hold it."""
        if self.dialect.has_returning:
            return table.c.unique_key, occupies(table)
        held: ColumnElement[Any] = generated(table, "held_key", sa.Text())
        return held, held.is_not(None)

    def update(self, values: Mapping[str, Any]) -> Any:
        """An UPDATE of the job table by our names; columns that it lacks are left out."""
        layout = self.layout
        there = {name: value for name, value in values.items() if layout.has(name)}
        written: dict[Any, Any] = {}
        for name, value in there.items():
            field = layout.fields[name]
            column, codec = layout.base.c[field.name], field.codec
            if codec.into is None:
                # Coerced, because SQLAlchemy names a bare constant after its column, and trips over a name
                # with quotes or percent signs in it.
                written[column] = sa.type_coerce(codec.write(value), column.type)
            else:
                written[column] = codec.into(written.get(column, column), value, there)
        return sa.update(layout.base).values(written)


def _equal(column: ColumnElement[Any], value: ColumnElement[Any]) -> ColumnElement[bool]:
    """A column of the fence is as the claim left it; one that may be NULL equals NULL."""
    nullable = getattr(column, "nullable", True)
    return column.is_not_distinct_from(value) if nullable else column == value


def generated(table: Any, name: str, type_: Any) -> ColumnElement[Any]:
    """A generated column, which a table has where there are no partial indexes."""
    return sa.column(name, type_, _selectable=table)
