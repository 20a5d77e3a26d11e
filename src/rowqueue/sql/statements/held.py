"""Held claims: the row of a claim, locked in the transaction that its work is done in."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rowqueue.core.states import State
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import param


def hold(parts: Parts) -> Any:
    """Lock the row of a claim, if it is still that claim's.

    NO KEY UPDATE and not UPDATE: it keeps out everybody who would lock or write the row, and lets
    other transactions insert rows that refer to it.
    """
    c = parts.c
    fence = [parts.is_fence(c)] if parts.layout.fence_columns else []
    select = sa.select(*c.key).where(parts.is_key(c), *fence, c.is_in(State.RUNNING))
    return select.with_for_update(key_share=True)


def hold_lease(parts: Parts) -> Any:
    """Lock the lease of a claim in the sidecar, if it is still that claim's."""
    table = parts.layout.sidecar
    assert table is not None
    keys = zip(parts.layout.key, parts.layout.key_columns.items(), strict=True)
    same = [table.c[column] == param(name, type_) for column, (name, type_) in keys]
    mine = (table.c.lease == param("lease", sa.BigInteger()), table.c.leased_until.is_not(None))
    return sa.select(table.c.lease).where(*same, *mine).with_for_update(key_share=True)
