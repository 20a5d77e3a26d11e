"""The demo's worker processes: started, killed, frozen, and never left behind."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence

from rowqueue.cli.target import DATABASE_VARIABLE
from rowqueue.core.errors import RowqueueError

_MOST_DEATHS = 5


class WorkersDie(RowqueueError):
    """The demo's workers end by themselves, one after the other."""


class Worker:
    """One worker process, ``name`` in the database; the end of its stdin, which this process holds, stops it."""

    def __init__(self, number: int, name: str, process: subprocess.Popen[bytes]) -> None:
        self.number = number
        self.name = name
        self._process = process
        self._frozen = False

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False once it has ended, however."""
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL: no handler, no farewell."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> bool:
        """SIGSTOP, and wait until it stands still; False when it ended instead."""
        self._process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        self._frozen = os.WIFSTOPPED(status)
        if not self._frozen:
            self._process.returncode = os.waitstatus_to_exitcode(status)
        return self._frozen

    def thaw(self) -> None:
        """SIGCONT."""
        if self._frozen:
            self._process.send_signal(signal.SIGCONT)
            self._frozen = False

    def hang_up(self) -> None:
        """Ask it to stop: it reads the end of its stdin."""
        self.thaw()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def join(self, seconds: float) -> None:
        """Wait for its end, and kill it when that takes too long."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()


class Crew:
    """All worker processes of one run.

    Args:
        url: the database, password and all; it goes to the workers by their environment, which
            other users cannot read as they can a command line.
        arguments: for ``rowqueue.demo.worker``; each worker's name is put after them.
    """

    def __init__(self, url: str, arguments: Sequence[str]) -> None:
        self._environment = {**os.environ, DATABASE_VARIABLE: url}
        self._command = [sys.executable, "-m", "rowqueue.demo.worker", *arguments]
        self._name = f"demo-{secrets.token_hex(4)}"  # no other start has the same
        self._started = 0
        self._deaths = 0
        self.workers: list[Worker] = []

    def start(self) -> Worker:
        """Start one more worker."""
        self._started += 1
        name = f"{self._name}-{self._started}"
        # A group of its own: Ctrl-C is for the demo, which then stops its workers in order.
        process = subprocess.Popen(
            [*self._command, name], stdin=subprocess.PIPE, env=self._environment, process_group=0
        )
        worker = Worker(self._started, name, process)
        self.workers.append(worker)
        return worker

    def kill(self, worker: Worker) -> None:
        """Kill a worker and strike it off."""
        worker.kill()
        self.workers.remove(worker)

    def replace_dead(self) -> list[Worker]:
        """Start a worker for each that ended by itself; returns the dead.

        Raises:
            WorkersDie: too many did.
        """
        dead = [worker for worker in self.workers if not worker.alive]
        for worker in dead:
            self.workers.remove(worker)
            self._deaths += 1
            if self._deaths > _MOST_DEATHS:
                raise WorkersDie(
                    "the demo's workers end by themselves again and again: see their messages above"
                )
            self.start()
        return dead

    def stop(self, seconds: float = 10.0) -> None:
        """Stop all, and return when they have ended; who takes longer than ``seconds`` is killed."""
        for worker in self.workers:
            worker.hang_up()
        for worker in self.workers:
            worker.join(seconds)
        self.workers.clear()
