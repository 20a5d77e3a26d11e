"""What a mapping has, what it lacks and what that switches off, and whether its claim has an index."""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.states import State
from rowqueue.core.values import Finding
from rowqueue.sql.layout import Layout
from rowqueue.sql.locked import Locked
from rowqueue.sql.mapping import KNOWN
from rowqueue.sql.migrations import create_index
from rowqueue.sql.statements.catalog import Statements
from rowqueue.store.database import Database
from rowqueue.store.doctor import connect

_WITHOUT = {
    "scheduled_at": "no delays: snooze and retry delays are refused",
    "finalized_at": "final rows keep no time, so prune finds none",
    "failures": "failures are not counted",
    "rescues": "crashes are not counted, so only attempts end a job that kills its worker",
    "attempt": "starts are counted as failures + 1",
    "errors": "errors are not kept",
    "attempted_by": "nobody can see who works a row",
    "cancel_requested_at": "a running row cannot be cancelled",
    "progress": "progress is not kept",
    "result": "results are not kept",
}


def check(database: Database, statements: Statements) -> list[Finding]:
    """Look at a table of the user's through its mapping.

    Raises:
        DatabaseUnavailable: it cannot be reached.
    """
    layout = statements.layout
    return [*_columns(layout), *_states(layout), *_ownership(layout), *_plan(database, statements)]


def _columns(layout: Layout) -> Iterator[Finding]:
    name = layout.base.fullname
    mapped = [f"{ours}={layout.fields[ours].name}" for ours in KNOWN if layout.has(ours)]
    yield Finding("mapping", ok=True, message=f"{name}: {', '.join(mapped)}")
    for ours, loss in _WITHOUT.items():
        if not layout.has(ours):
            remedy = f"map a column: columns={{'{ours}': ...}}"
            yield Finding("feature", ok=True, message=f"no column for {ours}: {loss}", remedy=remedy)


def _states(layout: Layout) -> Iterator[Finding]:
    folded = {State.SCHEDULED, State.RETRYABLE}
    for state in State:
        if state in layout.states:
            continue
        effect = "rows wait as available, with their due time" if state in folded else "its verbs are refused"
        yield Finding("state", ok=True, message=f"no word for {state}: {effect}")


def _ownership(layout: Layout) -> Iterator[Finding]:
    if layout.sidecar is not None:
        yield Finding("fence", ok=True, message=f"lease and expiry are kept in {layout.sidecar.fullname}")
    else:
        columns = ", ".join(layout.fields[name].name for name in layout.fence)
        yield Finding("fence", ok=True, message=f"a claim is told from another by {columns}")
    if layout.rescue_after is None:
        foreign = "rows that other programs left running stay so"
        yield Finding("rescue", ok=True, message=foreign, remedy="rescue_after= rescues them by age")
    else:
        age = f"rows that other programs left running are rescued after {layout.rescue_after:g} s"
        yield Finding("rescue", ok=True, message=age)


def _plan(database: Database, statements: Statements) -> Iterator[Finding]:
    layout, claim = statements.layout, statements["claim"]
    if isinstance(claim, Locked):
        claim = claim.first
    parameters = claim.bind({"limit": 1, "wanted": 1, "passed": 0, "duration": 1.0, "worker": None})
    with connect(database) as connection:
        if database.name == "sqlite":
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {claim.sql}", parameters).all()
            plan = [str(row[-1]) for row in rows]
        elif database.name == "mariadb":
            text = _through_indexes(connection, claim.sql, layout)
            rows = connection.exec_driver_sql(f"EXPLAIN {text}", parameters).all()
            plan = [
                f"{row.table}: {row.type} {row.key or 'ALL'}{'; ' if row.Extra else ''}{row.Extra}"
                for row in rows
            ]
        else:
            # With scans and sorts switched off, what is left of one says that no index can serve the claim.
            for way in ("seqscan", "bitmapscan", "sort"):
                connection.exec_driver_sql(f"SET LOCAL enable_{way} = off")
            plan = [
                str(row[0]) for row in connection.exec_driver_sql(f"EXPLAIN {claim.sql}", parameters).all()
            ]
        connection.rollback()
    yield Finding("plan", ok=True, message="\n".join(plan))
    scans = re.compile(rf"Seq Scan on {re.escape(layout.base.name)}|SCAN ready\b(?! USING)|^ready: ALL")
    sorts = re.compile(r"\bSort\b|TEMP B-TREE FOR|Using filesort")
    if any(scans.search(line) or sorts.search(line) for line in plan):
        remedy = create_index(_index(layout), statements.driver)
        yield Finding("index", ok=False, message="no index serves the claim in its order", remedy=remedy)
    else:
        yield Finding("index", ok=True, message="an index serves the claim")


def _through_indexes(connection: sa.Connection, sql: str, layout: Layout) -> str:
    """The claim by an index, whichever can serve it: a small table would be read whole otherwise."""
    if layout.view is not None:
        return sql
    inspect = sa.inspect(connection)
    found = inspect.get_indexes(layout.base.name, schema=layout.base.schema)
    quote = connection.dialect.identifier_preparer.quote
    names = ["PRIMARY", *(quote(str(index["name"])) for index in found)]
    return sql.replace(" AS ready", f" AS ready FORCE INDEX ({', '.join(names)})", 1)


def _index(layout: Layout) -> sa.Index:
    """The index of the ready rows in claim order, as far as the order is by columns of the base table."""
    base = layout.base.to_metadata(sa.MetaData())
    source = base if layout.view is None else layout.view
    order = () if layout.order_by is None else layout.order_by(source)
    wanted: list[ColumnElement[object]] = []
    ordered: set[str] = set()
    for expression in order if isinstance(order, tuple | list) else (order,):
        element = getattr(expression, "element", expression)
        name = str(getattr(element, "name", ""))
        if name not in base.c:
            continue
        ordered.add(name)
        descending = getattr(getattr(expression, "modifier", None), "__name__", "") == "desc_op"
        wanted.append(base.c[name].desc() if descending else base.c[name])
    if layout.order_by is None:
        wanted = [
            base.c[layout.fields[name].name] for name in ("priority", "scheduled_at") if layout.has(name)
        ]
    wanted += [base.c[name] for name in layout.key if name not in ordered]
    ready = [State.AVAILABLE] if layout.retry_on_read is None else [State.AVAILABLE, State.RETRYABLE]
    words = layout.values(ready)
    column = base.c[layout.fields["state"].name]
    where = column == sa.literal(words[0], sa.String()) if len(words) == 1 else column.in_(words)
    return sa.Index(f"{base.name}_ready", *wanted, postgresql_where=where, sqlite_where=where)
