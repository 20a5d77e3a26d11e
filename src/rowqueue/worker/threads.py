"""Threads for ``def`` handlers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue


class Threads:
    """At most ``limit`` threads, started when needed.

    Not a ThreadPoolExecutor, because the interpreter joins that one's threads at its exit: one
    handler that hangs would keep a stopped worker's process for ever. These are daemons.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._started = 0
        self._outstanding = 0
        self._lock = threading.Lock()

    def run(self, call: Callable[[], None]) -> None:
        """Run ``call()``, which must not raise, in a thread."""
        with self._lock:
            self._outstanding += 1
            if self._started < min(self._outstanding, self._limit):
                self._started += 1
                name = f"{self._name}-{self._started}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
        self._calls.put(call)

    def close(self) -> None:
        """Let each thread end when its call has ended."""
        with self._lock:
            for _ in range(self._started):
                self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # or the last job's arguments live until the next one comes
            with self._lock:
                self._outstanding -= 1
