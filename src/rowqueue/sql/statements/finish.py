"""A worker's verbs: every one is guarded by key, lease and ``running``."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rowqueue.core.states import State
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import const, param
from rowqueue.sql.types import JsonText


def _finish(parts: Parts, given: Any, target: Any, finalized: Any, values: dict[str, Any]) -> Any:
    common = {"state": target, "leased_until": sa.null(), "finalized_at": finalized}
    update = parts.update(common | values).where(parts.fenced(given))
    return update.returning(*parts.c.key, parts.c.state)


def _give_back(parts: Parts, given: Any, state: State, values: dict[str, Any]) -> Any:
    back = {"attempt": parts.c.attempt - const(1)}
    finalized = sa.case((parts.cancel_asked(), parts.now())) if parts.can_cancel else sa.null()
    return _finish(parts, given, parts.unless_cancelled(parts.state(state)), finalized, back | values)


def complete(parts: Parts) -> Any:
    """running → completed."""
    given = parts.claims({"result": sa.Text()})
    values = {"result": sa.cast(given.c.result, JsonText())}
    return _finish(parts, given, parts.state(State.COMPLETED), parts.now(), values)


def fail(parts: Parts) -> Any:
    """running → retryable, available or discarded, as the policy decided; the error is appended."""
    given = parts.claims({"state": sa.Text(), "delay": sa.Double(), "error": sa.Text()})
    c = parts.c
    later = given.c.state == parts.state(State.RETRYABLE)
    values = {
        "failures": c.failures + const(1),
        "errors": parts.with_error(given.c.error),
        "scheduled_at": sa.case((later, parts.dialect.later(given.c.delay)), else_=c.scheduled_at),
    }
    target = parts.unless_cancelled(given.c.state)
    return _finish(parts, given, target, parts.when_final(target), values)


def snooze(parts: Parts) -> Any:
    """running → scheduled; the attempt is given back."""
    given = parts.claims({"delay": sa.Double()})
    values = {
        "snoozes": parts.c.snoozes + const(1),
        "scheduled_at": parts.dialect.later(given.c.delay),
    }
    return _give_back(parts, given, State.SCHEDULED, values)


def release(parts: Parts) -> Any:
    """running → available; the attempt is given back."""
    return _give_back(parts, parts.claims(), State.AVAILABLE, {})


def _end(parts: Parts, target: Any) -> Any:
    given = parts.claims({"error": sa.Text()})
    return _finish(parts, given, target, parts.now(), {"errors": parts.with_error_given(given.c.error)})


def skip(parts: Parts) -> Any:
    """running → skipped, by its worker."""
    return _end(parts, parts.unless_cancelled(parts.state(State.SKIPPED)))


def cancel(parts: Parts) -> Any:
    """running → cancelled, by its worker."""
    return _end(parts, parts.state(State.CANCELLED))


def discard(parts: Parts) -> Any:
    """running → discarded, by its worker."""
    return _end(parts, parts.unless_cancelled(parts.state(State.DISCARDED)))


def extend(parts: Parts) -> Any:
    """running → running: all leases of a worker, in key order, passing over its locked rows.

    A row that is locked is being written by its own handler (an open ``complete_in``): waiting for
    it would stop the renewal of all the others.
    """
    given = parts.claims()
    held = parts.alias("held")
    mine = (
        sa.select(*held.key)
        .select_from(sa.join(held.table, given, sa.and_(*parts.keys_match(held, given))))
        .where(*parts.fences_match(held, given), held.is_in(State.RUNNING))
        .order_by(*held.key)
    )
    renewed = {
        "leased_until": parts.dialect.later(param("duration", sa.Double())),
        "heartbeat_at": parts.now(),
    }
    update = parts.update(renewed).where(parts.is_one_of(held, parts.by_key(mine, held), weak=True))
    # The column itself: SQLite 3.40.1 answers 1 for ``NULL IS NOT NULL`` in this RETURNING.
    return update.returning(*parts.c.key, parts.c.cancel_requested_at)


def progress(parts: Parts) -> Any:
    """How far the job is, for people who watch."""
    c = parts.c
    update = parts.update({"progress": param("progress", JsonText())})
    return update.where(parts.is_key(c), parts.is_fence(c), c.is_in(State.RUNNING)).returning(*c.key)


def add_log(parts: Parts) -> Any:
    """One more entry of the execution log."""
    c, log = parts.c, parts.tables.log
    source = sa.select(c.id, c.lease, parts.now(), param("entry", JsonText())).where(
        c.id == param("id", sa.BigInteger()),
        c.lease == param("lease", sa.BigInteger()),
        c.is_in(State.RUNNING),
    )
    insert = sa.insert(log).from_select(["job_id", "lease", "at", "entry"], source, include_defaults=False)
    return insert.returning(log.c.seq)


def update_log(parts: Parts) -> Any:
    """A new text for an entry that this claim wrote."""
    c, log = parts.c, parts.tables.log
    running = sa.exists().where(c.id == log.c.job_id, c.lease == log.c.lease, c.is_in(State.RUNNING))
    update = sa.update(log).values(entry=param("entry", JsonText()))
    return update.where(
        log.c.seq == param("seq", sa.BigInteger()),
        log.c.job_id == param("id", sa.BigInteger()),
        log.c.lease == param("lease", sa.BigInteger()),
        running,
    ).returning(log.c.seq)
