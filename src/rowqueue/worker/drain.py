"""When a draining worker has nothing left: in none of its tables, at one and the same time."""

from __future__ import annotations

from collections.abc import Callable


class Drain:
    """Each table finds for itself that nothing is left; that counts until jobs start anywhere, which may add to it.

    Args:
        idle: whether nothing runs in the whole worker and nothing is unwritten.
        on_done: called when nothing is left anywhere.
    """

    def __init__(self, idle: Callable[[], bool], on_done: Callable[[], None]) -> None:
        self.idle = idle
        self._on_done = on_done
        self._dry: dict[object, int] = {}
        self.starts = 0

    def join(self, who: object) -> None:
        """One more table has to be empty."""
        self._dry[who] = -1

    def started(self) -> None:
        """Jobs were claimed."""
        self.starts += 1

    def nothing_left(self, who: object, starts: int) -> None:
        """A table was empty, as asked when jobs had started so many times and all was idle."""
        self._dry[who] = starts
        if self.done:
            self._on_done()

    def is_dry(self, who: object) -> bool:
        """That table was empty, and nothing has started since."""
        return self._dry[who] == self.starts

    @property
    def done(self) -> bool:
        """Nothing is left anywhere."""
        return all(starts == self.starts for starts in self._dry.values())
