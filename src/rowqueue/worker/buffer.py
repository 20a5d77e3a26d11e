"""Jobs that were claimed ahead of a free slot (``prefetch``): in order, their leases kept, given back unworked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count

from rowqueue.core.finish import Finish
from rowqueue.core.states import Verb
from rowqueue.worker.attempt import Attempt, Held, Interruption
from rowqueue.worker.finishing import Finishing
from rowqueue.worker.slots import Slots


class Buffer:
    """Starts what can start, and keeps the rest until a slot is free; for the loop's own thread.

    Args:
        size: the most that are kept.
        slots: what can start.
        start: starts an attempt.
        held: whose leases are kept, those of the buffer too.
        finishing: who gives back what is not started.
    """

    def __init__(
        self, size: int, slots: Slots, start: Callable[[Attempt], None], held: Held, finishing: Finishing
    ) -> None:
        self._size = size
        self._slots = slots
        self._start = start
        self._held = held
        self._finishing = finishing
        self._queues: dict[str, deque[tuple[int, Attempt]]] = {}
        self._turn = count()
        self._length = 0
        self._filling = False
        self._stopped = False

    def __len__(self) -> int:
        """How many wait for a slot."""
        return self._length

    @property
    def room(self) -> int:
        """How many more it keeps."""
        return max(0, self._size - self._length)

    def add(self, attempt: Attempt) -> None:
        """Start it, after those of its queue that came before."""
        queue = self._slots.slot_of(attempt.claim.job.queue)
        if not self._length and self._slots.can_start(queue):  # as mostly, without a buffer
            self._start(attempt)
            return
        attempt.run = _Waiting(self, attempt)
        self._queues.setdefault(queue, deque()).append((next(self._turn), attempt))
        self._length += 1

    def fill(self) -> None:
        """Start what can start now; a call from within starts nothing, because this one goes on."""
        if self._filling:
            return
        self._filling = True
        try:
            while self._length and (attempt := self._next()) is not None:
                attempt.run = None
                self._start(attempt)
        finally:
            self._filling = False
        if self._stopped and self._length:
            self.stop()

    def stop(self) -> None:
        """Give back what waits, and from now on what cannot start at once."""
        self._stopped = True
        waiting = sorted(entry for queue in self._queues.values() for entry in queue)
        for _, attempt in waiting:
            attempt.interrupt(Interruption.STOP)

    def leave(self, attempt: Attempt, why: Interruption) -> None:
        """Take one out again: somebody cancelled it, or its lease is lost, or was not kept."""
        queue = self._queues[self._slots.slot_of(attempt.claim.job.queue)]
        queue.remove(next(entry for entry in queue if entry[1] is attempt))
        self._length -= 1
        attempt.run = None
        if why is Interruption.LOST:
            self._held.drop([attempt])
            return
        finish = Finish(attempt.claim, Verb.RELEASE)
        if why is Interruption.CANCEL:
            finish = Finish(attempt.claim, Verb.CANCEL, error="cancelled before it began, as somebody asked")
        attempt.ended = True
        self._finishing.add(attempt, finish, raised=False)

    def _next(self) -> Attempt | None:
        """The one that came first among those whose queue has a free slot."""
        heads = [queue for name, queue in self._queues.items() if queue and self._slots.can_start(name)]
        if not heads:
            return None
        self._length -= 1
        return min(heads, key=lambda queue: queue[0][0]).popleft()[1]


class _Waiting:
    """What an attempt in the buffer is stopped by."""

    def __init__(self, buffer: Buffer, attempt: Attempt) -> None:
        self._buffer = buffer
        self._attempt = attempt

    def stop(self, why: Interruption) -> None:
        """Take it out."""
        self._buffer.leave(self._attempt, why)

    def ended(self) -> None:
        """Nothing runs."""
