"""What jobqueue writes beyond rowqueue's verbs: Create, Delete, Update, and Start with MarkAsFailed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from rowqueue.core.states import State
from rowqueue.core.values import Outcome
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.profiles import leases
from rowqueue.profiles.olivere.reading import jobs_of
from rowqueue.profiles.olivere.rows import ErrNotFound, Job, JobState, values_of
from rowqueue.profiles.olivere.table import later, moment
from rowqueue.sql.compiled import Call
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.terms import param


def create(job: Job, *, due_now: bool = False) -> Operation[Job]:
    """Insert a job.

    Args:
        job: as it is to be; without a time of creation it gets the present one.
        due_now: its priority is that of a job that is due now, so that jobs run in the order of their creation.
    """
    values = {**values_of(job), "clock": time.time_ns()}

    def steps(s: Statements) -> Steps[Job]:
        table = s.layout.base
        given: dict[str, Any] = {name: param(name, table.c[name].type) for name in values if name != "clock"}
        clock = moment(s.dialect, param("clock", sa.BigInteger()))
        given["created"] = given["last_mod"] = given["created"] if job.created else clock
        if due_now:
            given["priority"] = -clock
        insert = sa.insert(table).values(given)
        rows = yield Call(s.compile("jobqueue_create", insert.returning(*table.c)), values)
        return jobs_of(s, rows)[0]

    return Operation(steps, Access.WRITE)


def update(job: Job, duration: float, *, fenced: bool) -> Operation[Job]:
    """Overwrite a job that was not written since it was read, and that is nobody else's.

    A row that becomes working gets a lease, and one that stops working loses it; so a job that was
    claimed by ``update``, as the original does, is fenced like any other.

    Args:
        job: what to write; ``updated`` is what its ``last_mod`` must be.
        duration: how long the lease of a new claim lasts (seconds).
        fenced: a working job is written by its own claim only.
    """
    values = values_of(job)

    def steps(s: Statements) -> Steps[Job]:
        working = job.state == JobState.WORKING
        holds = yield from leases.holds(s, job.id, job.claim, end=not working)
        stands = yield from _locked(s, job.id)
        if stands is None or stands.updated != job.updated:
            raise _not_found(job.id)
        if stands.state is JobState.WORKING and fenced and not holds:
            raise _not_found(job.id)
        table = s.layout.base
        given = {name: param(name, table.c[name].type) for name in values if name != "id"}
        changed = sa.update(table).values({**given, "last_mod": later(s.parts)})
        changed = changed.where(table.c.id == param("id", sa.Text())).returning(*table.c)
        rows = yield Call(s.compile("jobqueue_update", changed), values)
        (written,) = jobs_of(s, rows)
        if working and stands.state is not JobState.WORKING:
            return replace(written, claim=(yield from leases.take(s, job.id, written, duration)))
        return replace(written, claim=job.claim if working else None)

    return Operation(steps, Access.TRANSACTION)


def delete(job: Job | str) -> Operation[Outcome]:
    """Remove a job; a working one by its own claim only."""
    id_ = job if isinstance(job, str) else job.id

    def steps(s: Statements) -> Steps[Outcome]:
        holds = False if isinstance(job, str) else (yield from leases.holds(s, id_, job.claim, end=True))
        stands = yield from _locked(s, id_)
        if stands is None:
            return Outcome(id_, "gone")
        state = s.layout.state_of(stands.state.value)
        if stands.state is JobState.WORKING and not holds:
            return Outcome(id_, "wrong_state", state)
        table = s.layout.base
        clause = sa.delete(table).where(table.c.id == param("id", sa.Text()))
        yield Call(s.compile("jobqueue_delete", clause), {"id": id_})
        return Outcome(id_, None, state)

    return Operation(steps, Access.TRANSACTION)


def mark_as_failed(*, spare_living: bool) -> Operation[int]:
    """working → failed, for jobs that were left behind by managers of before."""

    def steps(s: Statements) -> Steps[int]:
        parts, c, sidecar = s.parts, s.parts.c, s.layout.sidecar
        assert sidecar is not None
        failed = parts.update({"state": parts.state(State.DISCARDED), "finalized_at": parts.now()})
        failed = failed.values(last_mod=later(parts)).where(c.is_in(State.RUNNING))
        if spare_living:
            lives = sa.exists().where(sidecar.c.id == c.key[0], sidecar.c.leased_until >= parts.now())
            failed = failed.where(~lives)
        rows = yield Call(s.compile("jobqueue_start", failed.returning(*c.key)), {})
        return len(rows)

    return Operation(steps, Access.WRITE)


def _locked(s: Statements, id_: str) -> Steps[Job | None]:
    table = s.layout.base
    select = sa.select(*table.c).where(table.c.id == param("id", sa.Text()))
    rows = yield Call(s.compile("jobqueue_lock", select.with_for_update()), {"id": id_})
    return jobs_of(s, rows)[0] if rows else None


def _not_found(id_: str) -> ErrNotFound:
    return ErrNotFound(
        f"job {id_} is gone, or was written since it was read, or somebody else works it: look it up"
    )
