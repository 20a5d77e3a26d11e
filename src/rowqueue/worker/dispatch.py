"""From claims to running handlers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from rowqueue.app.context import ContextControl
from rowqueue.app.stores import Stores
from rowqueue.app.table_job import Handler
from rowqueue.core.values import Claim
from rowqueue.store import AsyncStore
from rowqueue.worker.attempt import Attempt, Held
from rowqueue.worker.buffer import Buffer
from rowqueue.worker.events import Claimed, Events, LeaseLost, Unknown
from rowqueue.worker.lane import Lane
from rowqueue.worker.patience import Patience

UNKNOWN_DELAY = 60.0
"""Seconds for which a job of an unknown kind is snoozed."""


class Dispatch:
    """Finds each claim's handler and starts it.

    Args:
        find: the registered job of a kind or alias; a row can only name one of these.
        stores: what handlers' contexts use.
        store: where unknown kinds are snoozed.
        held: whose leases are kept.
        buffer: who runs handlers, each when there is a slot.
        patience: waits for a database that is away.
        events: who is told.
        on_written: called after jobs of unknown kinds were snoozed.
    """

    def __init__(
        self,
        find: Callable[[str], Handler | None],
        stores: Stores,
        store: AsyncStore,
        held: Held,
        buffer: Buffer,
        patience: Patience,
        events: Events,
        on_written: Callable[[], None],
    ) -> None:
        self._find = find
        self._stores = stores
        self._store = store
        self._held = held
        self._buffer = buffer
        self._patience = patience
        self._events = events
        self._unknown = Lane(self._snooze, on_written)
        self._warned: set[str] = set()

    def start(self, claims: Sequence[Claim], safe_until: float) -> None:
        """Start the handlers of what was just claimed.

        Args:
            claims: in the order in which they are to start.
            safe_until: until when their leases hold for certain (``time.monotonic``).
        """
        self._events.emit_each(Claimed, [claim.job for claim in claims])
        attempts = []
        for claim in claims:
            function = self._find(claim.job.kind)
            if function is None:
                self._not_known(claim)
            else:
                control = ContextControl(claim, self._stores)
                attempts.append(Attempt(claim, function, control, safe_until))
        for stale in self._held.add(attempts):
            if stale.lose() and not stale.ended:
                self._events.emit(LeaseLost, stale.claim.job, "lost")
        for attempt in attempts:
            self._buffer.add(attempt)
        self._buffer.fill()

    @property
    def room(self) -> int:
        """How many more may be claimed than can start."""
        return self._buffer.room

    def __len__(self) -> int:
        """How many unknown jobs are not given back yet."""
        return len(self._unknown)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What must run for ever."""
        return [self._unknown.run()]

    def _not_known(self, claim: Claim) -> None:
        kind = claim.job.kind
        if kind not in self._warned:
            self._warned.add(kind)
            logging.getLogger("rowqueue").warning(
                "no job of kind %r is registered here: its jobs are put off for %g s at a time; deploy the code that"
                " has it, or keep the old name in aliases=(...)",
                kind,
                UNKNOWN_DELAY,
            )
        self._events.emit(Unknown, claim.job)
        self._unknown.add(claim)

    async def _snooze(self, claims: list[Claim]) -> None:
        await self._patience.ask(
            "putting off unknown kinds", lambda: self._store.snooze_unknown(claims, UNKNOWN_DELAY)
        )
