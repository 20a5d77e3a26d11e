"""Reliability #4: one seed is one run. Replay one with `make simulate SEED=n`; run many with `make simulate SEEDS=n`."""

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from rowqueue.store import AsyncStore
from tests.checker import Event, Report, check
from tests.simulation.controls import CONTROLS
from tests.simulation.crew import LEASE, Rules, Worker
from tests.simulation.memory import Memory, Record
from tests.simulation.people import Luck, Person, Producer
from tests.simulation.world import Odds, World

STEPS = 6000
"""After so many statements a run that is not over is judged as it stands: something is stuck."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run came to."""

    seed: int
    report: Report
    illegal: list[str]
    reached: Counter[str]
    steps: int
    jobs: int

    @property
    def violations(self) -> dict[str, list[Any]]:
        """What must be empty and is not."""
        found = self.report.violations()
        return found | {"illegal": self.illegal} if self.illegal else found

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.jobs} jobs, {self.steps} statements; {self.report}; {self.violations or 'sound'}"


class Stage:
    """A database in memory and a store's statements, for one run after the other."""

    def __init__(self, control: str = "") -> None:
        self.memory = Memory()
        base = AsyncStore("sqlite:///nowhere.db", lease=LEASE, max_rescues=4)
        rules = Rules(base, base._statements)
        self.rules = CONTROLS[control](rules) if control else rules

    def play(self, seed: int, tell: Callable[[str], None] | None = None) -> Verdict:
        """One run; the same seed is the same run."""
        chance = random.Random(seed)
        world = World(chance, self.memory.raw, tell)
        record = Record(world)
        self.memory.begin(record)
        self.memory.show(world)
        rules = replace(self.rules, whole=chance.random() < 0.3)
        world.odds = Odds()
        crew: list[Worker] = []

        def hire() -> None:
            crew.append(Worker(world, record, rules, len(crew) + 1))
            crew[-1].start()

        producers = [Producer(world, record, rules, first, chance.randint(1, 3)) for first in (0, 100)]
        for producer in producers:
            producer.start()
        workers = chance.randint(3, 6)
        for _ in range(workers):
            hire()
        Person(world, record, rules).start()
        Luck(world, hire, workers, chance.uniform(8, 18)).start()

        def over() -> bool:
            if record.unfinished or any(worker.process.busy and worker.process.alive for worker in crew):
                return False
            return all(producer.done for producer in producers)

        try:
            world.run(over, STEPS)
            events, rows = record.history(), record.rows()
            events += [Event("once", record.numbers[key], lease) for key, lease in self.memory.once()]
        finally:
            world.close()
        return Verdict(seed, check(events, rows), record.illegal, world.reached, world.steps, len(rows))


_MANY = 500
"""Seeds that a process takes at a time."""


@dataclass(slots=True)
class Sum:
    """What many runs came to."""

    runs: int = 0
    jobs: int = 0
    steps: int = 0
    starts: int = 0
    refused: int = 0
    explained: Counter[str] = field(default_factory=Counter[str])
    reached: Counter[str] = field(default_factory=Counter[str])
    bad: list[Verdict] = field(default_factory=list[Verdict])

    def add(self, verdict: Verdict) -> None:
        """One more run."""
        self.runs += 1
        self.jobs += verdict.jobs
        self.steps += verdict.steps
        self.starts += verdict.report.starts
        self.refused += verdict.report.stale_refused
        self.explained += verdict.report.explained
        self.reached += verdict.reached
        if verdict.violations:
            self.bad.append(verdict)

    def join(self, other: "Sum") -> None:
        """The runs of another process."""
        for name in ("runs", "jobs", "steps", "starts", "refused"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.explained += other.explained
        self.reached += other.reached
        self.bad += other.bad

    def __str__(self) -> str:
        reruns = ", ".join(f"{count:,} {cause}" for cause, count in sorted(self.explained.items()))
        found = {name for verdict in self.bad for name in verdict.violations}
        words = ", ".join(
            f"{name} {sum(name in each.violations for each in self.bad)}" for name in sorted(found)
        )
        return (
            f"{self.runs:,} runs, {self.jobs:,} jobs, {self.steps:,} statements, {self.starts:,} starts; "
            f"{self.reached['crashed']:,} crashes, {self.reached['reply of a commit lost']:,} commits without a reply, "
            f"{self.refused:,} stale writes refused; reruns: {reruns}; {words or 'no violation'}"
        )


def play_all(seeds: Iterable[int], control: str = "") -> Sum:
    """Many runs, in this process."""
    stage, found = Stage(control), Sum()
    for seed in seeds:
        found.add(stage.play(seed))
    return found


def _parallel(first: int, count: int, processes: int) -> Iterator[Sum]:
    parts = [range(begin, min(begin + _MANY, first + count)) for begin in range(first, first + count, _MANY)]
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(play_all, parts)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="replay one run, telling everything")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many runs")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--control", choices=sorted(CONTROLS), default="", help="replay with a negative control"
    )
    chosen = parser.parse_args()
    if chosen.seed is not None:
        verdict = Stage(chosen.control).play(chosen.seed, print)
        print(verdict)
        return int(bool(verdict.violations))
    began, total = time.monotonic(), Sum()
    for part in _parallel(chosen.first, chosen.seeds, chosen.processes):
        total.join(part)
        for verdict in part.bad:
            print(f"{verdict}\n  replay it: make simulate SEED={verdict.seed}", flush=True)
        if total.runs % 20_000 == 0:
            print(f"{total.runs:,} runs in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(
        f"seeds {chosen.first} to {chosen.first + chosen.seeds - 1} in {time.monotonic() - began:.0f} s: {total}"
    )
    return int(bool(total.bad))


if __name__ == "__main__":
    sys.exit(main())
