"""The operations behind River's verbs."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from rowqueue.core.errors import UniqueConflict
from rowqueue.core.finish import Finish
from rowqueue.core.states import State
from rowqueue.core.values import Claim, Outcome
from rowqueue.operations import finish as finishing
from rowqueue.operations.answers import standing
from rowqueue.operations.base import Access, Operation, Steps, savepoint
from rowqueue.operations.decode import job_of, key_of
from rowqueue.profiles.river import reading, statements
from rowqueue.profiles.river.rows import JobRow, JobScheduleResult, JobState
from rowqueue.sql.compiled import Call
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.terms import param

Stuck = tuple[JobRow, tuple[object, ...]]
"""A job that was left, and its fence when it was found."""


def cancel(id_: int) -> Operation[JobRow | None]:
    """Cancel, or ask River's clients to where it runs; the row afterwards."""

    def steps(s: Statements) -> Steps[JobRow | None]:
        done = yield s.call("cancel_by_key", **s.pack_keys([id_]), error=None)
        rows = yield from reading.rows_by_id(s, [id_])
        row = rows.get(id_)
        if row is not None and done and row.state is JobState.RUNNING:
            asked = {"action": "cancel", "job_id": id_, "queue": row.queue}
            yield from reading.notify(s, "river_control", asked)
        return row

    return Operation(steps, Access.TRANSACTION)


def retry(id_: int, *, seed: bool) -> Operation[tuple[JobRow | None, int | None]]:
    """The row afterwards, and the job that holds its unique key (0: it has let go), if that was in the way."""

    def steps(s: Statements) -> Steps[tuple[JobRow | None, int | None]]:
        call = s.call("retry", **s.pack_keys([id_]))
        try:
            if seed:
                yield call
            else:
                yield from savepoint(call, s)
        except UniqueConflict:
            if seed:
                raise
            rival = yield from _rival(s, id_)
            return None, rival
        rows = yield from reading.rows_by_id(s, [id_])
        return rows.get(id_), None

    return Operation(steps, Access.TRANSACTION)


def _rival(s: Statements, id_: int) -> Steps[int]:
    table = s.layout.base
    key = sa.select(table.c.unique_key).where(table.c.id == param("id", sa.BigInteger())).scalar_subquery()
    other = table.alias("other")
    select = sa.select(other.c.id).where(
        other.c.unique_key == key,
        statements.in_mask(table.schema, other),
        other.c.id != param("id", sa.BigInteger()),
    )
    rows = yield s.compile("river_rival", select).call({"id": id_})
    return int(rows[0][0]) if rows else 0


def delete(id_: int) -> Operation[tuple[JobRow | None, bool]]:
    """The row as it was, and whether it is gone."""

    def steps(s: Statements) -> Steps[tuple[JobRow | None, bool]]:
        rows = yield from reading.rows_by_id(s, [id_])
        gone = yield s.call("delete", **s.pack_keys([id_]))
        return rows.get(id_), bool(gone)

    return Operation(steps, Access.TRANSACTION)


def schedule(limit: int) -> Operation[list[JobScheduleResult]]:
    """scheduled, retryable → available, or discarded by a unique conflict."""

    def steps(s: Statements) -> Steps[list[JobScheduleResult]]:
        c = s.parts.c
        statement = s.compile("river_schedule", statements.schedule(s.parts).returning(*c.key, c.state))
        moved = yield statement.call({"limit": limit})
        rows = yield from reading.rows_by_id(s, [key for key, _ in moved])
        return [
            JobScheduleResult(rows[key], word == JobState.DISCARDED.value)
            for key, word in moved
            if key in rows
        ]

    return Operation(steps, Access.TRANSACTION)


def stuck(limit: int) -> Operation[list[Stuck]]:
    """The running jobs that nobody seems to work any more, each with its fence."""

    def steps(s: Statements) -> Steps[list[Stuck]]:
        found = yield s.compile("river_stuck", statements.stuck(s.parts)).call({"limit": limit})
        rows = yield from reading.rows_by_id(s, [row[0] for row in found])
        return [(rows[row[0]], tuple(row[1:])) for row in found if row[0] in rows]

    return Operation(steps, Access.READ)


def rescue_many(jobs: Sequence[Stuck], *, seed: bool) -> Operation[list[JobRow]]:
    """Rescue jobs that ``stuck`` found; what changed since is left alone, unless the seed's answer is asked for."""

    def steps(s: Statements) -> Steps[list[JobRow]]:
        columns = s.claim_columns([row.id for row, _ in jobs], [fence for _, fence in jobs])
        statement = s.compile("river_rescue", statements.rescue_given(s.parts, seed=seed))
        done = yield Call(statement, s.dialect.pack_rows("given", columns))
        rows = yield from reading.rows_by_id(s, [key_of(row, s.layout) for row in done])
        return list(rows.values())

    return Operation(steps, Access.TRANSACTION)


def fenced(item: Finish) -> Operation[Outcome]:
    """End one claim."""
    whole = finishing.finish([item])

    def steps(s: Statements) -> Steps[Outcome]:
        outcomes = yield from whole.steps(s)
        return outcomes[0]

    return Operation(steps, whole.access)


def unfenced(id_: int, make: Callable[[Claim], Finish]) -> Operation[Outcome]:
    """End whatever claim the running job is under now, as River does."""

    def steps(s: Statements) -> Steps[Outcome]:
        found = yield from standing(s, [id_])
        row = found.get(id_)
        if row is None or row.state is not State.RUNNING:
            return Outcome(id_, "gone") if row is None else row.outcome(id_, "wrong_state")
        got = yield s.call("get", **s.key_values(id_))
        claim = Claim(id_, 0, job_of(got[0], s.layout), fence=row.fence)
        outcomes = yield from finishing.finish([make(claim)]).steps(s)
        return outcomes[0]

    return Operation(steps, Access.TRANSACTION)


def trace_of(error: BaseException) -> str:
    """The traceback of an exception, as River keeps a panic's."""
    return "".join(traceback.format_exception(error))
