"""River's queues: pause and resume, as its own clients write them into ``river_queue``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from rowqueue.core.errors import ConfigurationError
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.profiles.river import reading
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.terms import param
from rowqueue.sql.types import Instant

ALL = "*"


@dataclass(frozen=True, slots=True)
class Queue:
    """A row of ``river_queue``."""

    name: str
    created_at: datetime
    metadata: Mapping[str, Any] = field(repr=False)
    paused_at: datetime | None
    updated_at: datetime


def _table(s: Statements) -> sa.TableClause:
    return sa.table(
        "river_queue",
        sa.column("name", sa.Text()),
        sa.column("created_at", Instant()),
        sa.column("metadata", postgresql.JSONB()),
        sa.column("paused_at", Instant()),
        sa.column("updated_at", Instant()),
        schema=s.layout.base.schema,
    )


def queue_list() -> Operation[list[Queue]]:
    """All queues that a client has worked, by name."""

    def steps(s: Statements) -> Steps[list[Queue]]:
        table = _table(s)
        rows = yield s.compile("river_queues", sa.select(*table.c).order_by(table.c.name)).call({})
        return [Queue(*row) for row in rows]

    return Operation(steps, Access.READ)


def pause(name: str, *, paused: bool) -> Operation[bool]:
    """Pause or resume a queue, or all by ``*``; False where there is no such queue.

    A queue that is paused already keeps the time at which it was.
    """
    if not name:
        raise ConfigurationError("name a queue, or '*' for all of them")

    def steps(s: Statements) -> Steps[bool]:
        table = _table(s)
        now = s.dialect.now()
        update = sa.update(table).values(
            paused_at=sa.func.coalesce(table.c.paused_at, now) if paused else sa.null(),
            updated_at=sa.case(
                (table.c.paused_at.is_(None) if paused else table.c.paused_at.is_not(None), now),
                else_=table.c.updated_at,
            ),
        )
        if name != ALL:
            update = update.where(table.c.name == param("name", sa.Text()))
        values = {} if name == ALL else {"name": name}
        rows = yield s.compile("river_pause", update.returning(table.c.name)).call(values)
        if rows:
            action = {"action": "pause" if paused else "resume", "queue": name}
            yield from reading.notify(s, "river_control", action)
        return bool(rows) or name == ALL

    return Operation(steps, Access.TRANSACTION)
