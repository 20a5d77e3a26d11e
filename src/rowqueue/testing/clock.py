"""Moving the clock: the database's own cannot be moved, so every moment that the tables keep is moved back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from rowqueue.core.values import Seconds, seconds_of
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.sql.compiled import Call
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.types import Instant


def travel(time: Seconds) -> Operation[None]:
    """Make it look as if so much time had passed since everything in the tables.

    What was due in an hour is due now, leases run out, and final jobs are older; log entries and the times
    inside a job's errors stay.

    Args:
        time: how far (seconds or timedelta).
    """
    seconds = seconds_of(time, "travel(time)")

    def steps(s: Statements) -> Steps[None]:
        tables = s.parts.tables
        for table in (tables.job, tables.worker, tables.ranges):
            moments = [column for column in table.c if isinstance(column.type, Instant)]
            update = sa.update(table).values({column: _earlier(s, column, seconds) for column in moments})
            yield Call(s.compile("travel", update), {})

    return Operation(steps, Access.TRANSACTION)


def _earlier(s: Statements, column: sa.Column[Any], seconds: float) -> Any:
    if s.dialect.name == "sqlite":  # whole microseconds
        return sa.type_coerce(column, sa.BigInteger) - sa.literal(round(seconds * 1e6), sa.BigInteger)
    if s.dialect.name == "postgresql":
        return column - sa.literal(timedelta(seconds=seconds), sa.Interval())
    microseconds = sa.literal(-round(seconds * 1e6), sa.BigInteger)
    return sa.func.timestampadd(sa.text("MICROSECOND"), microseconds, column)
