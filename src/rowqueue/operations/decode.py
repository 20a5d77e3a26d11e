"""Rows to values."""

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
    width = len(layout.key)
    (
        kind, queue, state, priority, args, scheduled_at, attempt, max_attempts, failures, lease,
        leased_until, attempted_at, attempted_by, created_at, finalized_at, rescues, snoozes, timeout,
        cancel_requested_at, unique_key, unique_states, tags, correlation_id, correlation_group, meta,
        errors, progress, result,
    ) = row[width : width + _REST]  # fmt: skip
    if not layout.has("attempt"):
        attempt = failures + 1
    return _make_job(
        key_of(row, layout),
        kind,
        queue,
        layout.state_of(state),
        priority,
        payload.decode(args),
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
        tuple(payload.decode(tags)) if tags else (),
        correlation_id,
        correlation_group,
        payload.decode(meta) if meta else {},
        errors_of(errors) if errors else (),
        progress_of(progress) if progress else None,
        payload.decode(result) if result is not None else None,
    )


def key_of(row: Row, layout: Layout) -> Key:
    """The key that a row begins with: one value, or a tuple of several."""
    width = len(layout.key)
    return row[0] if width == 1 else tuple(row[:width])


def errors_of(text: str) -> tuple[AttemptError, ...]:
    """The history of a job."""
    return tuple(_error(entry) for entry in payload.decode(text))


def _error(entry: dict[str, Any]) -> AttemptError:
    at = datetime.fromisoformat(entry["at"])
    lease = entry.get("lease", 0)  # other programs' tables know none
    return AttemptError(at, entry["attempt"], lease, entry["error"], entry.get("trace", ""))


def progress_of(text: str) -> Progress:
    """What a running job said last."""
    entry = payload.decode(text)
    return Progress(entry["fraction"], entry.get("message", ""))
