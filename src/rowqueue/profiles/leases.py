"""The lease sidecar for profiles whose system writes whole rows: who holds a row, and taking one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from rowqueue.core.values import Claim
from rowqueue.operations.base import Steps
from rowqueue.operations.decode import job_of
from rowqueue.sql.compiled import Call
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.terms import const, param


def holds(s: Statements, key: Any, claim: Claim | None, *, end: bool) -> Steps[bool]:
    """Whether a claim still has its lease; to be asked before the row is locked, in the order of a finish.

    Args:
        s: the statements.
        key: of which row.
        claim: the claim; None holds nothing.
        end: give the lease up, because the row is about to leave its worker.
    """
    if claim is None:
        return False
    if end:
        columns = {**s.key_columns([key]), "lease": [claim.lease]}
        rows = yield s.call_rows("lease_drop", "given", columns)
        return bool(rows)
    sidecar = s.layout.sidecar
    assert sidecar is not None
    (name,) = s.layout.key
    select = sa.select(const(1)).where(
        sidecar.c[name] == param("id", sidecar.c[name].type),
        sidecar.c.lease == param("lease", sa.BigInteger()),
        sidecar.c.leased_until.is_not(None),
    )
    rows = yield Call(s.compile("lease_holds", select), {"id": key, "lease": claim.lease})
    return bool(rows)


def take(s: Statements, key: Any, record: Any, duration: float) -> Steps[Claim]:
    """A lease on a row that was just written as running.

    Args:
        s: the statements.
        key: of which row.
        record: the row in the system's own words.
        duration: how long the lease lasts (seconds).
    """
    taken = yield s.call_rows("lease_take", "given", s.key_columns([key]), duration=duration)
    rows = yield s.call("get", **s.key_values(key))
    lease = taken[0][-1]
    return Claim(key, lease, replace(job_of(rows[0], s.layout), lease=lease), record, (lease,))
