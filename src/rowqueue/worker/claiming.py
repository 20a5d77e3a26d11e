"""The claim loop: as much as can start at once, as soon as there is something."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from rowqueue.core.values import Claim
from rowqueue.store import AsyncStore
from rowqueue.worker.options import WorkerOptions
from rowqueue.worker.patience import Patience
from rowqueue.worker.slots import Slots
from rowqueue.worker.wake import Wake

BACKLOG = 4
"""Unwritten endings, in multiples of the concurrency (and of a batch), at which claiming waits for them."""


class Starts(Protocol):
    """Whoever runs what was claimed."""

    def start(self, claims: list[Claim], safe_until: float) -> None:
        """Start them."""
        ...


class Claiming:
    """Claims again at once when a claim came back full; else sleeps until something wakes it, or ``poll``.

    It is woken by a slot that gets free while work is known to remain, by work that becomes ready
    in this process (promoted, rescued, failed without delay), and, in a later version, by LISTEN.

    Args:
        options: the worker's.
        store: where.
        slots: what can start.
        starts: who runs what was claimed.
        unwritten: how many endings wait to be written.
        patience: waits for a database that is away.
        nothing_left: asked when draining and nothing runs here: True ends the loop.
    """

    def __init__(
        self,
        options: WorkerOptions,
        store: AsyncStore,
        slots: Slots,
        starts: Starts,
        unwritten: Callable[[], int],
        patience: Patience,
        nothing_left: Callable[[], Awaitable[bool]],
    ) -> None:
        self._options = options
        self._store = store
        self._slots = slots
        self._starts = starts
        self._unwritten = unwritten
        self._patience = patience
        self._nothing_left = nothing_left
        self._more: set[str] = set(options.queues)
        self._wake = Wake()
        self._stopping = False
        self._backlog = BACKLOG * max(options.concurrency, 500)

    def look(self) -> None:
        """Look again whether there is something to do now: a slot got free, an ending was written."""
        self._wake.up()

    def ready(self, queues: Iterable[str] | None = None) -> None:
        """There is work in these queues (None: in any)."""
        self._more.update(
            self._options.queues if queues is None else self._options.queues.keys() & set(queues)
        )
        self._wake.up()

    def stop(self) -> None:
        """Claim no more; a claim that is under way is still answered."""
        self._stopping = True
        self._wake.up()

    async def run(self) -> None:
        """Claim until stopped, or until drained."""
        while not self._stopping:
            wanted = {} if self._unwritten() > self._backlog else self._slots.free()
            if not wanted:
                await self._wake.sleep(self._options.poll)
                continue
            was_idle = self._idle()
            claims = await self._claim(wanted)
            if self._options.drain and was_idle and not claims and await self._nothing_left():
                return
            await self._rest()

    async def _claim(self, wanted: dict[str, int]) -> list[Claim]:
        limit = self._slots.left
        sent = 0.0

        async def once() -> list[Claim]:
            nonlocal sent
            if self._stopping:
                return []
            sent = time.monotonic()
            return await self._store.claim(
                limit, queues=wanted, lease=self._options.lease, worker=self._options.worker_id
            )

        claims = await self._patience.ask("claiming jobs", once)
        self._note(wanted, claims)
        self._slots.rotate(len(wanted))
        if claims:
            self._starts.start(claims, sent + self._options.lease)
        return claims

    def _note(self, wanted: dict[str, int], claims: list[Claim]) -> None:
        """Remember which queues may hold more than was claimed."""
        got = Counter(claim.job.queue for claim in claims)
        for queue, slots in wanted.items():
            if got[queue] >= slots:
                self._more.add(queue)
            else:
                self._more.discard(queue)

    async def _rest(self) -> None:
        ends = time.monotonic() + self._options.poll
        while not self._stopping and (left := ends - time.monotonic()) > 0:
            if self._more and not self._more.isdisjoint(self._slots.free()):
                return
            if self._options.drain and self._idle():
                return
            await self._wake.sleep(left)

    def _idle(self) -> bool:
        return not self._slots.busy and not self._unwritten()
