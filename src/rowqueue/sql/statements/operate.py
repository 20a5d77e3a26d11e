"""A person's verbs: guarded by the state, and taking the lease away from whoever holds it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rowqueue.core.states import State, Verb, sources_of
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import const, param


def _update(parts: Parts, verb: Verb, values: dict[str, Any]) -> Any:
    c = parts.c
    states = sources_of(verb, fenced=False)
    update = parts.update(values).where(parts.among(c), c.is_in(*sorted(states)))
    return update.returning(*c.key, c.queue, c.state, c.lease)


def _end(parts: Parts, verb: Verb, state: State) -> Any:
    c = parts.c
    values = {
        "state": parts.state(state),
        "lease": c.lease + const(1),
        "leased_until": sa.null(),
        "finalized_at": parts.now(),
        "errors": parts.with_error_given(param("error", sa.Text())),
    }
    return _update(parts, verb, values)


def skip_by_key(parts: Parts) -> Any:
    """Waiting → skipped."""
    return _end(parts, Verb.SKIP, State.SKIPPED)


def discard_by_key(parts: Parts) -> Any:
    """Unfinished → discarded; a running job's worker loses its lease."""
    return _end(parts, Verb.DISCARD, State.DISCARDED)


def cancel_by_key(parts: Parts) -> Any:
    """Waiting → cancelled; running → flagged, for its worker to see at the next renewal."""
    c = parts.c
    running = c.is_in(State.RUNNING)
    values = {
        "state": sa.case((running, parts.state(State.RUNNING)), else_=parts.state(State.CANCELLED)),
        "lease": sa.case((running, c.lease), else_=c.lease + const(1)),
        "finalized_at": sa.case((running, sa.null()), else_=parts.now()),
        "cancel_requested_at": sa.func.coalesce(c.cancel_requested_at, parts.now()),
        "errors": parts.with_error_given(param("error", sa.Text())),
    }
    return _update(parts, Verb.CANCEL, values)


def retry(parts: Parts) -> Any:
    """Any but running → available, with one more attempt where they were used up."""
    c = parts.c
    used_up = c.attempt >= c.max_attempts
    values = {
        "state": parts.state(State.AVAILABLE),
        "lease": c.lease + const(1),
        "scheduled_at": parts.now(),
        "finalized_at": sa.null(),
        "cancel_requested_at": sa.null(),
        "max_attempts": sa.case((used_up, c.attempt + const(1)), else_=c.max_attempts),
    }
    return _update(parts, Verb.RETRY, values)


def promote(parts: Parts) -> Any:
    """pending, scheduled, retryable → available, now."""
    c = parts.c
    values = {
        "state": parts.state(State.AVAILABLE),
        "lease": c.lease + const(1),
        "scheduled_at": sa.case((c.scheduled_at > parts.now(), parts.now()), else_=c.scheduled_at),
    }
    return _update(parts, Verb.PROMOTE, values)


def delete(parts: Parts) -> Any:
    """Final → gone."""
    c = parts.c
    final = sorted(sources_of(Verb.DELETE, fenced=False))
    return sa.delete(parts.layout.base).where(parts.among(c), c.is_in(*final)).returning(*c.key)


def delete_log(parts: Parts) -> Any:
    """The execution logs of jobs that are gone."""
    log = parts.tables.log
    return sa.delete(log).where(parts.dialect.among(log.c.job_id, "keys", sa.BigInteger()))


def pause(parts: Parts) -> Any:
    """Stop claims from a queue; returns its name where it was not paused already."""
    table = parts.tables.queue
    update = sa.update(table).values(paused_at=parts.now())
    return update.where(table.c.name == param("name", sa.Text()), table.c.paused_at.is_(None)).returning(
        table.c.name
    )


def add_queue(parts: Parts) -> Any:
    """A row for a queue that has none yet."""
    return parts.dialect.insert_new(parts.tables.queue).values(name=param("name", sa.Text()))


def resume(parts: Parts) -> Any:
    """Let claims from a queue go on; returns its name where it was paused."""
    table = parts.tables.queue
    update = sa.update(table).values(paused_at=sa.null())
    return update.where(table.c.name == param("name", sa.Text()), table.c.paused_at.is_not(None)).returning(
        table.c.name
    )


def count_unclaimable(parts: Parts) -> Any:
    """Count jobs of kinds that the claimer did not know."""
    table = parts.tables.kind
    values = {table.c.unclaimable: table.c.unclaimable + param("count", sa.BigInteger())}
    update = sa.update(table).values({**values, table.c.unclaimable_at: parts.now()})
    return update.where(table.c.name == param("name", sa.Text())).returning(table.c.name)


def add_unclaimable(parts: Parts) -> Any:
    """The first job of a kind that the claimer did not know."""
    return parts.dialect.insert_new(parts.tables.kind).values(
        name=param("name", sa.Text()), unclaimable=const(0), unclaimable_at=parts.now()
    )


def forget_kinds(parts: Parts) -> Any:
    """Kinds that a worker knows now."""
    table = parts.tables.kind
    return sa.delete(table).where(parts.dialect.among(table.c.name, "kinds", sa.Text()))


def heartbeat(parts: Parts) -> Any:
    """A worker that is there already says so again."""
    table = parts.tables.worker
    update = sa.update(table).values(seen_at=parts.now(), idle=param("idle", sa.Boolean()))
    return update.where(table.c.id == param("id", sa.Text())).returning(table.c.id)


def add_worker(parts: Parts) -> Any:
    """A worker that is new."""
    table = parts.tables.worker
    return parts.dialect.insert_new(table).values(
        {name: param(name, table.c[name].type) for name in ("id", "idle", "queues", "kinds")}
        | {"started_at": parts.now(), "seen_at": parts.now()}
    )


def forget_worker(parts: Parts) -> Any:
    """A worker that stopped."""
    table = parts.tables.worker
    return sa.delete(table).where(table.c.id == param("id", sa.Text()))


def forget_silent_workers(parts: Parts) -> Any:
    """Workers not heard of since a moment."""
    table = parts.tables.worker
    return sa.delete(table).where(table.c.seen_at < parts.dialect.later(param("offset", sa.Double())))
