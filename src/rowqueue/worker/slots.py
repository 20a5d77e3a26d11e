"""How many jobs may start at once, by queue and in all."""

from __future__ import annotations

from collections.abc import Callable, Mapping


class Slots:
    """Counts what runs; for the loop's own thread.

    Args:
        queues: the most jobs of each queue.
        total: the most jobs of all.
        on_free: called whenever one ends.
    """

    def __init__(self, queues: Mapping[str, int], total: int, on_free: Callable[[], None]) -> None:
        self._free = dict(queues)
        self._order = list(queues)
        self._total = total
        self._on_free = on_free
        self.busy = 0

    def free(self) -> dict[str, int]:
        """Free slots by queue, without queues that have none, none above what is free in all."""
        left = self._total - self.busy
        if left <= 0:
            return {}
        return {queue: min(free, left) for queue in self._order if (free := self._free[queue]) > 0}

    @property
    def left(self) -> int:
        """Free slots in all."""
        return self._total - self.busy

    def rotate(self) -> None:
        """Let another queue be first: under load the first one would take every slot."""
        self._order.append(self._order.pop(0))

    def take(self, queue: str) -> None:
        """A job of that queue starts."""
        self.busy += 1
        self._free[queue] -= 1

    def give(self, queue: str) -> None:
        """It ended."""
        self.busy -= 1
        self._free[queue] += 1
        self._on_free()
