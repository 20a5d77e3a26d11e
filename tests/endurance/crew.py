"""``rowqueue work --processes 2`` from outside: what runs, how much it takes, and a way to kill some of it."""

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from tests.support.session import ROOT
from tests.support.waiting import wait_until

ARGUMENTS = ["--queue", "default=4", "--queue", "processes=1", "--poll", "0.5", "--processes", "2"]
WHOLE = 5
"""Processes of a crew that works: the supervisor, two workers, a child of each."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a crew takes: processes, memory of all (bytes), and of the worker that nobody kills."""

    processes: int
    memory: int
    survivor_memory: int
    survivor_files: int
    survivor_threads: int

    def __str__(self) -> str:
        mib = 1 << 20
        return (
            f"{self.processes} processes, {self.memory / mib:.0f} MiB; the worker that is left alone: "
            f"{self.survivor_memory / mib:.0f} MiB, {self.survivor_files} files, {self.survivor_threads} threads"
        )


class Crew:
    """A supervisor, its workers and their children.

    Args:
        environment: for all of them.
        log: where they write.
        seed: of the choice whom to kill.
    """

    def __init__(self, environment: dict[str, str], log: IO[bytes], seed: int = 1) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rowqueue", "work", "tests.endurance.jobs:app", *ARGUMENTS],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self._supervisor = psutil.Process(self._process.pid)
        self._chance = random.Random(seed)
        self._survivor: psutil.Process | None = None
        self.seen: set[psutil.Process] = set()
        self.kills = {"worker": 0, "child": 0}

    def look(self) -> list[psutil.Process]:
        """Everything that runs now, the supervisor first."""
        assert self._process.poll() is None, "the supervisor is gone"
        below = self._supervisor.children(recursive=True)
        self.seen.update(below)
        return [self._supervisor, *below]

    def gather(self, feed: Callable[[], None]) -> None:
        """Feed them until all of them work; from the first time on, one worker is left alone."""

        def works() -> bool:
            feed()
            return len(self.look()) >= WHOLE

        wait_until(works, "the whole crew to work", 60)
        self._survivor = self._survivor or self._workers()[0]

    def standing(self) -> Standing:
        """What they take now."""
        assert self._survivor is not None
        taken = []
        for each in self.look():
            with contextlib.suppress(psutil.NoSuchProcess):
                taken.append(each.memory_info().rss)
        survivor = self._survivor
        return Standing(
            len(taken), sum(taken), survivor.memory_info().rss, survivor.num_fds(), survivor.num_threads()
        )

    def kill(self) -> None:
        """SIGKILL to the worker that is not left alone, or to a child of either: to what was killed less, if it is there."""
        workers = self._workers()
        among = {
            "worker": [each for each in workers if each != self._survivor],
            "child": [each for each in self.look()[1:] if each not in workers],
        }
        for kind in sorted(self.kills, key=lambda name: self.kills[name]):
            if among[kind]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._chance.choice(among[kind]).kill()
                    self.kills[kind] += 1
                return

    def stop(self) -> int:
        """SIGTERM; returns the exit code. Nobody is left then."""
        everybody = self.look()
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(60)
        _, alive = psutil.wait_procs(everybody, timeout=10)
        assert not alive, f"left behind: {alive}"
        return code

    def _workers(self) -> list[psutil.Process]:
        return sorted(self._supervisor.children(), key=lambda each: each.create_time())

    def end(self) -> None:
        """Whatever went wrong: all of them are dead afterwards."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in [self._supervisor, *self._supervisor.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        self._process.wait(60)


@contextlib.contextmanager
def crew(environment: dict[str, str], log: Path) -> Iterator[Crew]:
    """A crew that is dead at the end of the block."""
    with log.open("ab") as file:
        made = Crew(environment, file)
        try:
            yield made
        finally:
            made.end()
