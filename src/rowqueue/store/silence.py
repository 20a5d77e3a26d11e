"""A server that falls silent: who waits for its answer is freed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Line(Protocol):
    """A connection that one thread waits at."""

    def hang_up(self) -> None:
        """From any thread: whoever waits for an answer here gets an error."""


class Silence:
    """Hangs up on a server that lets an operation wait for too long: one thread, begun by the first operation.

    Every operation has the same patience, so the one that began first is due first. Nobody wakes the thread for a
    new one: it sleeps for one patience at most, and what begins meanwhile is not due before that.

    Args:
        patience: how long an operation may wait (seconds).
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._changed = threading.Condition()
        self._due: dict[Line, float] = {}
        self._watched = False
        self._closed = False

    @contextmanager
    def over(self, line: Line) -> Iterator[None]:
        """Around an operation; once it has ended its connection is left alone."""
        with self._changed:
            self._closed = False
            if not self._watched:
                threading.Thread(target=self._watch, name="rowqueue-silence", daemon=True).start()
                self._watched = True
            self._due[line] = time.monotonic() + self._patience
        try:
            yield
        finally:
            with self._changed:
                self._due.pop(line, None)

    def _watch(self) -> None:
        with self._changed:
            while self._due or not self._closed:
                now = time.monotonic()
                for line in [line for line, due in self._due.items() if due <= now]:
                    del self._due[line]
                    line.hang_up()  # under the lock: an operation that ends now waits, and then gives back a dead line
                earliest = min(self._due.values(), default=now + self._patience)
                self._changed.wait(earliest - now)
            self._watched = False

    def close(self) -> None:
        """End the thread, or let it end with the last operation that it watches over."""
        with self._changed:
            self._closed = True
            self._changed.notify()
