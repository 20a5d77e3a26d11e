"""Where a worker's next claim of a queue begins."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from rowqueue.core.values import Claim
from rowqueue.operations.claim import Place, place_of

LONGEST = 0.25
"""Seconds after which a queue is claimed from its front again, however long that takes."""

SHARE = 10
"""A claim from the front is due again after so many times as long as the last one took."""


class Marks:
    """Remembers the last job of each queue's last claim, if that came back full: the next claim begins behind it.

    In front of it are the index entries of what was claimed before. PostgreSQL cannot clean them up while any
    snapshot is older, and a claim from the front walks over every one: after 100,000 jobs it took four times as
    long. A job that gets in front of the mark, because it is more urgent or was given back, is found by the next
    claim from the front, or by one that comes back short, which has looked there, too.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: dict[str, tuple[Place, float]] = {}

    def now(self) -> dict[str, Place]:
        """The marks that hold; a queue without one is claimed from its front."""
        now = self._clock()
        return {queue: mark for queue, (mark, until) in self._marks.items() if now < until}

    def note(
        self, wanted: Mapping[str, int], after: Mapping[str, Place], claims: Sequence[Claim], took: float
    ) -> None:
        """A claim came back.

        Args:
            wanted: its queues, and how many of each.
            after: the marks that it began behind.
            claims: in order.
            took: seconds.
        """
        due = self._clock() + min(LONGEST, SHARE * took)
        queues = [claim.job.queue for claim in claims]
        got = Counter(queues)
        for queue, slots in wanted.items():
            _, until = self._marks.pop(queue, (None, due))
            if got[queue] < slots:
                continue
            first, last = queues.index(queue), len(queues) - 1 - queues[::-1].index(queue)
            if queue not in after:
                until = due
            elif place_of(claims[first].job) <= after[queue]:  # nothing was left behind it
                continue
            self._marks[queue] = (place_of(claims[last].job), until)
