"""What jobqueue only reads: lookups, lists, counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.profiles.olivere.rows import Job, JobState, ListRequest, ListResponse, Stats, job_of
from rowqueue.sql.compiled import Call, Rows
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.terms import const, param

PAGE = 10
"""The limit of a listing that asks for 0."""


def jobs_of(s: Statements, rows: Rows) -> list[Job]:
    """Whole rows of the table as jobs."""
    names = s.layout.base.c.keys()
    return [job_of(dict(zip(names, row, strict=True))) for row in rows]


def _where(select: Any, table: sa.Table, filters: Mapping[str, str]) -> Any:
    return select.where(*(table.c[name] == param(name, sa.Text()) for name in filters))


def find(filters: Mapping[str, str], limit: int | None) -> Operation[list[Job]]:
    """All jobs with these values, oldest first."""

    def steps(s: Statements) -> Steps[list[Job]]:
        table = s.layout.base
        select = _where(sa.select(*table.c), table, filters).order_by(table.c.created, table.c.id)
        rows = yield Call(s.compile("jobqueue_find", select.limit(limit)), filters)
        return jobs_of(s, rows)

    return Operation(steps, Access.READ)


def foremost() -> Operation[Job | None]:
    """The original's Next: the waiting job of the highest rank and priority, due or not, and left as it is."""

    def steps(s: Statements) -> Steps[Job | None]:
        table = s.layout.base
        waiting = sa.select(*table.c).where(table.c.state == const(JobState.WAITING.value, sa.String()))
        select = waiting.order_by(table.c.rank.desc(), table.c.priority.desc()).limit(1)
        rows = yield Call(s.compile("jobqueue_next", select), {})
        return jobs_of(s, rows)[0] if rows else None

    return Operation(steps, Access.READ)


def stats(topic: str, correlation_group: str) -> Operation[Stats]:
    """Counts by state, in one statement."""
    filters = _given({"topic": topic, "correlation_group": correlation_group})

    def steps(s: Statements) -> Steps[Stats]:
        table = s.layout.base
        select = _where(sa.select(table.c.state, sa.func.count()), table, filters).group_by(table.c.state)
        rows = yield Call(s.compile("jobqueue_stats", select), filters)
        return Stats(**{JobState(state).value: count for state, count in rows})

    return Operation(steps, Access.READ)


def page(request: ListRequest) -> Operation[ListResponse]:
    """One page by offset, last written first, and the count of all pages."""
    filters = _given(
        {
            "topic": request.topic,
            "correlation_group": request.correlation_group,
            "correlation_id": request.correlation_id,
            "state": request.state,
        }
    )
    limit = PAGE if request.limit == 0 else max(0, request.limit)
    offset = max(0, request.offset)

    def steps(s: Statements) -> Steps[ListResponse]:
        table = s.layout.base
        count = _where(sa.select(sa.func.count()).select_from(table), table, filters)
        total = yield Call(s.compile("jobqueue_count", count), filters)
        select = _where(sa.select(*table.c), table, filters).order_by(table.c.last_mod.desc(), table.c.id)
        rows = yield Call(s.compile("jobqueue_list", select.limit(limit).offset(offset)), filters)
        return ListResponse(int(total[0][0]), tuple(jobs_of(s, rows)))

    return Operation(steps, Access.READ)


def _given(filters: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in filters.items() if value}
