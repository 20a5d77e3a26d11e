"""refresh: a row in the sidecar for every row of a source that may not be written.

The sidecar is a job table of ours with the source's key. Claims join it to the source, so a row
that is gone there, or does not match any more, is not claimed even before a refresh has seen it.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rowqueue.core.states import WAITING, State
from rowqueue.sql.layout import Cols
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import const, param
from rowqueue.sql.types import Instant, JsonText


def sidecar_table(
    name: str, source: sa.Table, key: tuple[str, ...], prefix: str, schema: str | None
) -> sa.Table:
    """The job table of a source that may not be written: its key, typed as there, and our columns."""
    number: dict[str, Any] = {"nullable": False, "server_default": sa.text("0")}
    keys = [sa.Column(column, source.c[column].type, primary_key=True, autoincrement=False) for column in key]
    table = sa.Table(
        f"{prefix}sidecar_{name}",
        sa.MetaData(schema=schema),
        *keys,
        sa.Column("rowqueue_state", sa.String(16), nullable=False),
        sa.Column("rowqueue_scheduled_at", Instant, nullable=False),
        *(
            sa.Column(f"rowqueue_{column}", sa.BigInteger, **number)
            for column in ("attempt", "failures", "lease", "rescues", "snoozes")
        ),
        *(
            sa.Column(f"rowqueue_{column}", Instant)
            for column in (
                "leased_until",
                "attempted_at",
                "created_at",
                "finalized_at",
                "cancel_requested_at",
            )
        ),
        sa.Column("rowqueue_attempted_by", sa.String(200)),
        *(sa.Column(f"rowqueue_{column}", JsonText) for column in ("errors", "progress", "result")),
    )
    c = table.c
    partial = {
        "due": ((c.rowqueue_scheduled_at,), c.rowqueue_state == const("available", sa.String())),
        "until": ((c.rowqueue_leased_until,), c.rowqueue_leased_until.is_not(None)),
        "final": ((c.rowqueue_state, c.rowqueue_finalized_at), c.rowqueue_finalized_at.is_not(None)),
    }
    for word, (columns, where) in partial.items():
        sa.Index(f"{table.name}_{word}", *columns, postgresql_where=where, sqlite_where=where)
    return table


def chunk(parts: Parts, *, after: bool) -> Any:
    """The next keys of the source that match the mapping's condition, in key order."""
    layout = parts.layout
    assert layout.view is not None
    cols = Cols(layout, layout.view.alias("source"))
    select = sa.select(*cols.key).order_by(*cols.key).limit(param("limit", sa.Integer()))
    if layout.where is not None:
        select = select.where(layout.where(cols.table))
    if not after:
        return select
    last = [param(name, type_) for name, type_ in layout.key_columns.items()]
    return select.where(cols.key[0] > last[0] if len(last) == 1 else sa.tuple_(*cols.key) > sa.tuple_(*last))


def add(parts: Parts) -> Any:
    """A row for each key that has none yet."""
    layout = parts.layout
    given = parts.rows(layout.key_columns)
    state = const(State.AVAILABLE.value, sa.String())
    keys = [given.c[name] for name in layout.key_columns]
    source = sa.select(*keys, state, parts.now(), parts.now()).order_by(given.c.ordinal)
    columns = [*layout.key, "rowqueue_state", "rowqueue_scheduled_at", "rowqueue_created_at"]
    insert = parts.dialect.insert_new(layout.base, answers=True).from_select(
        columns, source, include_defaults=False
    )
    return insert.returning(*parts.c.key)


def cancel_gone(parts: Parts) -> Any:
    """Waiting rows whose source row is gone, or does not match any more, become cancelled."""
    layout = parts.layout
    assert layout.view is not None
    left = parts.alias("orphan")
    source = layout.view.alias("source")
    there = [a == source.c[b] for a, b in zip(left.key, layout.key, strict=True)]
    if layout.where is not None:
        there.append(layout.where(source))
    gone = ~sa.exists(sa.select(const(1)).select_from(source).where(*there))
    picked = sa.select(*left.key).where(left.is_in(*WAITING), gone).order_by(*left.key).limit(parts.limit())
    reason = const('"error":"its row is gone at the source, or does not match any more"', sa.Text())
    values = {
        "state": parts.state(State.CANCELLED),
        "lease": parts.c.lease + const(1),
        "finalized_at": parts.now(),
        "errors": parts.with_error(reason),
    }
    return parts.update(values).where(parts.is_one_of(left, picked)).returning(*parts.c.key)
