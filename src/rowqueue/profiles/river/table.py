"""``river_job`` as a queue of rowqueue's: which column holds what.

River has no lease. Ours is kept in the job's metadata, under a key of its own, together with the claim time
that it belongs to: once River's rescuer and another client have taken the job, it says nothing any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import ColumnElement, Null

from rowqueue.core.policies import RetryPolicy
from rowqueue.profiles.river import statements
from rowqueue.profiles.river.rows import JobState, job_row
from rowqueue.sql.mapping import Column, JobTable
from rowqueue.sql.terms import Codec, const
from rowqueue.sql.types import Instant

LEASE = "rowqueue:lease"
CANCEL = "cancel_attempted_at"
LONGEST = 9_223_372_036.0
"""River's longest delay: 292 years, in seconds."""

RETRY = RetryPolicy("river (attempt^4 s)", lambda attempt: min(float(attempt) ** 4, LONGEST), 0.1)


def table(schema: str | None = None, *, rescue_after: float = 3600.0, seed_answers: bool = False) -> JobTable:
    """The mapping of ``river_job``.

    Args:
        schema: the database schema of River's tables; None is the connection's own.
        rescue_after: how old a job that a Go worker runs must be to be rescued (seconds).
        seed_answers: answer as River does where that loses a cancellation.
    """
    return JobTable(
        "river_job",
        schema=schema,
        columns={
            "leased_until": Column("metadata", Codec(_read_lease, into=_write_lease)),
            "snoozes": Column("metadata", _counter("snoozes")),
            "rescues": Column("metadata", _counter("river:rescue_count")),
            "cancel_requested_at": Column("metadata", Codec(_read_cancel, into=partial(_set, CANCEL))),
            "result": Column("metadata", Codec(_read_output, into=_write_output)),
            "meta": Column("metadata", Codec(_as_text, into=_kept)),
            "failures": Column("errors", Codec(_count, into=_kept)),
            "errors": Column("errors", Codec(_json_of, append=_append)),
            "unique_key": Column("unique_key", Codec(lambda c: sa.func.encode(c, const("hex")))),
        },
        states={state.value: state.value for state in JobState},
        order_by=lambda t: (t.c.priority, t.c.scheduled_at),
        where=lambda t: ~statements.paused(schema, t.c.queue),
        select=text_columns,
        record=job_row,
        rescue_after=rescue_after,
        statements=statements.builders(seed=seed_answers),
    )


def text_columns(of: Any) -> tuple[ColumnElement[Any], ...]:
    """What a ``JobRow`` needs beside the columns as they are: JSON as its text, and the bits."""
    c = of.c
    return (
        _as_text(c.args).label("args_text"),
        _json_of(c.errors).label("errors_text"),
        _as_text(c.metadata).label("metadata_text"),
        _as_text(c.unique_states).label("unique_states_text"),
    )


def _as_text(column: Any) -> ColumnElement[Any]:
    return sa.cast(column, sa.Text())


def _json_of(column: Any) -> ColumnElement[Any]:
    return sa.cast(sa.func.to_json(column), sa.Text())


def _kept(current: Any, _value: Any, _written: Mapping[str, Any]) -> Any:
    return current


def _text_at(column: Any, *path: str) -> ColumnElement[Any]:
    return sa.func.jsonb_extract_path_text(
        column, *(const(step, sa.Text()) for step in path), type_=sa.Text()
    )


def _set(key: str, current: Any, value: Any, _written: Mapping[str, Any]) -> Any:
    """One key of the metadata; NULL takes it out."""
    name = const(key, sa.Text())
    if isinstance(value, Null):
        return current.op("-", return_type=postgresql.JSONB())(name)
    return current.op("||", return_type=postgresql.JSONB())(sa.func.jsonb_build_object(name, value))


def _counter(key: str) -> Codec:
    def read(column: Any) -> Any:
        return sa.func.coalesce(sa.cast(_text_at(column, key), sa.Integer()), const(0))

    return Codec(read, into=partial(_set, key))


def _read_cancel(column: Any) -> Any:
    return sa.cast(_text_at(column, CANCEL), Instant())


def _read_lease(column: Any) -> Any:
    of_this_claim = sa.cast(_text_at(column, LEASE, "at"), Instant()) == column.table.c.attempted_at
    return sa.case((of_this_claim, sa.cast(_text_at(column, LEASE, "until"), Instant())))


def _write_lease(current: Any, value: Any, written: Mapping[str, Any]) -> Any:
    if isinstance(value, Null):
        return _set(LEASE, current, value, written)
    claimed = written.get("attempted_at", sa.literal_column("attempted_at"))
    lease = sa.func.jsonb_build_object(const("at", sa.Text()), claimed, const("until", sa.Text()), value)
    return _set(LEASE, current, lease, written)


def _read_output(column: Any) -> Any:
    found = sa.func.jsonb_extract_path(column, const("output", sa.Text()))
    return sa.cast(found, sa.Text())


def _write_output(current: Any, value: Any, written: Mapping[str, Any]) -> Any:
    text = sa.cast(value, sa.Text())
    return sa.case(
        (text.is_(None), current), else_=_set("output", current, sa.cast(text, postgresql.JSONB()), written)
    )


def _count(column: Any) -> Any:
    return sa.func.coalesce(sa.func.cardinality(column), const(0))


def _append(column: Any, entry: Any, _fragment: Any) -> Any:
    """River's entry: at, attempt, error, trace, and nothing of ours."""
    trace = sa.func.jsonb_build_object(const("trace", sa.Text()), const("", sa.Text()))
    ours = sa.cast(entry, postgresql.JSONB()).op("-", return_type=postgresql.JSONB())(
        const("lease", sa.Text())
    )
    return sa.func.array_append(
        column, trace.op("||", return_type=postgresql.JSONB())(ours), type_=column.type
    )
