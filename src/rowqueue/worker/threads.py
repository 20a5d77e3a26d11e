"""Threads for ``def`` handlers, and the way back from them into the loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class Threads:
    """At most ``limit`` threads, started when needed.

    One thread is woken at a time, and it wakes the next one if there is more to do when it comes. Handlers that
    end at once are so run by a few threads in a row, without a wake-up for each; those that wait are joined by
    all the others as quickly as they can come.

    Not a ThreadPoolExecutor, because the interpreter joins that one's threads at its exit: one
    handler that hangs would keep a stopped worker's process for ever. These are daemons.
    """

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._calls: deque[Callable[[], object]] = deque()
        self._idle: list[Callable[[], None]] = []  # what wakes each
        self._started = 0
        self._coming = False
        self._closed = False
        self._lock = threading.Lock()

    def run(self, call: Callable[[], object]) -> None:
        """Run ``call()``, which must not raise, in a thread."""
        with self._lock:
            self._calls.append(call)
            wake = self._next()
        if wake is not None:
            wake()

    def close(self) -> None:
        """Let each thread end when there is nothing left to do."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for wake in idle:
            wake()

    def _next(self) -> Callable[[], None] | None:
        """What lets one more thread come, where there is something for it and none comes already; under the lock."""
        if not self._calls or self._coming:
            return None
        if self._idle:
            self._coming = True
            return self._idle.pop()
        if self._started < self._limit:
            self._coming = True
            self._started += 1
            return self._start
        return None

    def _start(self) -> None:
        name = f"{self._name}-{self._started}"
        try:
            threading.Thread(target=self._work, name=name, daemon=True).start()
        except RuntimeError:  # the system gives no more: those that there are do the work
            with self._lock:
                self._coming = False
                self._started -= 1
                left = self._started
            if not left:
                raise

    def _work(self) -> None:
        woken = threading.Lock()
        woken.acquire()
        comes = True
        while True:
            call = wake = None
            with self._lock:
                if comes:
                    self._coming = comes = False
                if self._calls:
                    call = self._calls.popleft()
                    wake = self._next()
                elif self._closed:
                    return
                else:
                    self._idle.append(woken.release)
            if call is None:
                woken.acquire()
                comes = True
                continue
            if wake is not None:
                wake()
            call()  # at the loop's next turn it is forgotten, or its arguments would live until another one comes


class Returns:
    """Calls from threads into the loop, which is woken once for all that come before it looks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._woken = False

    def call(self, function: Callable[..., object], *values: Any) -> None:
        """Call ``function(*values)`` in the loop's thread, soon.

        Raises:
            RuntimeError: the loop is closed.
        """
        self._calls.append((function, values))
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        self._woken = False  # before the calls are taken: whoever comes now wakes the loop again
        try:
            for _ in range(len(self._calls)):
                function, values = self._calls.popleft()
                function(*values)
        finally:
            if self._calls:
                self._loop.call_soon(self._run)
