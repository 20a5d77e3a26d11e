"""The claim loop: as much as can start at once, as soon as there is something."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeAlias

from rowqueue.core.values import Claim
from rowqueue.worker.drain import Drain
from rowqueue.worker.options import WorkerOptions
from rowqueue.worker.patience import Patience
from rowqueue.worker.slots import Slots
from rowqueue.worker.wake import Wake

BACKLOG = 4
"""Unwritten endings, in multiples of the concurrency (and of a batch), at which claiming waits for them."""


Take: TypeAlias = Callable[[dict[str, int], int], Awaitable[list[Claim] | None]]
"""Claims from queues with free slots, so many in all; None: not this time, whatever there is."""


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
        take: what claims.
        slots: what can start.
        starts: who runs what was claimed.
        unwritten: how many endings wait to be written.
        patience: waits for a database that is away.
        drain: what all the tables of the worker know of being empty.
        nothing_left: asked when draining and idle: True when the table is empty.
        fickle: what can be claimed depends on what runs: claim again whenever that changes.
    """

    def __init__(
        self,
        options: WorkerOptions,
        take: Take,
        slots: Slots,
        starts: Starts,
        unwritten: Callable[[], int],
        patience: Patience,
        drain: Drain,
        nothing_left: Callable[[], Awaitable[bool]],
        fickle: bool = False,
    ) -> None:
        self._options = options
        self._take = take
        self._slots = slots
        self._starts = starts
        self._unwritten = unwritten
        self._patience = patience
        self._drain = drain
        drain.join(self)
        self._nothing_left = nothing_left
        self._fickle = fickle
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
            self._options.queues
            if queues is None
            else self._options.queues.keys() & {self._slots.slot_of(queue) for queue in queues}
        )
        self._wake.up()

    def stop(self) -> None:
        """Claim no more; a claim that is under way is still answered."""
        self._stopping = True
        self._wake.up()

    async def run(self) -> None:
        """Claim until stopped, or until drained."""
        while not self._stopping and not self._drain.done:
            wanted = {} if self._unwritten() > self._backlog else self._slots.free()
            if not wanted:
                await self._wake.sleep(self._options.poll)
                continue
            was_idle, starts = self._drain.idle(), self._drain.starts
            claims = await self._claim(wanted)
            if claims is None:
                await self._wake.sleep(self._options.poll)
                continue
            if self._options.drain and was_idle and not claims and await self._nothing_left():
                self._drain.nothing_left(self, starts)
            await self._rest()

    async def _claim(self, wanted: dict[str, int]) -> list[Claim] | None:
        limit = self._slots.left
        sent = 0.0

        async def once() -> list[Claim] | None:
            nonlocal sent
            if self._stopping:
                return []
            sent = time.monotonic()
            return await self._take(wanted, limit)

        claims = await self._patience.ask("claiming jobs", once)
        if claims is None:
            return None
        self._note(wanted, claims)
        self._slots.rotate(len(wanted))
        if claims:
            self._drain.started()
            self._starts.start(claims, sent + self._options.lease)
        return claims

    def _note(self, wanted: dict[str, int], claims: list[Claim]) -> None:
        """Remember which queues may hold more than was claimed."""
        got = Counter(self._slots.slot_of(claim.job.queue) for claim in claims)
        for queue, slots in wanted.items():
            if got[queue] >= slots:
                self._more.add(queue)
            else:
                self._more.discard(queue)

    async def _rest(self) -> None:
        ends = time.monotonic() + self._options.poll
        while not self._stopping and not self._drain.done and (left := ends - time.monotonic()) > 0:
            if self._more and not self._more.isdisjoint(self._slots.free()):
                return
            if self._options.drain and self._drain.idle() and not self._drain.is_dry(self):
                return
            await self._wake.sleep(left)
            if self._fickle:
                return
