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


def cap(limit: float | None, version: tuple[int | str, ...]) -> Operation[int]:
    """Let the server end this transaction when it is idle, or as a whole open, for too long (not on SQLite).

    Args:
        limit: seconds; None leaves the session as it is.
        version: the server's.

    Returns:
        The server's number for the connection.
    """

    def steps(s: Statements) -> Steps[int]:
        for sql in () if limit is None else s.dialect.caps(limit, version):
            yield Call(s.plain(sql), {})
        rows = yield Call(s.compile("held_connection", sa.select(s.dialect.connection_id())), {})
        return int(rows[0][0])

    return Operation(steps, Access.TRANSACTION)


def terminate(connection: int) -> Operation[None]:
    """End a connection from outside, and its transaction with it (not on SQLite)."""

    def steps(s: Statements) -> Steps[None]:
        yield Call(s.compile_text(s.dialect.terminate(connection)), {})

    return Operation(steps, Access.WRITE)
