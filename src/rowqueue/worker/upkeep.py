"""What any worker does for all: promote, rescue, prune, and say that it lives."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

from rowqueue.store import AsyncStore
from rowqueue.worker.events import Events, RescuedJob
from rowqueue.worker.options import WorkerOptions
from rowqueue.worker.patience import Patience
from rowqueue.worker.wake import Wake

BATCH = 1000
TAKEN = 0.02
"""Seconds to wait when due jobs are just being promoted by somebody else."""

UNTOLD = 1.25
"""Polls after which the next due time is asked for, when no look has told it."""

SILENCE = 300.0
"""Seconds after which a worker that says nothing is forgotten."""


class Upkeep:
    """Loops beside the claim loop.

    Args:
        options: the worker's.
        kinds: the kinds it knows, for people to see.
        store: where.
        patience: waits for a database that is away.
        ready: called with the queues in which jobs became available.
        events: who is told of rescues.
        idle: whether there are free slots and nothing to do, for people to see.
        ours: these are the default tables: workers are listed in them, and old jobs deleted.
    """

    def __init__(
        self,
        options: WorkerOptions,
        kinds: Collection[str],
        store: AsyncStore,
        patience: Patience,
        ready: Callable[[Collection[str]], None],
        events: Events,
        idle: Callable[[], bool],
        ours: bool = True,
    ) -> None:
        self._options = options
        self._kinds = sorted(kinds)
        self._store = store
        self._patience = patience
        self._ready = ready
        self._events = events
        self._idle = idle
        self._ours = ours
        self._due = Wake()
        self._due_at = math.inf
        self._ask_at = 0.0
        self._asked = False
        self._beat: asyncio.Future[None] | None = None

    def due_in(self, seconds: float) -> None:
        """A job was put off in this process: be awake when it is due, however long the poll."""
        at = time.monotonic() + seconds
        if at < self._due_at:
            self._due_at = at
            self._due.up()

    def due_is(self, seconds: float | None) -> None:
        """Somebody looked just now: that is when the next job is due (None: there is none), so it need not be asked."""
        now = time.monotonic()
        earlier = self._due_at
        self._due_at = math.inf if seconds is None else now + seconds
        if not self._asked:  # or that look may have been sent before the job was put off
            self._ask_at = now + UNTOLD * self._options.poll
        if self._due_at < earlier:
            self._due.up()

    def ask(self) -> None:
        """A job was put off somewhere: ask when the next one is due."""
        self._asked = True
        self._ask_at = 0.0
        self._due.up()

    async def promote(self) -> Collection[str]:
        """Make due jobs available; returns their queues."""
        promoted = await self._patience.ask("promoting due jobs", lambda: self._store.promote_due(BATCH))
        if promoted:
            self._ready(promoted)
        return promoted

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What must run for ever."""
        loops: list[Coroutine[Any, Any, None]] = [
            self._promote_when_due(),
            self._every(self._options.renew, "rescuing jobs", self.rescue),
        ]
        return loops + self._ours_only() if self._ours else loops

    def _ours_only(self) -> list[Coroutine[Any, Any, None]]:
        return [
            self._every(self._options.heartbeat, "sending a heartbeat", self.heartbeat),
            self._every(self._options.prune, "pruning", self._prune),
        ]

    async def heartbeat(self) -> None:
        """Say that this worker lives."""
        said = self._store.heartbeat(
            self._options.worker_id, queues=dict(self._options.queues), kinds=self._kinds, idle=self._idle()
        )
        self._beat = asyncio.ensure_future(said)
        await asyncio.shield(self._beat)

    async def forget(self) -> None:
        """Say that this worker is gone: after a heartbeat that is still under way, or it would seem to live on."""
        if self._beat is not None:
            await asyncio.gather(self._beat, return_exceptions=True)
        await self._store.forget_worker(self._options.worker_id)

    async def _promote_when_due(self) -> None:
        while True:
            now = time.monotonic()
            if now < min(self._due_at, self._ask_at):
                await self._due.sleep(min(self._due_at, self._ask_at) - now)
            elif now < self._due_at:
                await self._ask()
            else:
                promoted = await self.promote()
                if not self._ours:  # where no state says scheduled, due rows wait for the claim
                    self._ready(self._options.queues)
                await self._ask()
                if not promoted and self._due_at <= time.monotonic():  # others are promoting them
                    await asyncio.sleep(TAKEN)

    async def _ask(self) -> None:
        self._asked = False
        self.due_is(await self._patience.ask("asking for the next due time", self._store.next_due))

    async def rescue(self) -> None:
        """Make expired claims available again."""
        rescued = await self._store.rescue(BATCH)
        for each in rescued:
            self._events.emit(RescuedJob, each)
        if rescued:
            self._ready({each.queue for each in rescued})

    async def _prune(self) -> None:
        await self._store.forget_silent_workers(SILENCE)
        full = True
        while full:
            full = await self._store.prune(limit=BATCH) >= BATCH
            await asyncio.sleep(0.1 if full else 0)  # leave room for the work

    async def _every(self, seconds: float, doing: str, do: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._patience.ask(doing, do)
            # Workers that were started together should not do it together for ever.
            await asyncio.sleep(seconds * (0.9 + 0.1 * random.random()))  # noqa: S311 - not a secret
