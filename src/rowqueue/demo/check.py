"""Whether the demo kept its promises: every item accounted for, each indexed exactly once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rowqueue.core.states import State
from rowqueue.demo.database import reading
from rowqueue.demo.jobs import Demo

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the items.

    Attributes:
        items: how many there are.
        states: their jobs by state; ``pruned`` are indexed items whose job was deleted since.
        symbols: how many modules, classes and functions are in the index.
        rescued: how often a job was taken from a worker that was gone.
        retried: how often a failed attempt was run again.
        stale: attempts that were stopped because their worker had lost the lease.
    """

    items: int
    states: dict[str, int]
    symbols: int
    rescued: int
    retried: int
    stale: int

    @property
    def open(self) -> int:
        """Items whose job is not final."""
        return sum(
            count for state, count in self.states.items() if state in set(State) and not State(state).is_final
        )


def tally(demo: Demo) -> Tally:
    """Count."""
    item, job = demo.tables.item, demo.app.store.jobs
    state = sa.func.coalesce(job.c.state, "pruned")
    with reading(demo.engine).connect() as connection:
        joined = item.join(job, job.c.id == item.c.search_job, isouter=True)
        states = connection.execute(
            sa.select(state, sa.func.count()).select_from(joined).group_by(state)
        ).all()
        sums = sa.select(
            sa.func.coalesce(sa.func.sum(job.c.rescues), 0),
            sa.func.coalesce(sa.func.sum(job.c.failures), 0),
            sa.func.coalesce(sa.func.sum(sa.case((_failed_for_good(job), 1), else_=0)), 0),
        )
        rescued, failures, final = connection.execute(sums.select_from(joined)).one()
        symbols = _count(connection, demo.tables.symbol)
        stopped = demo.tables.stale.c
        stale = _count(connection, sa.select(stopped.job_id, stopped.lease).distinct().subquery())
    by_state: dict[str, int] = dict(states)
    return Tally(sum(by_state.values()), by_state, symbols, int(rescued), int(failures - final), stale)


def _failed_for_good(job: sa.Table) -> sa.ColumnElement[bool]:
    """Its last failure was not run again."""
    return sa.and_(job.c.state == State.DISCARDED.value, job.c.failures > 0)


def _count(connection: Connection, table: sa.FromClause) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def problems(demo: Demo) -> list[str]:
    """What does not hold, one line for each kind of breach; empty when all is well.

    Run it when nothing is worked any more.
    """
    with reading(demo.engine).connect() as connection:
        return breaches(demo, connection)


def breaches(demo: Demo, connection: Connection) -> list[str]:
    """``problems``, as one connection sees it."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in connection.execute(_standing(demo)):
        if (breach := _breach(row)) is not None:
            found[breach].append(row.name)
    lines = []
    for breach, names in sorted(found.items()):
        more = ", …" if len(names) > _EXAMPLES else ""
        lines.append(f"{breach}: {len(names)} ({', '.join(names[:_EXAMPLES])}{more})")
    return lines + _strays(demo, connection)


def _standing(demo: Demo) -> sa.Select[str, int | None, str | None, int | None, int, int]:
    """Each item with its job's state, what its completion said, and what is in the index."""
    item, symbol, job = demo.tables.item, demo.tables.symbol, demo.app.store.jobs
    counted = (
        sa.select(
            symbol.c.item_id,
            sa.func.count().label("symbols"),
            sa.func.sum(sa.case((symbol.c.kind == "module", 1), else_=0)).label("modules"),
        )
        .group_by(symbol.c.item_id)
        .subquery()
    )
    joined = item.join(job, job.c.id == item.c.search_job, isouter=True)
    joined = joined.join(counted, counted.c.item_id == item.c.id, isouter=True)
    return sa.select(
        item.c.name,
        item.c.search_job.label("job"),
        job.c.state,
        item.c.symbols.label("said"),
        sa.func.coalesce(counted.c.symbols, 0).label("indexed"),
        sa.func.coalesce(counted.c.modules, 0).label("modules"),
    ).select_from(joined)


def _breach(row: sa.Row[str, int | None, str | None, int | None, int, int]) -> str | None:
    _name, job, state, said, indexed, modules = row
    if job is None:
        return "items without a job"
    if state is None:
        completed = said is not None  # its job was pruned since
        if not completed:
            return "items whose job was lost"
    elif not State(state).is_final:
        return "items whose job is not final"
    else:
        completed = state == State.COMPLETED
    if not completed:
        return None if not indexed and said is None else "items that did not complete, but are in the index"
    if not indexed:
        return "completed items that are not in the index"
    if modules != 1:
        return "items that were indexed more than once"
    return None if indexed == said else "items with another number of symbols than their completion wrote"


def _strays(demo: Demo, connection: Connection) -> list[str]:
    """What belongs to no item."""
    item, symbol, job = demo.tables.item, demo.tables.symbol, demo.app.store.jobs
    lines = []
    orphans = ~sa.exists().where(item.c.id == symbol.c.item_id)
    if count := _count(connection, sa.select(symbol.c.id).where(orphans).subquery()):
        lines.append(f"symbols of no item: {count}")
    second = ~sa.exists().where(item.c.search_job == job.c.id)
    jobs = sa.select(job.c.id).where(job.c.kind == demo.index_file.kind, second)
    if count := _count(connection, jobs.subquery()):
        lines.append(f"jobs that no item knows: {count}")
    if connection.dialect.name == "sqlite":
        words = sa.table(f"{demo.tables.index_name}_docsize")
        if (count := _count(connection, words)) != (rows := _count(connection, symbol)):
            lines.append(f"the full-text index has {count} entries for {rows} symbols")
    return lines
