"""enqueue: nothing → available, scheduled or pending."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rowqueue.core.states import State
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.statements.wake import told
from rowqueue.sql.terms import Columns, param
from rowqueue.sql.types import Instant, JsonText

_STORED: Columns = {
    "kind": sa.Text(),
    "queue": sa.Text(),
    "priority": sa.SmallInteger(),
    "args": JsonText(),
    "max_attempts": sa.Integer(),
    "timeout": sa.Double(),
    "unique_key": sa.Text(),
    "unique_states": sa.SmallInteger(),
    "tags": JsonText(),
    "correlation_id": sa.Text(),
    "correlation_group": sa.Text(),
    "meta": JsonText(),
}
"""What is stored as it is given."""

GIVEN: Columns = {
    **{name: sa.Text() if isinstance(type_, JsonText) else type_ for name, type_ in _STORED.items()},
    "pending": sa.Boolean(),
    "at": Instant(),
    "delay": sa.Double(),
}
"""What an enqueue binds, in order."""

PLAIN = ("kind", "queue", "priority", "args", "max_attempts")
"""What every job has."""

RETURNED = ("id", "state", "scheduled_at", "created_at", "unique_key")
"""What comes back of the row; after it, whether an idle worker is to be told, or was."""


def _decided(parts: Parts, pending: Any, at: Any, delay: Any) -> dict[str, Any]:
    """The columns that the database decides, because it has the clock."""
    now = parts.now()
    due = sa.func.coalesce(at, parts.dialect.later(delay), now)
    state = sa.case(
        (pending, parts.state(State.PENDING)),
        (due > now, parts.state(State.SCHEDULED)),
        else_=parts.state(State.AVAILABLE),
    )
    return {"state": state, "scheduled_at": due, "created_at": now}


def enqueue(parts: Parts) -> Any:
    """One job; no row comes back where its unique key is taken."""
    values: dict[str, Any] = {name: param(name, type_) for name, type_ in _STORED.items()}
    decided = _decided(parts, *(param(name, GIVEN[name]) for name in ("pending", "at", "delay")))
    insert = parts.dialect.insert_new(parts.tables.job, answers=True).values(**values, **decided)
    return insert.returning(
        *(parts.tables.job.c[name] for name in RETURNED), told(parts, param("queue", sa.Text()))
    )


def enqueue_plain(parts: Parts) -> Any:
    """One job without any option but its priority: a third of the parameters, and no key that could be taken.

    What comes back is what is not known: its id and the time of its enqueue.
    """
    now = parts.now()
    values: dict[str, Any] = {name: param(name, GIVEN[name]) for name in PLAIN}
    values["args"] = sa.cast(values["args"], JsonText())
    decided = {"state": parts.state(State.AVAILABLE), "scheduled_at": now, "created_at": now}
    insert = sa.insert(parts.tables.job).values(**values, **decided)
    c, state = parts.tables.job.c, parts.state(State.AVAILABLE)
    return insert.returning(c.id, c.created_at, told(parts, param("queue", sa.Text()), state))


def enqueue_many(parts: Parts, *, alike: bool = False) -> Any:
    """Many jobs in one statement, numbered in the order given.

    Args:
        parts: tables and dialect.
        alike: they differ in their arguments only, and the rest is bound once: on PostgreSQL 10,000 rows
            of 15 columns took as long to pack as to insert.
    """
    given = parts.rows({"args": GIVEN["args"]} if alike else GIVEN)
    bound = {name: given.c[name] if name in given.c else param(name, type_) for name, type_ in GIVEN.items()}
    columns = {
        name: sa.cast(bound[name], JsonText()) if isinstance(type_, JsonText) else bound[name]
        for name, type_ in _STORED.items()
    }
    columns |= _decided(parts, bound["pending"], bound["at"], bound["delay"])
    source = sa.select(*columns.values()).order_by(given.c.ordinal)
    table = parts.tables.job
    # Without a unique key nothing can be taken, and to insert it as if it could costs a record of WAL more.
    insert = sa.insert(table) if alike else parts.dialect.insert_new(table, answers=True)
    insert = insert.from_select(list(columns), source, include_defaults=False)
    if alike and parts.dialect.gathers:
        return _gathered(parts, insert)
    return insert.returning(*(table.c[name] for name in RETURNED), told(parts))


def _gathered(parts: Parts, insert: Any) -> Any:
    """Their ids in one array, and beside it what is the same for all: 10,000 rows of five columns took as long to
    read as a fifth of the INSERT."""
    c = parts.tables.job.c
    made = insert.returning(c.id, c.state, c.scheduled_at, c.created_at).cte("made")
    ids = sa.func.array_agg(made.c.id, type_=sa.types.NullType()).label("ids")
    state, due, created = (sa.func.min(made.c[name]) for name in ("state", "scheduled_at", "created_at"))
    return sa.select(ids, state, due, created, told(parts, param("queue", sa.Text()), state)).select_from(
        made
    )


def holders(parts: Parts) -> Any:
    """The rows that hold these unique keys."""
    key, holds = parts.unique_key(parts.tables.job)
    among = parts.dialect.among(key, "keys", sa.Text())
    found = sa.select(*parts.columns()).where(among, holds)
    # As they are now, not as they were when a transaction of the caller's took its snapshot; the INSERT that
    # found the key taken has locked them like this already.
    return found if parts.dialect.has_returning else found.with_for_update(read=True)
