"""What the owner of a table says about it: which column and which word is which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import State
from rowqueue.core.values import Seconds, seconds_of
from rowqueue.sql.terms import Codec, Expression

KNOWN = (
    "kind",
    "queue",
    "state",
    "priority",
    "args",
    "scheduled_at",
    "attempt",
    "max_attempts",
    "failures",
    "lease",
    "leased_until",
    "heartbeat_at",
    "attempted_at",
    "attempted_by",
    "created_at",
    "finalized_at",
    "rescues",
    "snoozes",
    "timeout",
    "cancel_requested_at",
    "unique_key",
    "tags",
    "correlation_id",
    "correlation_group",
    "meta",
    "errors",
    "progress",
    "result",
)
"""Our names for columns that a mapping may name."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the user's table, where its name alone does not say enough.

    Args:
        name: its name in the table.
        codec: how its values are ours: ``seconds``, ``milliseconds``, ``microseconds`` or
            ``nanoseconds`` for a time in an integer column, ``message`` for errors kept as the last
            text, or a ``Codec`` of SQL expressions. None goes by the column's type.
    """

    name: str
    codec: str | Codec | None = None


@dataclass(frozen=True, slots=True)
class JobTable:
    """A table of the user's as a queue: its rows are the jobs, and inserting them stays the user's business.

    Args:
        name: the table.
        schema: its database schema; None is the connection's own.
        view: a view over it that claims choose from and records are read from; the table is what is
            locked and written.
        key: the column, or columns, that name one row; the view has them too.
        columns: our names to the table's (``{"finalized_at": "finished_at"}``); a name that is not
            given means a column of the same name, if there is one; None means that there is none.
        states: our states to the table's words; a state that is not named does not exist there. None:
            the table uses our words.
        order_by: from the table or view to the claim order, a SQLAlchemy expression or a tuple of them.
        where: from the table or view to a condition on every claim.
        select: from the table or view to extra, labelled expressions for the record.
        record: makes a claim's ``record``: a dataclass, msgspec.Struct or pydantic model whose fields are
            columns, or a function of the row as a dict. None gives the dict.
        rescue_after: how old a running row that another program claimed must be to be rescued
            (seconds or timedelta); None leaves such rows alone.
        read_only: the table or view may not be written (SELECT is the only right): states, leases and
            errors are kept in a sidecar with its key, which ``store.init()`` creates.
        claim_expired: claims take rows whose lease ran out as they are, without a rescue in between, as gqs does.
        statements: statements of this table's own, by the name of the one that each stands for; a function from
            the statements' ``Parts`` that takes the same parameters and returns the same columns; ``claim`` also
            takes the options of the claim that it stands for.
        retry_on_read: failed rows keep their state and become claimable once ``finalized_at`` is older
            than the store's (constant) retry delay, as Sourcegraph's tables work.

    Raises:
        ConfigurationError: a name of ours is misspelt, or an option does not fit.

    Example:
        >>> JobTable("uploads", states={"available": "queued", "running": "processing"}).key
        'id'
    """

    name: str
    schema: str | None = field(default=None, kw_only=True)
    view: str | None = field(default=None, kw_only=True)
    key: str | Sequence[str] = field(default="id", kw_only=True)
    columns: Mapping[str, str | Column | None] = field(default_factory=dict, kw_only=True)
    states: Mapping[str, str] | None = field(default=None, kw_only=True)
    order_by: Expression | None = field(default=None, kw_only=True)
    where: Expression | None = field(default=None, kw_only=True)
    select: Expression | None = field(default=None, kw_only=True)
    record: Callable[..., Any] | None = field(default=None, kw_only=True)
    rescue_after: Seconds | None = field(default=None, kw_only=True)
    read_only: bool = field(default=False, kw_only=True)
    retry_on_read: bool = field(default=False, kw_only=True)
    claim_expired: bool = field(default=False, kw_only=True)
    statements: Mapping[str, Expression] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        names.text(self.name, "the table's name")
        unknown = sorted(set(self.columns) - set(KNOWN))
        if unknown:
            raise ConfigurationError(
                f"columns of {self.name} names {', '.join(unknown)}, which is no column of ours: "
                f"there are {', '.join(KNOWN)}"
            )
        words = set(self.states or ())
        strange = sorted(words - {state.value for state in State})
        if strange:
            raise ConfigurationError(
                f"states of {self.name} names {', '.join(strange)}: there are {', '.join(State)}"
            )
        missing = {State.AVAILABLE.value, State.RUNNING.value} - words
        if self.states is not None and missing:
            raise ConfigurationError(f"states of {self.name} must name {' and '.join(sorted(missing))}")
        if self.rescue_after is not None:
            seconds_of(self.rescue_after, "rescue_after", minimum=1.0)

    @property
    def keys(self) -> tuple[str, ...]:
        """The key's columns."""
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)

    @property
    def rescue_seconds(self) -> float | None:
        """``rescue_after`` in seconds."""
        return (
            None if self.rescue_after is None else seconds_of(self.rescue_after, "rescue_after", minimum=1.0)
        )

    def column(self, ours: str) -> Column | None:
        """What a name of ours is called in the table; None where the mapping says that there is none."""
        found = self.columns.get(ours, ours)
        return Column(found) if isinstance(found, str) else found
