"""Held claims: lock what was claimed, in the transaction that its work is done in."""

from __future__ import annotations

import sqlalchemy as sa

from rowqueue.core.values import Claim
from rowqueue.operations.answers import fence_of
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.sql.compiled import Call
from rowqueue.sql.statements.catalog import Statements


def hold(claim: Claim) -> Operation[bool]:
    """Lock the row of a claim for the rest of the transaction; False when it is somebody else's by now."""

    def steps(s: Statements) -> Steps[bool]:
        key = s.key_values(claim.key)
        if s.layout.sidecar is None:
            rows = yield s.call("hold", **key, **s.fence_values(fence_of(claim)))
            return bool(rows)
        # In the order of a finish: the lease first.
        rows = yield s.call("hold_lease", **key, lease=claim.lease)
        if rows:
            rows = yield s.call("hold", **key)
        return bool(rows)

    return Operation(steps, Access.TRANSACTION)


def cap(limit: float, version: tuple[int | str, ...]) -> Operation[None]:
    """PostgreSQL: let the server end this transaction when it is idle, or as a whole open, for too long.

    Args:
        limit: seconds.
        version: the server's.
    """
    names = [
        "idle_in_transaction_session_timeout",
        *(["transaction_timeout"] if version[:1] >= (17,) else []),
    ]

    def steps(s: Statements) -> Steps[None]:
        for name in names:
            yield Call(s.plain(f"SET LOCAL {name} = {max(1, round(limit * 1000))}"), {})

    return Operation(steps, Access.TRANSACTION)


def terminate(pid: int) -> Operation[None]:
    """PostgreSQL: end a connection from outside, and its transaction with it."""

    def steps(s: Statements) -> Steps[None]:
        ended = sa.select(sa.func.pg_terminate_backend(pid, type_=sa.Boolean()))
        yield Call(s.compile("held_terminate", ended), {})

    return Operation(steps, Access.WRITE)
