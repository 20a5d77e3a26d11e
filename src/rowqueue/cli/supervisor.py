"""Several worker processes as one: start them, restart what dies, pass signals on, wait for all."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

from rowqueue.worker.signals import stopping_signals

FIRST, LONGEST = 0.5, 30.0
"""Seconds before a process that died is started again; doubled each time."""

HEALTHY = 60.0
"""Seconds of running after which a death counts as the first."""

REFUSED = 2
"""Exit code of a worker that cannot start, such as without its tables: starting it again would not help."""


class Supervisor:
    """Runs the same ``rowqueue`` command in several processes.

    A child has a process group of its own, so that Ctrl-C reaches it once, through here; and it
    holds the read end of a pipe, so that it stops when this process is killed. One that dies is
    started again, after a pause that grows.

    Args:
        arguments: of the command, ``["work", "shop:app", "--lifeline"]``.
        processes: how many.
        drain: a child that ends with 0 has done its work; else it is started again, too.
    """

    def __init__(self, arguments: Sequence[str], processes: int, *, drain: bool = False) -> None:
        self._command = [sys.executable, "-m", "rowqueue", *arguments]
        self._count = processes
        self._drain = drain
        self._children: set[subprocess.Popen[bytes]] = set()
        self._signalled: list[int] = []
        self._stopping = threading.Event()
        # The signal handler takes this lock in the main thread, which holds it nowhere else.
        self._lock = threading.Lock()

    def run(self) -> int:
        """Keep the children running until they are stopped or done; returns the worst last exit code."""
        with self._signals():
            try:
                with ThreadPoolExecutor(self._count) as keepers:
                    return max(keepers.map(lambda _: self._keep(), range(self._count)))
            finally:
                self._end()

    def _keep(self) -> int:
        """Keep one child running; returns the exit code of its last process."""
        pause, code = FIRST, 0
        while (child := self._start()) is not None:
            began = time.monotonic()
            code = self._wait(child)
            if self._stopping.is_set() or code == REFUSED or (code == 0 and self._drain):
                return code
            if time.monotonic() - began >= HEALTHY:
                pause = FIRST
            self._say(f"a new worker process starts in {pause:g} s")
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST)
        return 0 if self._stopping.is_set() else code

    def _start(self) -> subprocess.Popen[bytes] | None:
        with self._lock:  # a signal comes before it is started, or when it can be passed on
            if self._stopping.is_set():
                return None
            child = subprocess.Popen(self._command, stdin=subprocess.PIPE, process_group=0)
            self._children.add(child)
            return child

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        code = child.wait()
        with self._lock:
            self._children.discard(child)
        self._let_go(child)
        if code >= 0:
            return code
        if -code in self._signalled:  # it was asked to stop before it could listen, and had no job yet
            return 0
        self._say(f"worker process {child.pid} was ended by {signal.Signals(-code).name}")
        return 128 - code

    def _end(self) -> None:
        """Whatever went wrong here, no child stays behind: the end of its stdin stops it."""
        self._stopping.set()
        for child in list(self._children):
            self._let_go(child)

    @staticmethod
    def _let_go(child: subprocess.Popen[bytes]) -> None:
        if child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def forward(number: int, _frame: FrameType | None) -> None:
            self._stopping.set()
            with self._lock:
                self._signalled.append(number)
                for child in self._children:
                    child.send_signal(number)

        before = {number: signal.signal(number, forward) for number in stopping_signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
