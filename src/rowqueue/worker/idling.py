"""Saying in the database in which queues this worker is idle, so that others tell it of new jobs, and only then."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from rowqueue.worker.patience import Patience
from rowqueue.worker.wake import Wake

SETTLE = 0.02
"""Seconds of rest after which a queue is said to be idle: the rests of a busy worker are shorter. With 0.05, a worker that
got 20 jobs a second was on the edge of it, and one job in a hundred waited 18 ms for a look of its own."""

BUSY = 1.0
"""Seconds without a rest of that length after which it is said no more."""

HOLD = 30.0
"""Seconds for which others believe it: three heartbeats."""

AFTER = (0.01, 0.05, 0.25)
"""Seconds after saying so at which the worker looks again: for a job whose enqueue did not see it yet."""

UNSAID = (0.002, 0.005, 0.01)
"""Seconds of rest at which the worker looks while it has not said so: nobody would tell it."""


class Idling:
    """Says what is idle, late, and takes it back, later still, so that ups and downs cost no writes.

    A worker that keeps up with many jobs a second never rests for long: it is told nothing, and looks every few
    milliseconds, which costs those who enqueue nothing, and claims several jobs at a time.

    Args:
        say: writes for how many seconds from now on each queue is idle.
        listens: whether anybody would hear what is told.
        look_after: has the worker look again after so many seconds.
        patience: waits for a database that is away.
    """

    def __init__(
        self,
        say: Callable[[Mapping[str, float]], Awaitable[None]],
        listens: Callable[[], bool],
        look_after: Callable[..., None],
        patience: Patience,
    ) -> None:
        self._say = say
        self._listens = listens
        self._look_after = look_after
        self._patience = patience
        self._since: dict[str, float] = {}
        self._rested: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._wake = Wake()

    def rests(self, queues: Collection[str], after_work: bool) -> None:
        """These queues have free slots, and gave less than they could.

        Args:
            queues: which.
            after_work: the last claim gave something. Otherwise what a look showed is somebody else's, or a row
                that is locked: another look would find it again.
        """
        if self._since.keys() == set(queues):
            return
        now = time.monotonic()
        begins = not self._since
        self._note_rests(now)
        self._since = {queue: self._since.get(queue, now) for queue in queues}
        if not self._said.keys() >= self._since.keys():
            if begins and after_work:
                self._look_after(*UNSAID)
            self._wake.up()

    def works(self) -> None:
        """There may be something to do."""
        self._note_rests(time.monotonic())
        self._since = {}

    def up(self) -> None:
        """The worker begins to listen."""
        self._said = {}
        self._wake.up()

    async def run(self) -> None:
        """Say it, and take it back, for ever; to be cancelled."""
        while True:
            if not self._listens():
                await self._wake.sleep()
                continue
            now = time.monotonic()
            self._note_rests(now)
            idle = [queue for queue, since in self._since.items() if now >= since + SETTLE]
            fresh = {queue: HOLD for queue in idle if now >= self._said.get(queue, -math.inf) + HOLD / 3}
            busy = {queue: 0.0 for queue in self._said if now >= self._rested[queue] + BUSY}
            if not fresh and not busy:
                await self._wake.sleep(self._next(now) - now)
                continue
            await self._patience.ask("saying what is idle", lambda: self._say(fresh | busy))  # noqa: B023
            new = not self._said.keys() >= fresh.keys()
            self._said = {q: at for q, at in self._said.items() if q not in busy} | dict.fromkeys(fresh, now)
            if new:
                self._look_after(*AFTER)

    def _note_rests(self, now: float) -> None:
        """Remember when each queue's last rest was that was long enough to count."""
        self._rested.update({queue: now for queue, since in self._since.items() if now >= since + SETTLE})

    def _next(self, now: float) -> float:
        """When there may be something to say."""
        times = [
            max(since + SETTLE, self._said.get(queue, -math.inf) + HOLD / 3)
            for queue, since in self._since.items()
        ]
        if self._said:  # it may be busy since, of which nobody wakes this loop
            times.append(now + BUSY)
        return min(times, default=now + HOLD)
