"""Several worker processes as one: start them, pass signals on, wait for all."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType


class Supervisor:
    """Runs the same ``rowqueue`` command in several processes.

    A child has a process group of its own, so that Ctrl-C reaches it once, through here; and it
    holds the read end of a pipe, so that it stops when this process is killed.

    Args:
        arguments: of the command, ``["work", "shop:app", "--lifeline"]``.
        processes: how many.
    """

    def __init__(self, arguments: Sequence[str], processes: int) -> None:
        self._command = [sys.executable, "-m", "rowqueue", *arguments]
        self._count = processes
        self._children: list[subprocess.Popen[bytes]] = []
        self._signalled: list[int] = []

    def run(self) -> int:
        """Start the children, wait until all have ended, and return the worst exit code."""
        with self._signals():
            try:
                for _ in range(self._count):
                    self._start()
                with ThreadPoolExecutor(self._count) as waiting:  # so that each end is told when it happens
                    return max(waiting.map(self._wait, self._children))
            finally:
                self._end()

    def _start(self) -> None:
        before = len(self._signalled)
        child = subprocess.Popen(self._command, stdin=subprocess.PIPE, process_group=0)
        self._children.append(child)
        for number in self._signalled[:before]:  # what came before it was there
            child.send_signal(number)

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        code = child.wait()
        if code < 0:
            name = signal.Signals(-code).name
            print(f"worker process {child.pid} was ended by {name}", file=sys.stderr, flush=True)
            return 128 - code
        return code

    def _end(self) -> None:
        """Whatever went wrong here, no child stays behind: the end of its stdin stops it."""
        for child in self._children:
            if child.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    child.stdin.close()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def forward(number: int, _frame: FrameType | None) -> None:
            self._signalled.append(number)
            for child in self._children:
                child.send_signal(number)

        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, forward) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
