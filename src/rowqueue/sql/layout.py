"""A job table by our names: which column holds what, and how its values read and write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.errors import FeatureMissing
from rowqueue.core.states import State
from rowqueue.sql.dialects import Dialect
from rowqueue.sql.terms import Codec, Columns, Expression, const

_FOLDED = {State.SCHEDULED: State.AVAILABLE, State.RETRYABLE: State.AVAILABLE}
"""States that a table may lack, because the due column is tested in the claim instead."""


@dataclass(frozen=True, slots=True)
class Field:
    """One of our columns on a table: its name there, and its codec."""

    name: str
    codec: Codec = field(default_factory=Codec)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the columns and states of a job are on one table.

    Args:
        base: the table that is locked and written.
        fields: our column names to the table's; what is missing reads as its default.
        key: the key's column names.
        states: our states to the table's values.
        fence: our names of the columns that together tell one claim from another.
        defaults: what missing columns read as.
        record: makes a claim's record of the values of a row of the view (or the table).
        view: what claims choose from and records are read from; None is the base table.
        order_by: the claim order, from the view.
        where: a condition on every claim, from the view.
        heap: a plain heap table of PostgreSQL's, whose rows can be found by ctid.
        retry_on_read: failed rows become claimable by their age, without anybody moving them (seconds).
        rescue_after: how old a running row of another program's must be to be rescued (seconds).
        select: extra expressions for records, from the view.
        sidecar: where lease and expiry are, when the table itself has no room for them.
        read_only: the view is the source, and the base a sidecar of ours with its key.
        max_failures: for ``retry_on_read``: rows with so many failures do not.
        claim_expired: rows whose lease ran out are claimed as they are, while they have attempts left.
        statements: the table's own statements, by the name of the one that each stands for.
    """

    base: sa.Table
    fields: Mapping[str, Field]
    key: tuple[str, ...] = ("id",)
    states: Mapping[State, str] = field(default_factory=lambda: {state: state.value for state in State})
    fence: tuple[str, ...] = ("lease",)
    defaults: Mapping[str, ColumnElement[Any]] = field(default_factory=dict[str, ColumnElement[Any]])
    view: sa.Table | None = None
    record: Callable[[Sequence[Any]], Any] = tuple
    order_by: Expression | None = None
    where: Expression | None = None
    heap: bool = True
    retry_on_read: float | None = None
    max_failures: int | None = None
    rescue_after: float | None = None
    claim_expired: bool = False
    statements: Mapping[str, Expression] = field(default_factory=dict[str, Expression])
    select: Expression | None = None
    sidecar: sa.Table | None = None
    read_only: bool = False

    @property
    def mapped(self) -> bool:
        """A table of the user's, not the default table."""
        return bool(self.defaults)

    def has(self, name: str) -> bool:
        """The table has a column for this name of ours."""
        return name in self.fields

    @property
    def beside(self) -> tuple[sa.Table, ...]:
        """The tables of ours that stand beside the user's; ``init`` creates them."""
        made = (self.sidecar, self.base if self.read_only else None)
        return tuple(table for table in made if table is not None)

    def check_delay(self) -> None:
        """Refuse a delay that nothing on the table could keep.

        Raises:
            FeatureMissing: there is no column for the time that a row is due.
        """
        if not self.has("scheduled_at") and self.retry_on_read is None:
            raise FeatureMissing(
                f"{self.base.fullname} has no column that says when a row is due, so it cannot wait: map one for "
                "scheduled_at, or retry at once (retry=RetryPolicy.constant(0))"
            )

    def value(self, state: State) -> str:
        """The table's word for a state; scheduled and retryable fold back into available.

        Raises:
            FeatureMissing: the table has no such state.
        """
        found = self.states.get(state) or self.states.get(_FOLDED.get(state, state))
        if found is None:
            raise FeatureMissing(f"{self.base.fullname} has no state for {state}: name one in states={{...}}")
        return found

    def values(self, states: Sequence[State]) -> list[str]:
        """The table's words for those of the states that it has, each once."""
        words = (self.states.get(state) for state in states)
        return sorted({word for word in words if word is not None})

    @cached_property
    def words(self) -> Mapping[str, State]:
        """The table's words for states to ours; the first of ours that has a word gets it back."""
        return {word: state for state, word in reversed(list(self.states.items()))}

    def state_of(self, word: str) -> State:
        """Our state for a word of the table's.

        Raises:
            FeatureMissing: the mapping does not name the word, so the row is not ours to work.
        """
        try:
            return self.words[word]
        except KeyError:
            raise FeatureMissing(
                f"{self.base.fullname} holds the state {word!r}, which its mapping does not name"
            ) from None

    @property
    def key_columns(self) -> Columns:
        """The key as columns of parameter rows: ``id`` on the default table."""
        if not self.mapped:
            return {"id": sa.BigInteger()}
        return {f"key_{index}": self.base.c[name].type for index, name in enumerate(self.key)}

    @property
    def fence_columns(self) -> Columns:
        """The fence as columns of parameter rows: ``lease`` on the default table."""
        if not self.mapped:
            return {"lease": sa.BigInteger()}
        if self.sidecar is not None:
            return {}
        return {f"fence_{name}": self.fence_type(name) for name in self.fence}

    def fence_type(self, name: str) -> Any:
        """The type that a fence column is compared as: as stored, lists as their text."""
        type_ = self.base.c[self.fields[name].name].type
        return sa.Text() if isinstance(type_, sa.ARRAY) else type_


def missing(dialect: Dialect, kind: str, max_attempts: int) -> dict[str, ColumnElement[Any]]:
    """What each of our columns reads as on a table that has none for it.

    Args:
        dialect: the database.
        kind: the kind of every job there: the table's name.
        max_attempts: the store's limit.
    """
    numbers = dict.fromkeys(("attempt", "failures", "rescues", "snoozes", "lease"), 0)
    numbers |= {"max_attempts": max_attempts, "priority": 2}
    texts = {"kind": kind, "queue": "default", "args": "{}"}
    found: dict[str, ColumnElement[Any]] = {
        name: const(number, sa.Integer()) for name, number in numbers.items()
    }
    found |= {name: const(text, sa.Text()) for name, text in texts.items()}
    found |= {name: dialect.now() for name in ("scheduled_at", "created_at")}
    return found | {name: sa.null() for name in NULLABLE}


NULLABLE = (
    "leased_until",
    "heartbeat_at",
    "attempted_at",
    "attempted_by",
    "finalized_at",
    "timeout",
    "cancel_requested_at",
    "unique_key",
    "unique_states",
    "tags",
    "correlation_id",
    "correlation_group",
    "meta",
    "errors",
    "progress",
    "result",
)


class Cols:
    """A table, or an alias of it, by our names: ``cols.attempt`` is the column, wherever it is."""

    __slots__ = ("layout", "table")

    def __init__(self, layout: Layout, table: Any) -> None:
        self.layout = layout
        self.table = table

    def __getattr__(self, name: str) -> ColumnElement[Any]:
        found = self.layout.fields.get(name)
        if found is not None:
            return found.codec.read(self.table.c[found.name])  # type: ignore[no-any-return]
        default = self.layout.defaults.get(name)
        if default is None:
            raise AttributeError(name)
        return default

    def __getitem__(self, name: str) -> ColumnElement[Any]:
        return self.__getattr__(name)

    @property
    def key(self) -> tuple[ColumnElement[Any], ...]:
        """The key's columns."""
        return tuple(self.table.c[name] for name in self.layout.key)

    @property
    def fence(self) -> tuple[ColumnElement[Any], ...]:
        """The fence's columns, as stored."""
        return tuple(self._stored(name) for name in self.layout.fence)

    def _stored(self, name: str) -> ColumnElement[Any]:
        column = self.table.c[self.layout.fields[name].name]
        return sa.cast(column, sa.Text()) if isinstance(column.type, sa.ARRAY) else column

    def is_in(self, *states: State) -> ColumnElement[bool]:
        """The row is in one of these states, written as constants so that partial indexes match."""
        column: ColumnElement[Any] = self.table.c[self.layout.fields["state"].name]
        words = [const(word, sa.String()) for word in self.layout.values(states)]
        if not words:  # the table has none of these states
            return sa.false()
        return column == words[0] if len(words) == 1 else column.in_(words)

    def alias(self, name: str) -> Cols:
        """The same table under another name."""
        return Cols(self.layout, self.table.alias(name))


def default_layout(table: sa.Table) -> Layout:
    """The default table: every name is its own."""
    return Layout(table, {column.name: Field(column.name) for column in table.columns})
