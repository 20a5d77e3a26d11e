"""The claim loop: as much as can start at once, as soon as there is something."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Protocol, TypeAlias

from rowqueue.core.values import Claim
from rowqueue.operations.wake import Look
from rowqueue.worker.drain import Drain
from rowqueue.worker.options import WorkerOptions
from rowqueue.worker.patience import Patience
from rowqueue.worker.slots import Slots
from rowqueue.worker.wake import Wake

BACKLOG = 4
"""Unwritten endings, in multiples of the concurrency (and of a batch), at which claiming waits for them."""

SHARE = 100
"""Jobs of which one claim may always take as many; of more slots than that it takes half at the most, so that the
database chooses the next jobs while this process runs the last ones."""

Take: TypeAlias = Callable[[dict[str, int], int], Awaitable[list[Claim] | None]]
"""Claims from queues with free slots, so many in all; None: not this time, whatever there is."""

Seeing: TypeAlias = Callable[[list[str]], Awaitable[Look]]
"""Looks whether queues have something to claim, which costs less than a claim."""


class Starts(Protocol):
    """Whoever runs what was claimed."""

    def start(self, claims: list[Claim], safe_until: float) -> None:
        """Start them."""
        ...

    @property
    def room(self) -> int:
        """How many more it takes than can start now."""
        ...


class Rest(Protocol):
    """Whoever wants to know when there are free slots and nothing to do."""

    def rests(self, queues: Collection[str], after_work: bool) -> None:
        """These queues have free slots, and gave less than they could; the last claim gave something, or nothing."""
        ...

    def works(self) -> None:
        """There may be something to do."""
        ...


class Claiming:
    """Claims again at once when a claim came back full; else rests until something wakes it.

    It is woken by a slot that gets free while work is known to remain, by work that becomes ready
    in this process (promoted, rescued, failed without delay), and by what others tell it of. Whatever
    wakes it, it looks by itself every ``poll``.

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
        see: what looks; None claims instead.
        on_due: told what a look saw of the next due time (seconds, or None).
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
        see: Seeing | None = None,
        on_due: Callable[[float | None], None] = lambda _: None,
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
        self._see = see
        self._on_due = on_due
        self._more: set[str] = set(options.queues)
        self._told: set[str] = set()
        self._looks: list[float] = []
        self._got = False
        self._wake = Wake()
        self._stopping = False
        self._most = max(SHARE, options.concurrency // 2)
        self._backlog = BACKLOG * max(options.concurrency, 500)
        self.rest: Rest | None = None
        self.resting = False

    def look(self) -> None:
        """Look again whether there is something to do now: a slot got free, an ending was written."""
        self._wake.up()

    def look_after(self, *delays: float) -> None:
        """Look into the database so many seconds from now, as long as there is nothing to do."""
        now = time.monotonic()
        # The first of the earlier ones stays, or a stream of calls would put it off for ever.
        self._looks = sorted([*self._looks[:1], *(now + delay for delay in delays)])
        self._wake.up()

    def seen(self, look: Look | None) -> None:
        """Somebody looked (None: only that something changed)."""
        if look is None:
            self.ready()
            return
        self._on_due(look.due)
        if look.ready:
            self.ready(look.ready)

    def ready(self, queues: Iterable[str] | None = None) -> None:
        """There is work in these queues (None: in any)."""
        found = (
            set(self._options.queues)
            if queues is None
            else self._options.queues.keys() & {self._slots.slot_of(queue) for queue in queues}
        )
        self._more |= found
        self._told |= found
        self._wake.up()

    def stop(self) -> None:
        """Claim no more; a claim that is under way is still answered."""
        self._stopping = True
        self._wake.up()

    async def run(self) -> None:
        """Claim until stopped, or until drained."""
        while not self._stopping and not self._drain.done:
            ahead = self._ahead()
            wanted = (
                {} if self._unwritten() > self._backlog else self._slots.free(ahead, self._more, self._most)
            )
            if not wanted:
                await self._wake.sleep(self._options.poll)
                continue
            was_idle, starts = self._drain.idle(), self._drain.starts
            claims = await self._claim(wanted, sum(wanted.values()))
            if claims is None:
                await self._wake.sleep(self._options.poll)
                continue
            if self._options.drain and was_idle and not claims and await self._nothing_left():
                self._drain.nothing_left(self, starts)
            await self._rest()

    async def _claim(self, wanted: dict[str, int], limit: int) -> list[Claim] | None:
        sent = 0.0

        async def once() -> list[Claim] | None:
            nonlocal sent
            if self._stopping:
                return []
            self._told.clear()
            sent = time.monotonic()
            return await self._take(wanted, limit)

        claims = await self._patience.ask("claiming jobs", once)
        if claims is None:
            return None
        self._got = bool(claims)
        self._note(wanted, claims)
        self._slots.rotate(len(wanted))
        if claims:
            self._drain.started()
            self._starts.start(claims, sent + self._options.lease)
        return claims

    def _ahead(self) -> int:
        """How many may be claimed ahead of their slots: none until half of that can be, or claims would be tiny."""
        room = self._starts.room
        return room if self._slots.left or 2 * room >= self._options.prefetch else 0

    def _note(self, wanted: dict[str, int], claims: list[Claim]) -> None:
        """Remember which queues may hold more than was claimed, or were told of since the claim was sent."""
        got = Counter(self._slots.slot_of(claim.job.queue) for claim in claims)
        for queue, slots in wanted.items():
            if got[queue] >= slots or queue in self._told:
                self._more.add(queue)
            else:
                self._more.discard(queue)

    async def _rest(self) -> None:
        try:
            await self._until_ready(time.monotonic() + self._options.poll)
        finally:
            if self.resting:
                self.resting = False
                if self.rest is not None:
                    self.rest.works()

    async def _until_ready(self, regular: float) -> None:
        """Return when there is something to claim, or nobody knows: at the latest at ``regular`` when nothing looks."""
        while not self._stopping and not self._drain.done:
            if not self._more.isdisjoint(self._slots.free(self._ahead(), self._more)):
                return
            if self._options.drain and self._drain.idle() and not self._drain.is_dry(self):
                return
            hungry = self._slots.open()
            if hungry:
                self.resting = True
                if self.rest is not None:
                    self.rest.rests(hungry, self._got)
            now = time.monotonic()
            left = min([regular, *self._looks[:1]]) - now
            if left > 0:
                await self._wake.sleep(left)
                if self._fickle:
                    return
                continue
            self._looks = [at for at in self._looks if at > now]
            if self._see is None or self._options.drain:
                return
            await self._look(self._see, hungry)
            regular = time.monotonic() + self._options.poll

    async def _look(self, see: Seeing, queues: list[str]) -> None:
        if not queues:  # nothing could start: the due time is asked for elsewhere
            return

        async def once() -> Look:
            return Look((), None) if self._stopping else await see(queues)

        seen = await self._patience.ask("looking for jobs", once)
        if self._stopping:
            return
        self.seen(seen)
