"""Reading rows of ``river_job``: by id, by a condition, page by page; and River's notifications."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from rowqueue.core import names, payload
from rowqueue.core.errors import ConfigurationError
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.profiles.river.rows import FINAL, JobRow, JobState, job_row
from rowqueue.sql.codecs import legible
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.terms import const, param
from rowqueue.sql.types import Instant

Where: TypeAlias = Callable[[Any], Any]
OrderBy: TypeAlias = Literal["id", "scheduled_at", "finalized_at", "time"]


def rows_where(
    s: Statements,
    where: Where,
    values: Mapping[str, Any],
    order: Sequence[Any] = (),
    limit: int | None = None,
) -> Steps[list[JobRow]]:
    """The rows that meet a condition."""
    table, layout = s.layout.base, s.layout
    assert layout.select is not None
    select = sa.select(*map(legible, table.c), *layout.select(table)).where(where(table)).order_by(*order)
    if limit is not None:
        select = select.limit(const(limit))
    statement = s.compile("river_rows", select)
    names_ = [str(column.key) for column in select.selected_columns]
    rows = yield statement.call(values)
    return [job_row(dict(zip(names_, row, strict=True))) for row in rows]


def rows_by_id(s: Statements, ids: Sequence[int]) -> Steps[dict[int, JobRow]]:
    """Rows by their ids."""
    if not ids:
        return {}
    among = param("ids", postgresql.ARRAY(sa.BigInteger()))
    rows = yield from rows_where(s, lambda table: table.c.id == sa.any_(among), {"ids": list(ids)})
    return {row.id: row for row in rows}


def get(id_: int) -> Operation[JobRow | None]:
    """One row, or None."""

    def steps(s: Statements) -> Steps[JobRow | None]:
        rows = yield from rows_by_id(s, [id_])
        return rows.get(id_)

    return Operation(steps, Access.READ)


def notify(s: Statements, topic: str, message: Mapping[str, Any]) -> Steps[None]:
    """Tell River's clients, when the transaction commits."""
    schema = s.layout.base.schema
    where = sa.func.current_schema() if schema is None else const(schema, sa.Text())
    channel = sa.func.concat(where, const(f".{topic}", sa.Text()))
    said = sa.func.pg_notify(channel, param("message", sa.Text()))
    yield s.compile("river_notify", sa.select(sa.cast(said, sa.Text()))).call(
        {"message": json.dumps(message)}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobListParams:
    """What to list, in which order, and from where.

    Args:
        ids, kinds, queues, priorities, states: only these; empty means all.
        tags_all: with all of these tags.
        tags_any: with at least one of these.
        metadata: whose metadata contains this object.
        where: from the table to one more SQLAlchemy condition.
        order_by: ``id``, ``scheduled_at``, ``finalized_at`` (final states only), or ``time``, the moment that
            matters in the states asked for.
        descending: the last first.
        after: the ``last_cursor`` of the page before.
        first: the most rows, 1 to 10,000.
    """

    ids: Collection[int] = ()
    kinds: Collection[str] = ()
    queues: Collection[str] = ()
    priorities: Collection[int] = ()
    states: Collection[JobState] = ()
    tags_all: Collection[str] = ()
    tags_any: Collection[str] = ()
    metadata: Mapping[str, Any] | None = None
    where: Where | None = None
    order_by: OrderBy = "id"
    descending: bool = False
    after: str | None = None
    first: int = 100

    @property
    def column(self) -> str:
        """The column that the order goes by.

        Raises:
            ConfigurationError: by ``finalized_at``, but not of final states only.
        """
        states = {JobState(state) for state in self.states}
        if self.order_by == "finalized_at" and (not states or states - FINAL):
            raise ConfigurationError(
                f"order_by finalized_at needs states, and only of {', '.join(sorted(FINAL))}: others have none"
            )
        if self.order_by != "time":
            return self.order_by
        if states and states <= FINAL:
            return "finalized_at"
        return "attempted_at" if states == {JobState.RUNNING} else "scheduled_at"


@dataclass(frozen=True, slots=True)
class JobListResult:
    """One page; pass ``last_cursor`` as ``after`` for the next one (None: that was the last)."""

    jobs: tuple[JobRow, ...]
    last_cursor: str | None


def list_jobs(params: JobListParams) -> Operation[JobListResult]:
    """One page of jobs; one that is inserted meanwhile moves none to a second page.

    Raises:
        ConfigurationError: a filter, the order or the cursor is wrong.
    """
    names.whole(params.first, "first", 1, 10_000)
    column = params.column
    values, conditions = _filters(params)
    after = None if params.after is None else _uncover(params.after, column)

    def where(table: Any) -> Any:
        made = [condition(table) for condition in conditions]
        if after is not None:
            keys: Any = sa.tuple_(table.c[column], table.c.id)
            place: Any = sa.tuple_(param("after_at", Instant()), param("after_id", sa.BigInteger()))
            if column == "id":
                keys, place = table.c.id, param("after_id", sa.BigInteger())
            made.append(keys < place if params.descending else keys > place)
        return sa.and_(sa.true(), *made)

    def steps(s: Statements) -> Steps[JobListResult]:
        table = s.layout.base
        order: list[Any] = [table.c[column], table.c.id] if column != "id" else [table.c.id]
        if params.descending:
            order = [key.desc() for key in order]
        given = values if after is None else values | after
        rows = yield from rows_where(s, where, given, order, params.first + 1)
        page = tuple(rows[: params.first])
        return JobListResult(page, _cover(page[-1], column) if len(rows) > params.first else None)

    return Operation(steps, Access.READ)


def _filters(params: JobListParams) -> tuple[dict[str, Any], list[Where]]:
    values: dict[str, Any] = {}
    conditions: list[Where] = [] if params.where is None else [params.where]
    for column, given, type_ in (
        ("id", params.ids, sa.BigInteger()),
        ("kind", params.kinds, sa.Text()),
        ("queue", params.queues, sa.Text()),
        ("priority", params.priorities, sa.SmallInteger()),
    ):
        if given:
            values[f"in_{column}"] = list(given)
            conditions.append(partial(_among, column, param(f"in_{column}", postgresql.ARRAY(type_))))
    if params.states:
        words = [const(JobState(state).value, sa.String()) for state in sorted(params.states)]
        conditions.append(lambda t: t.c.state.in_(words))
    for name, tags, operator in (("all", params.tags_all, "@>"), ("any", params.tags_any, "&&")):
        if tags:
            values[f"tags_{name}"] = names.texts(tags, "tags")
            asked = sa.cast(param(f"tags_{name}", postgresql.ARRAY(sa.Text())), postgresql.ARRAY(sa.String()))
            conditions.append(partial(_tagged, operator, asked))
    if params.metadata is not None:
        values["contained"] = payload.encode(dict(params.metadata), "metadata")
        contained = sa.cast(param("contained", sa.Text()), postgresql.JSONB())
        conditions.append(lambda t: t.c.metadata.contains(contained))
    return values, conditions


def _among(column: str, values: Any, table: Any) -> Any:
    return table.c[column] == sa.any_(values)


def _tagged(operator: str, tags: Any, table: Any) -> Any:
    return table.c.tags.bool_op(operator)(tags)


def _cover(row: JobRow, column: str) -> str:
    at = None if column == "id" else getattr(row, column).isoformat()
    return base64.urlsafe_b64encode(json.dumps([column, row.id, at]).encode()).decode()


def _uncover(cursor: str, column: str) -> dict[str, Any]:
    try:
        by, id_, at = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        found = {"after_id": int(id_)}
        if by != column:
            raise ValueError(by)
        return found if at is None else found | {"after_at": datetime.fromisoformat(at)}
    except (ValueError, TypeError, binascii.Error):
        raise ConfigurationError("after must be the last_cursor of a page in the same order") from None
