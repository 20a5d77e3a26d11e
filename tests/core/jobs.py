"""A job that no database made."""

from datetime import UTC, datetime
from typing import Any

from rowqueue.core.states import State
from rowqueue.core.values import Claim, Job

_AT = datetime(2026, 1, 1, tzinfo=UTC)


def a_job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": 7,
        "kind": "k",
        "queue": "default",
        "state": State.RUNNING,
        "priority": 2,
        "args": {},
        "scheduled_at": _AT,
        "attempt": 1,
        "max_attempts": 3,
        "failures": 0,
        "lease": 1,
        "leased_until": _AT,
        "attempted_at": _AT,
        "attempted_by": None,
        "created_at": _AT,
        "finalized_at": None,
        "rescues": 0,
        "snoozes": 0,
        "timeout": None,
        "cancel_requested_at": None,
        "unique_key": None,
        "unique_states": frozenset(),
        "tags": (),
        "correlation_id": None,
        "correlation_group": None,
        "meta": {},
        "errors": (),
        "progress": None,
        "result": None,
    }
    return Job(**(values | changes))


def a_claim(**changes: Any) -> Claim:
    job = a_job(**changes)
    return Claim(job.id, job.lease, job)
