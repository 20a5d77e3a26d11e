"""How many jobs may start at once, by queue and in all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping


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

    @property
    def left(self) -> int:
        """Free slots in all."""
        return self._total - self.busy

    def open(self) -> list[str]:
        """The queues of which one more job could start."""
        return [queue for queue in self._order if self._free[queue] > 0] if self.left > 0 else []

    def can_start(self, queue: str) -> bool:
        """One more job of that queue could start."""
        return self.left > 0 and self._free[self.slot_of(queue)] > 0

    def free(self, ahead: int = 0, first: Collection[str] = (), most: int | None = None) -> dict[str, int]:
        """Free slots by queue, at most ``left`` in all, without queues that have none.

        Args:
            ahead: so many more than are free, of each queue and in all.
            first: the queues to ask before others, should there be fewer slots than queues.
            most: no more than these in all.

        What is free in all is shared evenly, because a claim takes from queues in any order, and
        under load the first would leave nothing to the others. A share that its queue does not
        use goes to the others with the next claim, which follows at once.
        """
        left = self.left + ahead
        if most is not None:
            left = min(left, most)
        if left <= 0:
            return {}
        free = [queue for queue in self._order if self._free[queue] + ahead > 0]
        queues = sorted(free, key=lambda queue: queue not in first)[:left]
        share, rest = divmod(left, len(queues) or 1)
        return {queue: min(self._free[queue] + ahead, share + (n < rest)) for n, queue in enumerate(queues)}

    def rotate(self, asked: int) -> None:
        """So many queues were asked: begin with the ones after them."""
        step = asked if asked < len(self._order) else 1
        self._order = self._order[step:] + self._order[:step]

    def slot_of(self, queue: str) -> str:
        """Which of the queues a row of that queue counts for."""
        return queue

    def take(self, queue: str) -> None:
        """A job of that queue starts."""
        self.busy += 1
        self._free[queue] -= 1

    def give(self, queue: str) -> None:
        """It ended."""
        self.busy -= 1
        self._free[queue] += 1
        self._on_free()


class TableSlots(Slots):
    """The slots of a table: whatever its rows say of queues, they share them.

    Args:
        name: what the table is called.
        total: the most rows that are worked at once.
        on_free: called whenever one ends.
    """

    def __init__(self, name: str, total: int, on_free: Callable[[], None]) -> None:
        super().__init__({name: total}, total, on_free)
        self._name = name

    def slot_of(self, queue: str) -> str:  # noqa: ARG002 - all the same here
        """The table's."""
        return self._name

    def take(self, queue: str) -> None:  # noqa: ARG002 - all the same here
        """A row is begun."""
        super().take(self._name)

    def give(self, queue: str) -> None:  # noqa: ARG002 - all the same here
        """It ended."""
        super().give(self._name)
