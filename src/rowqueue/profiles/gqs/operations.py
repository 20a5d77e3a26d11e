"""gqs' verbs as operations, for a transaction of our own or of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from rowqueue.core import names, payload
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.finish import Finish
from rowqueue.core.states import State, Verb
from rowqueue.core.values import Claim, Outcome, Seconds, seconds_of
from rowqueue.operations import claim as claiming
from rowqueue.operations import finish as finishing
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.operations.decode import job_of as generic_of
from rowqueue.operations.settings import StoreSettings
from rowqueue.profiles.gqs.model import ErrBadStatus, Job, Message, Status
from rowqueue.profiles.gqs.table import job_of, moments
from rowqueue.sql.codecs import legible
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.terms import const, param
from rowqueue.sql.types import Instant

Changed: TypeAlias = tuple[bool, Job | None]
"""Whether a verb took effect, and the job as it stands now."""

CHUNK = 1_000
_FINAL = (Status.DONE, Status.DEAD)


def push(message: Message, delay: Seconds) -> Operation[Job]:
    """nothing → Pending; a delay may be negative.

    Raises:
        ConfigurationError, InvalidArguments: the message cannot be stored.
    """
    if not isinstance(message.payload, bytes):
        raise ConfigurationError(f"a payload must be bytes, not {type(message.payload).__name__}")
    text = payload.encode(dict(message.metadata), "the metadata")
    wait = seconds_of(delay, "delay", minimum=-1e10)

    def steps(s: Statements) -> Steps[Job]:
        table, write, now = s.layout.base, moments(s.dialect).write, s.dialect.now()
        metadata: Any = param("metadata", sa.Text())
        if s.dialect.name == "postgresql":
            metadata = sa.cast(metadata, postgresql.JSONB())
        values = {
            "id": param("id", table.c.id.type),
            "created_at": write(now),
            "updated_at": write(now),
            "status": const(Status.PENDING.value),
            "attempts": const(0),
            "next_run_at": write(s.dialect.later(param("delay", sa.Double()))),
            "metadata": metadata,
            "payload": param("payload", sa.LargeBinary()),
        }
        key = key_of(s, message.id)
        insert = s.compile("gqs_push", sa.insert(table).values(values))
        yield insert.call({"id": key, "metadata": text, "payload": message.payload, "delay": wait})
        jobs = yield from _jobs(s, lambda t: t.c.id == param("id", t.c.id.type), {"id": key})
        return jobs[0]

    return Operation(steps, Access.TRANSACTION)


def pull(settings: StoreSettings, batch: int, lock: Seconds, worker: str | None) -> Operation[list[Claim]]:
    """Pending, or Processing with an expired lock → Processing; crash-looping jobs → Dead."""
    claims = claiming.claim(settings, batch, None, None, None, lock, worker)

    def steps(s: Statements) -> Steps[list[Claim]]:
        yield s.call("rescue", limit=CHUNK, max_rescues=0, duration=settings.lease_seconds)
        return (yield from claims.steps(s))

    return Operation(steps, Access.TRANSACTION)


def finish(job: Job | UUID, verb: Verb, delay: float = 0.0, *, fenced: bool) -> Operation[Changed]:
    """Processing → Done, Pending or Dead, under the job's own pull; a bare id, or unfenced: under any."""
    id_ = job.id if isinstance(job, Job) else job
    fence = job.attempts if isinstance(job, Job) and fenced else None

    def steps(s: Statements) -> Steps[Changed]:
        claim = yield from _claim(s, id_, fence)
        if claim is None:
            return False, (yield from _get(s, id_))
        item = Finish(claim, verb, delay=delay)
        outcomes = yield from finishing.finish([item]).steps(s)
        return (yield from _changed(s, id_, outcomes))

    return Operation(steps, Access.TRANSACTION)


def extend(settings: StoreSettings, job: Job | UUID, lock: Seconds, *, fenced: bool) -> Operation[Changed]:
    """Processing → Processing, locked for longer."""
    id_ = job.id if isinstance(job, Job) else job
    fence = job.attempts if isinstance(job, Job) and fenced else None
    seconds_of(lock, "lock", minimum=1.0)

    def steps(s: Statements) -> Steps[Changed]:
        claim = yield from _claim(s, id_, fence)
        if claim is None:
            return False, (yield from _get(s, id_))
        outcomes = yield from claiming.extend(settings, [claim], lock).steps(s)
        return (yield from _changed(s, id_, outcomes))

    return Operation(steps, Access.TRANSACTION)


def kill(job: Job | UUID, *, fenced: bool) -> Operation[Changed]:
    """Pending, Processing → Dead; with a job only if nobody has pulled it since it was read."""
    id_ = job.id if isinstance(job, Job) else job
    fence = job.attempts if isinstance(job, Job) and fenced else None

    def steps(s: Statements) -> Steps[Changed]:
        c, values = s.parts.c, {"id": key_of(s, id_)}
        update = s.parts.update(
            {
                "state": s.parts.state(State.DISCARDED),
                "leased_until": sa.null(),
                "finalized_at": s.parts.now(),
            }
        ).where(c.key[0] == param("id", s.layout.base.c.id.type), c.is_in(State.AVAILABLE, State.RUNNING))
        if fence is not None:
            update = update.where(c.lease == param("attempts", sa.BigInteger()))
            values["attempts"] = fence
        rows = yield s.compile("gqs_kill", update.returning(*c.key)).call(values)
        found = yield from _get(s, id_)
        return bool(rows), found

    return Operation(steps, Access.TRANSACTION)


def get(id_: UUID) -> Operation[Job | None]:
    """One job, or None."""
    return Operation(lambda s: _get(s, id_), Access.READ)


def list_jobs(status: Status, limit: int) -> Operation[list[Job]]:
    """Jobs of a status (Unknown: of all), oldest first; a limit of 0 or less is none."""
    wanted = Status(status)

    def where(table: Any) -> Any:
        return sa.true() if wanted is Status.UNKNOWN else table.c.status == const(wanted.value)

    def steps(s: Statements) -> Steps[list[Job]]:
        return (yield from _jobs(s, where, {}, limit if limit > 0 else None))

    return Operation(steps, Access.READ)


def clean(status: Status, before: datetime | None) -> Operation[int]:
    """Delete up to 1,000 Done and Dead jobs that did not change after a moment; how many.

    Raises:
        ErrBadStatus: another status.
    """
    wanted = Status(status)
    if wanted not in {Status.UNKNOWN, *_FINAL}:
        raise ErrBadStatus(
            f"only Done and Dead jobs are deleted, and {wanted} is neither: complete or kill them"
        )
    values = {} if before is None else {"before": names.instant(before, "before")}

    def steps(s: Statements) -> Steps[int]:
        parts = s.parts
        old = parts.alias("old")
        status_ = old.table.c.status
        picked = sa.select(*old.key).where(
            status_.in_([const(each.value) for each in _FINAL])
            if wanted is Status.UNKNOWN
            else status_ == const(wanted.value)
        )
        if before is not None:
            updated = moments(s.dialect).read(old.table.c.updated_at)
            picked = picked.where(updated <= param("before", Instant()))
        chosen = parts.is_one_of(old, picked.order_by(old.table.c.updated_at).limit(const(CHUNK)))
        delete = sa.delete(s.layout.base).where(chosen).returning(*parts.c.key)
        rows = yield s.compile("gqs_clean", delete).call(values)
        return len(rows)

    return Operation(steps, Access.WRITE)


def key_of(s: Statements, id_: UUID) -> Any:
    """A job's id as the table's key: a UUID, or its text on SQLite."""
    if not isinstance(id_, UUID):
        raise ConfigurationError(f"an id must be a uuid.UUID, not {type(id_).__name__}")
    return id_ if s.dialect.name == "postgresql" else str(id_)


def _claim(s: Statements, id_: UUID, attempts: int | None) -> Steps[Claim | None]:
    """The claim that a verb is fenced by; without attempts, the one that the row is under now."""
    found = yield from _get(s, id_)
    if found is None or found.status is not Status.PROCESSING:
        return None
    key, fence = key_of(s, id_), found.attempts if attempts is None else attempts
    rows = yield s.call("get", **s.key_values(key))
    return Claim(key, fence, generic_of(rows[0], s.layout), fence=(fence,)) if rows else None


def _changed(s: Statements, id_: UUID, outcomes: Sequence[Outcome]) -> Steps[Changed]:
    found = yield from _get(s, id_)
    return bool(outcomes[0]), found


def _get(s: Statements, id_: UUID) -> Steps[Job | None]:
    jobs = yield from _jobs(s, lambda t: t.c.id == param("id", t.c.id.type), {"id": key_of(s, id_)})
    return jobs[0] if jobs else None


def _jobs(
    s: Statements, where: Callable[[Any], Any], values: dict[str, Any], limit: int | None = None
) -> Steps[list[Job]]:
    table, layout = s.layout.base, s.layout
    assert layout.select is not None
    select = sa.select(*map(legible, table.c), *layout.select(table)).where(where(table))
    select = select.order_by(table.c.created_at, table.c.id)
    if limit is not None:
        select = select.limit(const(limit))
    labels = [str(column.key) for column in select.selected_columns]
    rows = yield s.compile("gqs_jobs", select).call(values)
    return [job_of(dict(zip(labels, row, strict=True))) for row in rows]
