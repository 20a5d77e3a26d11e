"""Processes that work for the bench: started together, and never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from rowqueue.bench.place import Place
from rowqueue.bench.worker import Done, Task
from rowqueue.cli.target import DATABASE_VARIABLE
from rowqueue.core.errors import RowqueueError


class Crew:
    """So many processes with the same task, ready to begin."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes
        for process in processes:
            self._line(process)

    def go(self) -> None:
        """Begin."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

    def end(self) -> None:
        """Stop waiting for jobs."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()

    def done(self) -> list[Done]:
        """What each did, once all have ended.

        Raises:
            RowqueueError: one of them ended otherwise.
        """
        return [Done(**json.loads(self._line(process))) for process in self._processes]

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RowqueueError(
                f"a process of the bench ended by itself (exit code {process.wait()}): see above"
            )
        return line


@contextlib.contextmanager
def crew(place: Place, task: Task, processes: int = 1) -> Iterator[Crew]:
    """Start them, and wait until they are ready; whatever happens, none is left at the end."""
    environment = {**os.environ, DATABASE_VARIABLE: place.url}
    started: list[subprocess.Popen[str]] = []
    try:
        started += (_start(task, environment) for _ in range(processes))
        yield Crew(started)
        for process in started:
            process.wait(30)
    finally:
        for process in started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


def _start(task: Task, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rowqueue.bench.worker", task.line()]
    pipe = subprocess.PIPE
    # A group of its own: Ctrl-C is for the bench, which then ends them.
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, process_group=0, text=True)
