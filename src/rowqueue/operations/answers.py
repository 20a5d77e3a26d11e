"""Why a guarded write did not take: one more read turns a missing row into a typed answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from rowqueue.core.states import State
from rowqueue.core.values import Claim, Key, Outcome
from rowqueue.operations.base import Steps
from rowqueue.sql.statements.catalog import Statements

Standing: TypeAlias = tuple[int, State, bool]


def standing(s: Statements, keys: Sequence[Key]) -> Steps[dict[Any, Standing]]:
    """Lease, state and cancel request of rows, by key; rows that are gone are left out."""
    if not keys:
        return {}
    rows = yield s.call("standing", keys=s.dialect.pack_list(list(keys)))
    return {row[0]: (row[1], State(row[2]), bool(row[3])) for row in rows}


def refused(s: Statements, claims: Sequence[Claim]) -> Steps[dict[tuple[Any, int], Outcome]]:
    """Answers for claims whose guarded write matched no row."""
    found = yield from standing(s, [claim.key for claim in claims])
    return {(claim.key, claim.lease): _answer(claim, found.get(claim.key)) for claim in claims}


def _answer(claim: Claim, row: Standing | None) -> Outcome:
    if row is None:
        return Outcome(claim.key, "gone")
    lease, state, cancel = row
    reason = "lost" if lease != claim.lease else "wrong_state"
    return Outcome(claim.key, reason, state, lease, cancel_requested=cancel)  # type: ignore[arg-type]
