"""claim, and extend what is claimed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.quick import maker
from rowqueue.core.states import State
from rowqueue.core.values import Claim, Job, Outcome, Seconds, seconds_of
from rowqueue.operations.answers import fence_of, refused, standing
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.operations.decode import job_of, key_of
from rowqueue.operations.settings import StoreSettings
from rowqueue.sql.compiled import Call, Rows, Statement
from rowqueue.sql.statements import claim as sql
from rowqueue.sql.statements.catalog import Statements

Queues: TypeAlias = Mapping[str, int] | Sequence[str] | None
Where: TypeAlias = sql.Where

Place: TypeAlias = tuple[int, datetime, int]
"""A place in the order of a queue: priority, due time and id."""

FRONT: Place = (-(2**15), datetime.min.replace(tzinfo=UTC), 0)
"""Before every job."""

_make_claim = maker(Claim)


def claim(
    settings: StoreSettings,
    limit: int,
    queues: Queues,
    kinds: Sequence[str] | None,
    where: Where | None,
    lease: Seconds | None,
    worker: str | None,
    after: Mapping[str, Place] | None = None,
) -> Operation[list[Claim]]:
    """available → running, for up to ``limit`` jobs, in claim order.

    Args:
        settings: the store's.
        limit: the most jobs in all.
        queues: names, or names with slots; None is every queue with ready jobs.
        kinds: only jobs of these kinds.
        where: one more condition.
        lease: how long; None is the store's.
        worker: who claims.
        after: PostgreSQL: places in queues; what is behind comes first, what is in front only where that is not
            enough. Other databases need not be told.

    Raises:
        ConfigurationError: an argument is wrong.
    """
    names.whole(limit, "limit", 1, 100_000)
    slots = _slots(queues, limit)
    values: dict[str, Any] = {
        "duration": settings.lease_seconds if lease is None else seconds_of(lease, "lease", minimum=1.0),
        "worker": None if worker is None else names.text(worker, "worker"),
    }
    chosen = None if kinds is None else names.texts(kinds, "kinds")
    return Operation(lambda s: _claim(s, limit, slots, chosen, where, values, after or {}), Access.WRITE)


def _slots(queues: Queues, limit: int) -> dict[str, int] | None:
    if queues is None:
        return None
    if isinstance(queues, str):
        raise ConfigurationError(f"queues must be a list or a mapping of names to slots: write [{queues!r}]")
    wanted = dict(queues) if isinstance(queues, Mapping) else dict.fromkeys(queues, limit)
    checked = {
        names.text(name, "queue"): names.whole(slots, "slots", 0, 100_000) for name, slots in wanted.items()
    }
    return {name: slots for name, slots in checked.items() if slots}


def _claim(
    s: Statements,
    limit: int,
    slots: dict[str, int] | None,
    kinds: Sequence[str] | None,
    where: Where | None,
    values: dict[str, Any],
    after: Mapping[str, Place],
) -> Steps[list[Claim]]:
    by_queue = s.layout.mapped and slots is not None and s.layout.has("queue")
    statement = _statement(s, kinds, where, by_queue)
    if kinds is not None:
        values = {**values, "kinds": s.dialect.pack_list(list(kinds))}
    if s.layout.mapped and not by_queue:
        rows = yield Call(statement, {**values, "limit": limit})
        return (yield from _with_records(s, rows, values["duration"]))
    if slots is None:
        ready = yield from _ready_queues(s)
        slots = dict.fromkeys(ready, limit)
    if not slots:
        return []
    if s.dialect.has_lateral and not by_queue:
        packed = s.dialect.pack_rows("wanted", _wanted(slots, after))
        rows = yield Call(statement, {**values, **packed, "limit": limit})
    else:
        rows = []
        for queue, free in slots.items():
            free = min(free, limit - len(rows))
            if free > 0:
                rows += yield Call(statement, {**values, "queue": queue, "limit": free})
    if by_queue:
        return (yield from _with_records(s, rows, values["duration"]))
    jobs = sorted((job_of(row, s.layout) for row in rows), key=place_of)
    return [_make_claim(job.id, job.lease, job) for job in jobs]


def _wanted(slots: dict[str, int], after: Mapping[str, Place]) -> dict[str, list[Any]]:
    priorities, moments, ids = zip(*(after.get(queue, FRONT) for queue in slots), strict=True)
    return {
        "queue": list(slots),
        "slots": list(slots.values()),
        "after_priority": list(priorities),
        "after_at": list(moments),
        "after_id": list(ids),
    }


def _ready_queues(s: Statements) -> Steps[list[str]]:
    if s.dialect.has_returning:
        rows = yield s.call("claim_ready_queues")
        return [row[0] for row in rows]
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        ((after,),) = yield s.call("claim_ready_queues", after=after)
        if after is not None:
            found.append(after)
    return found


def _with_records(s: Statements, rows: Rows, duration: float) -> Steps[list[Claim]]:
    """The claims of a table of the user's, each with its row as the view shows it after the claim."""
    if not rows:
        return []
    width, fences = len(s.layout.key), len(s.layout.fence)
    taken = {key_of(row, s.layout): (job_of(row, s.layout), tuple(row[len(row) - fences :])) for row in rows}
    if s.layout.sidecar is not None:
        columns = s.key_columns(list(taken))
        leases = yield s.call_rows("lease_take", "given", columns, duration=duration)
        taken |= {
            key: (replace(taken[key][0], lease=row[-1]), (row[-1],))
            for row in leases
            if (key := key_of(row, s.layout)) in taken
        }
    found = yield s.call("claim_records", **s.pack_keys(list(taken)))
    records = {key_of(row, s.layout): s.layout.record(row[width:]) for row in found}
    order = [*records, *(key for key in taken if key not in records)]  # a view may not show it any more
    jobs = ((taken[key], records.get(key)) for key in order)
    return [Claim(job.id, job.lease, job, record, fence) for (job, fence), record in jobs]


def _statement(s: Statements, kinds: Sequence[str] | None, where: Where | None, by_queue: bool) -> Statement:
    if where is None:
        return s["claim" + ("" if kinds is None else "_kinds") + ("_queue" if by_queue else "")]
    build: Any = s.layout.statements.get("claim", sql.claim)
    return s.compile("claim", build(s.parts, kinds=kinds is not None, queue=by_queue, where=where))


def place_of(job: Job) -> Place:
    """Where it stands in its queue's order."""
    return (job.priority, job.scheduled_at, job.id)


def extend(
    settings: StoreSettings, claims: Sequence[Claim], lease: Seconds | None
) -> Operation[list[Outcome]]:
    """running → running: move ``leased_until`` of all of a worker's claims in one statement.

    A row of ours that is locked is being finished by its own handler: it counts as alive.
    """
    duration = settings.lease_seconds if lease is None else seconds_of(lease, "lease", minimum=1.0)
    return Operation(lambda s: _extend(s, claims, duration), Access.WRITE)


def _extend(s: Statements, claims: Sequence[Claim], duration: float) -> Steps[list[Outcome]]:
    if not claims:
        return []
    columns = s.claim_columns([claim.key for claim in claims], [fence_of(claim) for claim in claims])
    if s.layout.sidecar is None:
        rows = yield s.call_rows("extend", "given", columns, duration=duration)
        moved = {key_of(row, s.layout): row[-1] is not None for row in rows}
    else:
        columns["lease"] = [claim.lease for claim in claims]
        rows = yield s.call_rows("lease_extend", "given", columns, duration=duration)
        found = yield from standing(s, [key_of(row, s.layout) for row in rows])
        moved = {key: row.cancel_requested for key, row in found.items() if row.state is State.RUNNING}
    times = Counter(claim.key for claim in claims)  # twice: an old claim beside the new one, so ask for both
    doubtful = [claim for claim in claims if claim.key not in moved or times[claim.key] > 1]
    answers = yield from refused(s, doubtful)
    return [_extended(claim, moved, answers) for claim in claims]


def _extended(claim: Claim, moved: dict[Any, bool], answers: dict[tuple[Any, Any], Outcome]) -> Outcome:
    refusal = answers.get((claim.key, fence_of(claim)))
    if refusal is None:
        return Outcome(claim.key, None, State.RUNNING, claim.lease, cancel_requested=moved[claim.key])
    if refusal.reason == "wrong_state" and refusal.state is State.RUNNING:  # locked by its own handler: alive
        return replace(refusal, reason=None)
    return refusal
