"""Rows to values.

Another program may have written a row that we cannot read. It must not keep the others from being read, so nothing here
fails: arguments that are no JSON for Python are given as the text that is stored, and no function takes those.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any

from rowqueue.core import payload
from rowqueue.core.quick import maker
from rowqueue.core.states import states_of
from rowqueue.core.values import AttemptError, Job, Key, Progress
from rowqueue.sql.compiled import Row
from rowqueue.sql.layout import Layout

_REST = len(fields(Job)) - 1
_make_job = maker(Job)


def job_of(row: Row, layout: Layout) -> Job:
    """A row with the columns of ``Job``, in its order; the key may take several."""
    if layout.mapped:
        width = len(layout.key)
        row = (key_of(row, layout), *row[width : width + _REST])
    (
        key, kind, queue, state, priority, args, scheduled_at, attempt, max_attempts, failures, lease,
        leased_until, attempted_at, attempted_by, created_at, finalized_at, rescues, snoozes, timeout,
        cancel_requested_at, unique_key, unique_states, tags, correlation_id, correlation_group, meta,
        errors, progress, result,
    ) = row  # fmt: skip
    if layout.mapped and not layout.has("attempt"):
        attempt = failures + 1
    return _make_job(
        key,
        kind,
        queue,
        layout.state_of(state),
        priority,
        json_of(args),
        scheduled_at,
        attempt,
        max_attempts,
        failures,
        lease,
        leased_until,
        attempted_at,
        attempted_by,
        created_at,
        finalized_at,
        rescues,
        snoozes,
        timeout,
        cancel_requested_at,
        unique_key,
        states_of(unique_states) if unique_states else frozenset(),
        tags_of(tags) if tags else (),
        correlation_id,
        correlation_group,
        json_of(meta) if meta else {},
        errors_of(errors) if errors else (),
        progress_of(progress) if progress else None,
        json_of(result) if result is not None else None,
    )


def key_of(row: Row, layout: Layout) -> Key:
    """The key that a row begins with: one value, or a tuple of several."""
    width = len(layout.key)
    return row[0] if width == 1 else tuple(row[:width])


def json_of(text: str) -> Any:
    """A stored value; the text itself where Python cannot read it (no JSON, too deep, thousands of digits)."""
    try:
        return payload.decode(text)
    except (ValueError, RecursionError):
        return text


def tags_of(text: str) -> tuple[str, ...]:
    """A job's tags; none where they are no list."""
    tags = json_of(text)
    return tuple(tags) if isinstance(tags, list) else ()


def errors_of(text: str) -> tuple[AttemptError, ...]:
    """The history of a job, as far as it can be read."""
    entries = json_of(text)
    found = map(_error, entries) if isinstance(entries, list) else ()
    return tuple(error for error in found if error is not None)


def _error(entry: Any) -> AttemptError | None:
    try:
        at = datetime.fromisoformat(entry["at"])
        lease = entry.get("lease", 0)  # other programs' tables know none
        return AttemptError(at, entry["attempt"], lease, entry["error"], entry.get("trace", ""))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def progress_of(text: str) -> Progress | None:
    """What a running job said last; None where it cannot be read."""
    entry = json_of(text)
    try:
        return Progress(entry["fraction"], entry.get("message", ""))
    except (KeyError, TypeError, AttributeError):
        return None
