"""What cchc does beyond rowqueue's verbs: jobs for items that have none, whole rows read and written, retries."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.errors import LeaseLost
from rowqueue.core.states import State
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.profiles import leases
from rowqueue.profiles.cchc.rows import FullText, Status, full_text_of
from rowqueue.sql.compiled import Call, Rows
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.terms import const, param
from rowqueue.sql.types import Instant

_ROUNDS = 20
_TEXT = sa.Text()


class Created(NamedTuple):
    """What a round of creating gave; ``held``: there are items left, but others hold them."""

    jobs: list[FullText]
    held: bool


class Items(NamedTuple):
    """The table of items, and which of them are eligible."""

    table: sa.Table
    eligible: Callable[[Any], ColumnElement[bool]]

    def unqueued(self, parts: Parts) -> sa.Select[Any]:
        """The ids of eligible items without a job for a destination."""
        jobs, item = parts.layout.base, self.table
        queued = sa.exists().where(
            jobs.c.item_id == item.c.id, jobs.c.destination == param("destination", _TEXT)
        )
        return sa.select(item.c.id).where(self.eligible(item), ~queued)


def create(items: Items, destination: str, limit: int) -> Operation[Created]:
    """Jobs for items that have none, by any number of creators at once.

    Each locks other items, so none waits for another; the lock is one that the foreign key's check
    of the insert does not meet. An item that got its job between the look and the lock is refused
    by the unique constraint, and the next look does not see it any more.
    """

    def steps(s: Statements) -> Steps[Created]:
        values = {"destination": destination, "limit": limit}
        unqueued = items.unqueued(s.parts)
        picked = unqueued.order_by(items.table.c.id).limit(param("limit", sa.Integer()))
        locked = s.compile("fulltext_pick", s.dialect.skip_locked(picked, items.table, weak=True))
        insert = s.compile("fulltext_create", _insert_new(s.parts))
        for _ in range(_ROUNDS):
            rows = yield Call(locked, values)
            if not rows:
                break
            columns: dict[str, list[Any]] = {
                "id": [key_of(s, uuid.uuid4()) for _ in rows],
                "item_id": [row[0] for row in rows],
            }
            packed = s.dialect.pack_rows("given", columns)
            made = yield Call(insert, {**packed, "destination": destination})
            if made:
                return Created(jobs_of(s, made), held=False)
        left = yield Call(s.compile("fulltext_left", unqueued.limit(1)), values)
        return Created([], held=bool(left))

    return Operation(steps, Access.TRANSACTION)


def _insert_new(parts: Parts) -> Any:
    table = parts.layout.base
    given = parts.rows({"id": table.c.id.type, "item_id": _TEXT})
    ready = parts.layout.fields["state"].codec.write(parts.state(State.AVAILABLE))
    source = sa.select(given.c.id, given.c.item_id, param("destination", _TEXT), ready).order_by(
        given.c.ordinal
    )
    source = source.where(const(1) == const(1))  # SQLite takes ON CONFLICT for a join without a WHERE
    names = ["id", "item_id", "destination", "status"]
    return parts.dialect.insert_new(table).from_select(names, source).returning(*_columns(parts))


def any_ready(destination: str) -> Operation[bool]:
    """Whether there is a ready job that others hold locked."""

    def steps(s: Statements) -> Steps[bool]:
        c = s.parts.c
        ready = sa.select(const(1)).where(c.is_in(State.AVAILABLE), c.queue == param("destination", _TEXT))
        rows = yield Call(s.compile("fulltext_ready", ready.limit(1)), {"destination": destination})
        return bool(rows)

    return Operation(steps, Access.READ)


def find(id_: uuid.UUID) -> Operation[FullText | None]:
    """One job by its id."""

    def steps(s: Statements) -> Steps[FullText | None]:
        return (yield from _find(s, id_, lock=False))

    return Operation(steps, Access.READ)


def save(job: FullText, duration: float, *, fenced: bool) -> Operation[FullText]:
    """Insert a job, or overwrite one that is as it was read, and that nobody else works.

    Args:
        job: what to write.
        duration: how long the lease of a job that starts lasts (seconds).
        fenced: False overwrites whatever is there.
    """

    def steps(s: Statements) -> Steps[FullText]:
        key, runs = key_of(s, job.id), job.status is Status.RUNNING
        holds = yield from leases.holds(s, key, job.claim, end=not runs)
        stands = yield from _find(s, job.id, lock=True)
        if stands is not None and fenced:
            _check(job, stands, holds)
        rows = yield Call(
            s.compile("fulltext_save", _write(s.parts, new=stands is None)),
            {
                "id": key,
                "item_id": job.item_id,
                "destination": job.destination,
                "started": job.started,
                "finished": job.finished,
                "status": job.status.value,
            },
        )
        (written,) = jobs_of(s, rows)
        if runs and not holds:
            return replace(written, claim=(yield from leases.take(s, key, written, duration)))
        return replace(written, claim=job.claim if runs else None)

    return Operation(steps, Access.TRANSACTION)


def _check(job: FullText, stands: FullText, holds: bool) -> None:
    if stands.status is Status.RUNNING and not holds:
        raise LeaseLost(f"job {job.id} is worked by somebody else: get it again when it has ended")
    if job.seen is not None and job.seen != stands.seen:
        raise LeaseLost(f"job {job.id} was written since it was read ({stands.status}): get it again")


def _write(parts: Parts, *, new: bool) -> Any:
    table, fields = parts.layout.base, parts.layout.fields
    values = {
        "item_id": param("item_id", _TEXT),
        "destination": param("destination", _TEXT),
        "started": fields["attempted_at"].codec.write(sa.cast(param("started", Instant()), Instant())),
        "finished": fields["finalized_at"].codec.write(sa.cast(param("finished", Instant()), Instant())),
        "status": fields["state"].codec.write(param("status", _TEXT)),
    }
    key = param("id", table.c.id.type)
    if new:
        return sa.insert(table).values(id=key, **values).returning(*_columns(parts))
    return sa.update(table).values(values).where(table.c.id == key).returning(*_columns(parts))


def retry(destination: str | None, *, delete: bool) -> Operation[int]:
    """skipped, failed → ready, in place, so that what refers to them stays; how many.

    Args:
        destination: of which destination; None is all.
        delete: remove them instead, so that creating makes them again: as the original, which fails where
            results refer to one.
    """

    def steps(s: Statements) -> Steps[int]:
        parts, c = s.parts, s.parts.c
        where = [c.is_in(State.SKIPPED, State.DISCARDED)]
        if destination is not None:
            where.append(c.queue == param("destination", _TEXT))
        fresh = {"state": parts.state(State.AVAILABLE), "attempted_at": sa.null(), "finalized_at": sa.null()}
        clause = sa.delete(parts.layout.base) if delete else parts.update(fresh)
        statement = s.compile("fulltext_retry", clause.where(*where).returning(*c.key))
        rows = yield Call(statement, {} if destination is None else {"destination": destination})
        return len(rows)

    return Operation(steps, Access.WRITE)


def status() -> Operation[dict[str, dict[Status, int]]]:
    """How many jobs each destination has in each status, as the view ``stats.job_status_ft`` counts them."""

    def steps(s: Statements) -> Steps[dict[str, dict[Status, int]]]:
        c = s.parts.c
        select = sa.select(c.queue, c.state, sa.func.count()).group_by(c.queue, c.state)
        rows = yield Call(s.compile("fulltext_status", select.order_by(c.queue)), {})
        counts: dict[str, dict[Status, int]] = {}
        for destination, word, count in rows:
            counts.setdefault(destination, {})[Status(word)] = count
        return counts

    return Operation(steps, Access.READ)


def key_of(s: Statements, id_: uuid.UUID) -> Any:
    """A job's id as the table's key: SQLite holds it as text."""
    return id_ if isinstance(s.layout.base.c.id.type, sa.Uuid) else str(id_)


def jobs_of(s: Statements, rows: Rows) -> list[FullText]:
    """Whole rows as jobs."""
    names = s.layout.base.c.keys()
    return [full_text_of(dict(zip(names, row, strict=True))) for row in rows]


def _columns(parts: Parts) -> list[Any]:
    """Every column, its status as text."""
    table = parts.layout.base
    return [sa.cast(column, _TEXT) if column.name == "status" else column for column in table.c]


def _find(s: Statements, id_: uuid.UUID, *, lock: bool) -> Steps[FullText | None]:
    table = s.layout.base
    select = sa.select(*_columns(s.parts)).where(table.c.id == param("id", table.c.id.type))
    statement = s.compile("fulltext_get", select.with_for_update() if lock else select)
    rows = yield Call(statement, {"id": key_of(s, id_)})
    return jobs_of(s, rows)[0] if rows else None
