"""What the original writes that our verbs do not, and its own verbs by id."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.errors import FeatureMissing
from rowqueue.core.states import State
from rowqueue.sql.layout import Cols
from rowqueue.sql.statements import claim, finish, upkeep
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import const, param
from rowqueue.sql.types import Instant


@dataclass(frozen=True, slots=True)
class Words:
    """What the statements need of the options.

    Attributes:
        columns: those of execution_logs, queued_at and cancel that are there, by the original's name.
        started_at: the column of that name.
        message: the failure_message column.
        heartbeat: the later shape.
        retry_after: seconds; infinite is never.
        max_retries: failures after which a row is failed.
        max_resets: crashes after which the next one is final.
        reset_message: what a row says then.
        seed: the original's faults.
    """

    columns: Mapping[str, str]
    started_at: str
    message: str
    heartbeat: bool
    retry_after: float
    max_retries: int
    max_resets: int
    reset_message: str
    seed: bool


def overrides(words: Words) -> dict[str, Callable[..., Any]]:
    """The statements by name: those that stand for ours, and those that are the original's alone."""
    found: dict[str, Callable[..., Any]] = {
        "claim": partial(_claim, words),
        "fail": _fail,
        "snooze": partial(_snooze, words),
        "rescue": lambda parts: _rescue(words, parts, upkeep.rescue(parts)),
        "rescue_dropped": lambda parts: _rescue(words, parts, upkeep.rescue_dropped(parts)),
        "rescue_foreign": lambda parts: _rescue(words, parts, upkeep.rescue_foreign(parts)),
        "oldest": partial(_oldest, words),
        "heartbeat_by_id": _heartbeat,
    }
    if not words.heartbeat:
        found["extend"] = _no_heartbeat
    for name, fenced in (("", True), ("_by_id", False)):
        found |= {
            f"mark_complete{name}": partial(_mark, words, "complete", fenced=fenced),
            f"mark_errored{name}": partial(_mark, words, "errored", fenced=fenced),
            f"mark_failed{name}": partial(_mark, words, "failed", fenced=fenced),
            f"requeue{name}": partial(_requeue, words, fenced=fenced),
            f"log_add{name}": partial(_log_add, words, fenced=fenced),
            f"log_update{name}": partial(_log_update, words, fenced=fenced),
        }
    return found


def _column(words: Words, parts: Parts, name: str) -> sa.Column[Any]:
    column = words.columns.get(name)
    if column is None:
        raise FeatureMissing(
            f"{parts.layout.base.fullname} has no column {name}: add it, or name it in alternate_column_names"
        )
    return parts.layout.base.c[column]


def _queued(words: Words, parts: Parts) -> dict[Any, Any]:
    """A row goes back: the later table also says since when it waits, and forgets its start."""
    base = parts.layout.base
    there: dict[Any, Any] = {base.c[words.started_at]: sa.null()} if words.heartbeat else {}
    if "queued_at" in words.columns:
        field = parts.layout.fields["created_at"]
        there[_column(words, parts, "queued_at")] = field.codec.write(parts.now())
    return there


def _claim(words: Words, parts: Parts, **options: Any) -> Any:
    """A new attempt begins without what the last one left."""
    base = parts.layout.base
    cleared = [base.c[words.message], base.c[parts.layout.fields["finalized_at"].name]]
    if words.heartbeat and "execution_logs" in words.columns:
        cleared.append(_column(words, parts, "execution_logs"))
    return claim.claim(parts, **options).values(dict.fromkeys(cleared, sa.null()))


def _fail(parts: Parts) -> Any:
    """process_after is for queued rows alone, and a cancelled row did not fail."""
    base, fields = parts.layout.base, parts.layout.fields
    after, failures = base.c[fields["scheduled_at"].name], base.c[fields["failures"].name]
    values: dict[Any, Any] = {after: after}
    if parts.can_cancel:
        values[failures] = sa.case((parts.cancel_asked(), failures), else_=failures + const(1))
    return finish.fail(parts).values(values)


def _snooze(words: Words, parts: Parts) -> Any:
    return finish.snooze(parts).values(_queued(words, parts))


def _rescue(words: Words, parts: Parts, ours: Any) -> Any:
    """The original's messages and counts; a row that may run again keeps its message."""
    base = parts.layout.base
    resets = base.c[parts.layout.fields["rescues"].name]
    over = resets >= const(words.max_resets)

    def unless_over(column: Any, value: Any) -> Any:
        return sa.case((over, column), else_=value)

    message, started = base.c[words.message], base.c[words.started_at]
    values: dict[Any, Any] = {
        resets: unless_over(resets, resets + const(1)),
        message: sa.case((over, const(words.reset_message, sa.Text())), else_=message),
        started: unless_over(started, sa.null()),
    }
    if "queued_at" in words.columns:
        column = _column(words, parts, "queued_at")
        values[column] = unless_over(column, parts.layout.fields["created_at"].codec.write(parts.now()))
    if words.seed:
        values[base.c[parts.layout.fields["state"].name]] = sa.case(
            (over, const("errored", sa.String())), else_=parts.state(State.AVAILABLE)
        )
    return ours.values(values)


def _no_heartbeat(parts: Parts) -> Any:
    raise FeatureMissing(
        f"rows of {parts.layout.base.fullname} live as long as the transaction that holds them: dequeue them, or add "
        "a last_heartbeat_at and set heartbeat=True"
    )


def _guard(parts: Parts, *states: State, fenced: bool) -> ColumnElement[bool]:
    c = parts.c
    fence = [parts.is_fence(c)] if fenced and parts.layout.fence_columns else []
    return sa.and_(parts.is_key(c), *fence, c.is_in(*states))


def _text(name: str) -> ColumnElement[Any]:
    return param(name, sa.Text())


def _mark(words: Words, how: str, parts: Parts, *, fenced: bool) -> Any:
    """processing → completed, errored or failed; True in the second column where it was cancelled instead."""
    c = parts.c
    values: dict[str, Any] = {"finalized_at": parts.now(), "state": parts.state(State.COMPLETED)}
    states = [State.RUNNING]
    update_message: dict[Any, Any] = {}
    if how != "complete":
        final = parts.state(State.DISCARDED)
        failures = c.failures + const(1)
        limit = const(words.max_retries)
        over = failures == limit if words.seed else failures >= limit
        target = final if how == "failed" else sa.case((over, final), else_=parts.state(State.RETRYABLE))
        values["state"] = parts.unless_cancelled(target)
        values["failures"] = (
            sa.case((parts.cancel_asked(), c.failures), else_=failures) if parts.can_cancel else failures
        )
        update_message = {parts.layout.base.c[words.message]: _text("message")}
        if words.seed:
            states.append(State.COMPLETED)
    update = parts.update(values).values(update_message) if update_message else parts.update(values)
    return update.where(_guard(parts, *states, fenced=fenced)).returning(*c.key)


def _requeue(words: Words, parts: Parts, *, fenced: bool) -> Any:
    """processing → queued, not before a moment; the original's takes any row."""
    moment = sa.cast(param("after", Instant()), Instant())
    after = {"state": parts.state(State.AVAILABLE), "scheduled_at": moment}
    if "cancel" in words.columns:
        after["cancel_requested_at"] = sa.null()
    update = parts.update(after).values(_queued(words, parts))
    where = parts.is_key(parts.c) if words.seed else _guard(parts, State.RUNNING, fenced=fenced)
    return update.where(where).returning(*parts.c.key)


def _log_add(words: Words, parts: Parts, *, fenced: bool) -> Any:
    """One more entry; answers how many there are, which is its number."""
    logs = _column(words, parts, "execution_logs")
    if isinstance(logs.type, sa.ARRAY):
        entry = sa.cast(_text("entry"), logs.type.item_type)
        value: Any = sa.func.array_append(logs, entry, type_=logs.type)
        count: Any = sa.func.cardinality(logs)
    else:
        old = sa.func.coalesce(sa.cast(logs, sa.Text()), const("[]", sa.Text()))
        value = sa.type_coerce(
            sa.func.json_insert(old, const("$[#]"), sa.func.json(_text("entry"))), logs.type
        )
        count = sa.func.json_array_length(logs)
    where = parts.is_key(parts.c) if words.seed else _guard(parts, State.RUNNING, fenced=fenced)
    update = sa.update(parts.layout.base).values({logs: value}).where(where)
    return update.returning(sa.type_coerce(count, sa.Integer()))


def _log_update(words: Words, parts: Parts, *, fenced: bool) -> Any:
    """Another text for an entry that is there."""
    logs, number = _column(words, parts, "execution_logs"), param("number", sa.Integer())
    if isinstance(logs.type, sa.ARRAY):
        entry = sa.cast(_text("entry"), logs.type.item_type)
        before = logs[const(1) : number - const(1)]
        head = sa.func.array_append(before, entry, type_=logs.type)
        value: Any = sa.func.array_cat(
            head, logs[number + const(1) : sa.func.cardinality(logs)], type_=logs.type
        )
        count: Any = sa.func.cardinality(logs)
    else:
        place = (
            const("$[", sa.Text()).concat(sa.cast(number - const(1), sa.Text())).concat(const("]", sa.Text()))
        )
        value = sa.type_coerce(sa.func.json_replace(logs, place, sa.func.json(_text("entry"))), logs.type)
        count = sa.func.json_array_length(logs)
    guard = parts.is_key(parts.c) if words.seed else _guard(parts, State.RUNNING, fenced=fenced)
    update = sa.update(parts.layout.base).values({logs: value})
    return update.where(guard, number >= const(1), count >= number).returning(*parts.c.key)


def _heartbeat(parts: Parts) -> Any:
    """Rows that are still being worked, by id, whoever works them: those alive, and those to be cancelled."""
    c = parts.c
    update = parts.update({"heartbeat_at": parts.now()}).where(parts.among(c), c.is_in(State.RUNNING))
    return update.returning(*c.key, c.cancel_requested_at)


def _source(parts: Parts) -> Cols:
    layout = parts.layout
    return Cols(layout, layout.base if layout.view is None else layout.view)


def queued(
    words: Words,
    parts: Parts,
    conditions: Callable[[Any], ColumnElement[bool]] | None,
    *,
    processing: bool,
    ready: bool,
) -> Any:
    """How many rows wait: the original's count or, ``ready``, those that would be dequeued now."""
    cols = _source(parts)
    queued_rows, errored = cols.is_in(State.AVAILABLE), cols.is_in(State.RETRYABLE)
    few = cols.failures < const(words.max_retries)
    if ready:
        due = cols.scheduled_at
        queued_rows = sa.and_(queued_rows, sa.or_(due.is_(None), due <= parts.now()))
        errored = (
            sa.false() if math.isinf(words.retry_after) else sa.and_(errored, _old_enough(words, parts, cols))
        )
    waiting = [queued_rows, sa.and_(errored, few)]
    if processing:
        waiting.append(cols.is_in(State.RUNNING))
    where = [] if conditions is None else [conditions(cols.table)]
    return sa.select(sa.func.count()).select_from(cols.table).where(sa.or_(*waiting), *where)


def _old_enough(words: Words, parts: Parts, cols: Cols) -> ColumnElement[bool]:
    return cols.finalized_at < parts.dialect.later(const(-words.retry_after, sa.Double()))


def _oldest(words: Words, parts: Parts) -> Any:
    """Since when the row waits that could have been dequeued the longest ago (seconds)."""
    _column(words, parts, "queued_at")
    cols = _source(parts)
    due, since = cols.scheduled_at, cols.created_at
    begun = sa.case((sa.and_(due.is_not(None), due > since), due), else_=since)
    queued_rows = sa.and_(cols.is_in(State.AVAILABLE), sa.or_(due.is_(None), due <= parts.now()))
    waits: list[Any] = [(queued_rows, -parts.dialect.seconds_until(begun))]
    if not math.isinf(words.retry_after):
        few = sa.and_(cols.is_in(State.RETRYABLE), cols.failures < const(words.max_retries))
        errored = -parts.dialect.seconds_until(cols.finalized_at) - const(words.retry_after, sa.Double())
        waits.append((sa.and_(few, _old_enough(words, parts, cols)), errored))
    return sa.select(sa.func.max(sa.case(*waits))).select_from(cols.table)
