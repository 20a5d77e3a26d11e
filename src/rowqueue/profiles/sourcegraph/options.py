"""How a store is set up: the original's Options, and the mapping that they make."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa

from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.values import Seconds, seconds_of
from rowqueue.profiles.sourcegraph import statements
from rowqueue.profiles.sourcegraph.metrics import Observe
from rowqueue.sql.mapping import KNOWN, Column, JobTable
from rowqueue.sql.terms import Expression

NEVER = RetryPolicy.constant(9e9)
"""285 years."""

OURS = {
    "state": "state",
    "attempted_at": "started_at",
    "finalized_at": "finished_at",
    "scheduled_at": "process_after",
    "rescues": "num_resets",
    "failures": "num_failures",
}
LATER = {"attempted_by": "worker_hostname", "cancel_requested_at": "cancel", "created_at": "queued_at"}
"""Columns that a later table may have."""

STATES = {
    "available": "queued",
    "running": "processing",
    "completed": "completed",
    "retryable": "errored",
    "discarded": "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionLogEntry:
    """One step of a job: what ran, when, how it ended. ``exit_code`` and ``duration_ms`` are None while it runs."""

    key: str
    command: Sequence[str] = ()
    start_time: datetime | None = None
    exit_code: int | None = None
    out: str = ""
    duration_ms: int | None = None

    def text(self) -> str:
        """As it is stored: the original's JSON names."""
        fields = {
            "key": self.key,
            "command": list(self.command),
            "startTime": None if self.start_time is None else self.start_time.isoformat(),
            "exitCode": self.exit_code,
            "out": self.out or None,
            "durationMs": self.duration_ms,
        }
        return json.dumps({name: value for name, value in fields.items() if value is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The original's options, and a few of ours.

    Args:
        name: names the store in metrics.
        table_name: the table; an alias after it (``"lsif_uploads u"``) is taken, and not needed.
        view_name: a view over it that rows are chosen and read from.
        schema: where both are; None is the connection's own.
        alternate_column_names: from the original's column names to the table's.
        scan: makes the record of a row: a dataclass, msgspec.Struct or pydantic model, or a function of the row
            as a dict. None gives the dict.
        order_by_expression: from the view to the order in which rows are dequeued.
        column_expressions: from the view to what a record is made of; None is every column.
        stalled_max_age: how old an unlocked ``processing`` row must be to be reset (seconds or timedelta).
        max_num_resets: crashes after which the next one is final.
        reset_failure_message: what a row says then.
        retry_after: how long after its failure an ``errored`` row is dequeued again; 0 is never.
        max_num_retries: failures after which a row is ``failed``; 0 allows none.
        heartbeat: the later shape: a column last_heartbeat_at instead of a transaction that is held.
        hostname: who dequeues, where there is a worker_hostname; None is this host.
        limit: the longest that a row is held (seconds or timedelta); None is the store's default.
        observe: is told of every operation.
        seed_answers: answer as the original did where that is a fault.

    Raises:
        ConfigurationError: an option is wrong.
    """

    name: str
    table_name: str
    view_name: str | None = None
    schema: str | None = None
    alternate_column_names: Mapping[str, str] = field(default_factory=dict[str, str])
    scan: Callable[..., Any] | None = None
    order_by_expression: Expression | None = None
    column_expressions: Callable[[Any], Sequence[Any]] | None = None
    stalled_max_age: Seconds = 60.0
    max_num_resets: int = 3
    reset_failure_message: str = "job processor died while handling this message too many times"
    retry_after: Seconds = 0.0
    max_num_retries: int = 0
    heartbeat: bool = False
    hostname: str | None = None
    limit: Seconds | None = None
    observe: Observe | None = None
    seed_answers: bool = False

    def __post_init__(self) -> None:
        names.text(self.name, "the store's name")
        seconds_of(self.stalled_max_age, "stalled_max_age", minimum=1.0)
        seconds_of(self.retry_after, "retry_after")
        names.whole(self.max_num_resets, "max_num_resets", 0, 999_999)
        names.whole(self.max_num_retries, "max_num_retries", 0, 1_000_000)
        known = {
            *OURS.values(),
            *LATER.values(),
            "id",
            "failure_message",
            "execution_logs",
            "last_heartbeat_at",
        }
        if unknown := sorted(set(self.alternate_column_names) - known):
            raise ConfigurationError(
                f"alternate_column_names names {', '.join(unknown)}: there are {', '.join(sorted(known))}"
            )

    @property
    def stalled_seconds(self) -> float:
        """``stalled_max_age`` in seconds."""
        return seconds_of(self.stalled_max_age, "stalled_max_age", minimum=1.0)

    @property
    def retry_seconds(self) -> float:
        """``retry_after`` in seconds; infinite where nothing is retried."""
        delay = seconds_of(self.retry_after, "retry_after")
        return delay if delay and self.max_num_retries else math.inf

    @property
    def retry(self) -> RetryPolicy:
        """The same as a policy."""
        return NEVER if math.isinf(self.retry_seconds) else RetryPolicy.constant(self.retry_seconds)

    @property
    def table(self) -> str:
        """The table without its alias."""
        return _without_alias(self.table_name)

    def column(self, canonical: str) -> str:
        """What a column of the original's is called in this table."""
        return self.alternate_column_names.get(canonical, canonical)

    def mapping(self, present: Sequence[str]) -> JobTable:
        """The table by our names.

        Args:
            present: the columns that it has.
        """
        columns: dict[str, str | Column | None] = dict.fromkeys(KNOWN)  # a "priority" of theirs is theirs
        columns |= {ours: self.column(theirs) for ours, theirs in OURS.items()}
        columns["errors"] = Column(self.column("failure_message"), "message")
        # Without heartbeats the row lock says who lives, and the start of the claim how old it is.
        columns["heartbeat_at"] = self.column("last_heartbeat_at" if self.heartbeat else "started_at")
        for ours, theirs in LATER.items():
            if self.heartbeat and self.column(theirs) in present:
                columns[ours] = self.column(theirs)
        states = {**STATES, "cancelled": "canceled"} if columns["cancel_requested_at"] else STATES
        return JobTable(
            self.table,
            schema=self.schema,
            view=None if self.view_name is None else _without_alias(self.view_name),
            key=self.column("id"),
            columns=columns,
            states=states,
            order_by=self.order_by_expression,
            select=None if self.column_expressions is None else self._extra,
            record=self._record(),
            rescue_after=self.stalled_seconds,
            retry_on_read=True,
            statements=statements.overrides(self.words(present)),
        )

    def words(self, present: Sequence[str]) -> statements.Words:
        """What the statements need to know.

        Args:
            present: the columns that the table has.
        """
        there = {name: self.column(name) for name in ("execution_logs", "queued_at", "cancel")}
        return statements.Words(
            columns={name: column for name, column in there.items() if column in present},
            started_at=self.column("started_at"),
            message=self.column("failure_message"),
            heartbeat=self.heartbeat,
            retry_after=self.retry_seconds,
            max_retries=self.max_num_retries,
            max_resets=self.max_num_resets,
            reset_message="failed to process" if self.seed_answers else self.reset_failure_message,
            seed=self.seed_answers,
        )

    def _extra(self, view: Any) -> tuple[Any, ...]:
        assert self.column_expressions is not None
        asked = self.column_expressions(view)
        return tuple(one for one in asked if not isinstance(one, sa.Column))  # the columns are there already

    def _record(self) -> Callable[..., Any] | None:
        typed = [
            hasattr(self.scan, name) for name in ("__dataclass_fields__", "__struct_fields__", "model_fields")
        ]
        if self.column_expressions is None or any(typed):  # those take what they name
            return self.scan
        return partial(_scan, self)


def _scan(options: Options, row: Mapping[str, Any]) -> Any:
    """Only what the column expressions name."""
    assert options.column_expressions is not None
    source = sa.table("row", *(sa.column(name) for name in row))
    asked = [str(one.key) for one in options.column_expressions(source)]
    chosen = {name: row[name] for name in asked}
    return chosen if options.scan is None else options.scan(chosen)


def _without_alias(name: str) -> str:
    """``lsif_uploads u`` is ``lsif_uploads``: conditions and orders are functions of the table, whatever its alias."""
    words = name.split()
    return words[0] if len(words) == 2 and all(word.isidentifier() for word in words) else name
