"""``jobs.fulltext`` as a queue of rowqueue's: which column holds what.

A destination is a queue. The table has no lease, and no room for attempts: leases are kept beside it, and a
worker's death is counted by them, because a lease grows once at a claim and once more when it runs out.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rowqueue.core.states import State
from rowqueue.profiles.cchc.rows import Status, full_text_of
from rowqueue.sql.mapping import JobTable
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import const, param

STATES = {
    State.AVAILABLE: Status.READY,
    State.RUNNING: Status.RUNNING,
    State.COMPLETED: Status.FINISHED,
    State.SKIPPED: Status.SKIPPED,
    State.DISCARDED: Status.FAILED,
}


def mapping(schema: str | None) -> JobTable:
    """The mapping of ``fulltext``.

    Args:
        schema: where the table is.
    """
    return JobTable(
        "fulltext",
        schema=schema,
        columns={
            "state": "status",
            "queue": "destination",
            "attempted_at": "started",
            "finalized_at": "finished",
        },
        states={state.value: word.value for state, word in STATES.items()},
        order_by=lambda t: (t.c.item_id,),
        record=full_text_of,
        statements={"rescue_dropped": rescue},
    )


def rescue(parts: Parts) -> Any:
    """running with an expired lease → ready, or failed when its workers died too often."""
    c, sidecar = parts.c, parts.layout.sidecar
    assert sidecar is not None
    lease = sa.select(sidecar.c.lease).where(sidecar.c.id == c.key[0]).scalar_subquery()
    spent = lease >= const(2) * param("max_rescues", sa.Integer())
    target = sa.case((spent, parts.state(State.DISCARDED)), else_=parts.state(State.AVAILABLE))
    update = parts.update({"state": target, "finalized_at": parts.when_final(target)})
    found = (*c.key, c.kind, c.queue, c.state, c.lease, c.attempted_by)
    return update.where(parts.among(c), c.is_in(State.RUNNING)).returning(*found)
