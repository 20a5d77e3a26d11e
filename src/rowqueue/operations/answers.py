"""Why a guarded write did not take: one more read turns a missing row into a typed answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rowqueue.core.states import State
from rowqueue.core.values import Claim, Key, Outcome, Reason
from rowqueue.operations.base import Steps
from rowqueue.operations.decode import key_of
from rowqueue.sql.statements.catalog import Statements


class Standing(NamedTuple):
    """How a row stands: its fence, its state (None: a word of the user's that the mapping does not name), and
    whether somebody asked to cancel it."""

    fence: tuple[Any, ...]
    state: State | None
    cancel_requested: bool

    def outcome(self, key: Key, reason: Reason | None) -> Outcome:
        """An answer about this row."""
        return Outcome(key, reason, self.state, lease_of(self.fence), cancel_requested=self.cancel_requested)


def fence_of(claim: Claim) -> tuple[Any, ...]:
    """What tells a claim from another: its lease, or on a table of the user's its fence."""
    return claim.fence or (claim.lease,)


def lease_of(fence: tuple[Any, ...]) -> int | None:
    """The lease in a fence, where the fence is one."""
    return fence[0] if len(fence) == 1 and isinstance(fence[0], int) else None


def standing(s: Statements, keys: Sequence[Key]) -> Steps[dict[Any, Standing]]:
    """How rows stand, by key; rows that are gone are left out."""
    if not keys:
        return {}
    rows = yield s.call("standing", **s.pack_keys(keys))
    width = len(s.layout.key)
    return {
        key_of(row, s.layout): Standing(tuple(row[width:-2]), s.layout.words.get(row[-2]), bool(row[-1]))
        for row in rows
    }


def refused(s: Statements, claims: Sequence[Claim]) -> Steps[dict[tuple[Any, Any], Outcome]]:
    """Answers, by key and fence, for claims whose guarded write matched no row."""
    found = yield from standing(s, [claim.key for claim in claims])
    return {(claim.key, fence_of(claim)): _answer(claim, found.get(claim.key)) for claim in claims}


def _answer(claim: Claim, row: Standing | None) -> Outcome:
    if row is None:
        return Outcome(claim.key, "gone")
    return row.outcome(claim.key, "lost" if row.fence != fence_of(claim) else "wrong_state")
