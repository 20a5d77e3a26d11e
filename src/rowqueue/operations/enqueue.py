"""enqueue: validate first, insert in one statement, and answer a taken unique key with its row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rowqueue.core import names, payload
from rowqueue.core.errors import ConfigurationError, UniqueConflict
from rowqueue.core.states import UNFINISHED, State, mask_of
from rowqueue.core.values import Enqueued, Job, NewJob, seconds_of
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.operations.decode import job_of
from rowqueue.operations.settings import StoreSettings
from rowqueue.operations.wake import wake
from rowqueue.sql.compiled import Row
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.statements.enqueue import GIVEN

_ROUNDS = 20


def enqueue(
    jobs: Sequence[NewJob], settings: StoreSettings, *, aloud: bool = False
) -> Operation[list[Enqueued]]:
    """nothing → available, scheduled or pending; all of them or none, answers in the order given.

    Args:
        jobs: what to enqueue.
        settings: the store's.
        aloud: the INSERT itself tells idle workers, for a transaction of the caller's; otherwise a
            statement after the commit does, so that no commit waits for the lock of another's NOTIFY.

    Raises:
        ConfigurationError: an option of a job is wrong; nothing was written.
        InvalidArguments: arguments, tags or meta cannot be stored; nothing was written.
    """
    prepared = [_prepare(job, settings) for job in jobs]
    access = Access.WRITE if len(prepared) == 1 else Access.TRANSACTION
    return Operation(lambda s: _enqueue(s, jobs, prepared, aloud), access)


def _enqueue(
    s: Statements, jobs: Sequence[NewJob], prepared: list[dict[str, Any]], aloud: bool
) -> Steps[list[Enqueued]]:
    answers: dict[int, Enqueued] = {}
    told: set[int] = set()
    left = list(range(len(jobs)))
    for _ in range(_ROUNDS):
        if not left:
            break
        if len(left) == 1:
            rows = yield s.call("enqueue", **prepared[left[0]], aloud=aloud)
        else:
            columns = {name: [prepared[index][name] for index in left] for name in GIVEN}
            rows = yield s.call_rows("enqueue_many", "given", columns, aloud=aloud)
        told.update(row[0] for row in rows if row[-1] and not aloud)
        if len(rows) == len(left):
            rows.sort()  # by id, which the database gave in the order of the rows
            for index, row in zip(left, rows, strict=True):
                answers[index] = Enqueued(_job(jobs[index], prepared[index], row), inserted=True)
            break
        left = _match(left, rows, jobs, prepared, answers)
        keys = sorted({prepared[index]["unique_key"] for index in left})
        held = yield s.call("enqueue_holders", keys=s.dialect.pack_list(keys))
        holders = {job.unique_key: job for job in (job_of(row, s.layout) for row in held)}
        for index in left:
            if (holder := holders.get(prepared[index]["unique_key"])) is not None:
                answers[index] = Enqueued(holder, inserted=False)
        left = [index for index in left if index not in answers]  # finished meanwhile: try again
    else:
        raise UniqueConflict(f"a unique key was taken and freed {_ROUNDS} times in a row: enqueue it again")
    if told:
        new = (answer.job for answer in answers.values())
        yield from wake(s, ((job.state.value, job.queue) for job in new if job.id in told))
    return [answers[index] for index in range(len(jobs))]


def _match(
    left: list[int],
    rows: list[Row],
    jobs: Sequence[NewJob],
    prepared: list[dict[str, Any]],
    answers: dict[int, Enqueued],
) -> list[int]:
    """Give each inserted row to its job; what has no row is left, because its unique key was taken."""
    plain = iter(sorted(row for row in rows if row[4] is None))
    keyed = {row[4]: row for row in rows if row[4] is not None}
    missing: list[int] = []
    for index in left:
        key = prepared[index]["unique_key"]
        row = next(plain) if key is None else keyed.pop(key, None)
        if row is None:
            missing.append(index)
        else:
            answers[index] = Enqueued(_job(jobs[index], prepared[index], row), inserted=True)
    return missing


def _prepare(job: NewJob, settings: StoreSettings) -> dict[str, Any]:
    """The parameters of one job, checked; what is refused is refused before anything is written."""
    kind, limit = names.text(job.kind, "kind"), settings.payload_limit
    if not isinstance(job.args, dict):
        raise ConfigurationError(
            f"args of {kind} must be a dict by parameter name, not {type(job.args).__name__}"
        )
    if job.delay is not None and job.at is not None:
        raise ConfigurationError("give delay or at, not both")
    attempts = settings.max_attempts if job.max_attempts is None else job.max_attempts
    return {
        "kind": kind,
        "queue": names.text(job.queue, "queue"),
        "priority": names.whole(job.priority, "priority", 1, 4),
        "args": payload.encode(job.args, f"the arguments of {kind}", limit=limit),
        "max_attempts": names.whole(attempts, "max_attempts", 1, 1_000_000),
        "timeout": None if job.timeout is None else seconds_of(job.timeout, "timeout", minimum=0.001),
        "unique_key": _optional(job.unique_key, "unique_key"),
        "unique_states": _mask(job),
        "tags": _tags(job, limit),
        "correlation_id": _optional(job.correlation_id, "correlation_id"),
        "correlation_group": _optional(job.correlation_group, "correlation_group"),
        "meta": None if not job.meta else payload.encode(job.meta, f"the meta of {kind}", limit=limit),
        "pending": bool(job.pending),
        "at": None if job.at is None else names.instant(job.at, "at"),
        "delay": None if job.delay is None else seconds_of(job.delay, "delay"),
    }


def _optional(value: str | None, what: str) -> str | None:
    return None if value is None else names.text(value, what)


def _tags(job: NewJob, limit: int) -> str | None:
    if not job.tags:
        return None
    if isinstance(job.tags, str) or len(job.tags) > names.TAGS_LIMIT:
        raise ConfigurationError(f"tags must be a sequence of at most {names.TAGS_LIMIT} words")
    return payload.encode([names.text(tag, "a tag") for tag in job.tags], "the tags", limit=limit)


def _mask(job: NewJob) -> int | None:
    if job.unique_states is None:
        return None
    if job.unique_key is None:
        raise ConfigurationError("unique_states without a unique_key does nothing: give both")
    missing = UNFINISHED - job.unique_states
    if missing:
        words = ", ".join(sorted(missing))
        raise ConfigurationError(
            f"unique_states lacks {words}: a job that leaves the set while unfinished could not come back"
        )
    return mask_of(frozenset(map(State, job.unique_states)))


def _job(job: NewJob, values: dict[str, Any], row: Row) -> Job:
    """The new row as it stands, made of what was given and what the database decided."""
    id_, state, scheduled_at, created_at, *_ = row
    return Job(
        id=id_,
        kind=job.kind,
        queue=job.queue,
        state=State(state),
        priority=job.priority,
        args=job.args,
        scheduled_at=scheduled_at,
        attempt=0,
        max_attempts=values["max_attempts"],
        failures=0,
        lease=0,
        leased_until=None,
        attempted_at=None,
        attempted_by=None,
        created_at=created_at,
        finalized_at=None,
        rescues=0,
        snoozes=0,
        timeout=values["timeout"],
        cancel_requested_at=None,
        unique_key=job.unique_key,
        unique_states=job.unique_states or frozenset(),
        tags=tuple(job.tags),
        correlation_id=job.correlation_id,
        correlation_group=job.correlation_group,
        meta=job.meta or {},
        errors=(),
        progress=None,
        result=None,
    )
