"""A supervised worker that is left running while its database is restarted and its processes are killed.

`make endurance MINUTES=10`, or `python -m tests.endurance.run --minutes 10 --jobs 50000`: a private PostgreSQL, stopped
three times as by a crash; a third of all processes killed with SIGKILL; jobs of every sort. At the end the checker
judges what was said by producers, handlers and database, and the crew is compared with what it was at the beginning.
"""

import argparse
import contextlib
import json
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from rowqueue.core.errors import StoreError
from rowqueue.core.states import FINAL
from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from tests.checker import Event, Report, Row, check
from tests.endurance.crew import Crew, Standing, crew
from tests.support.postgres import PrivatePostgres, make_server_directory
from tests.support.waiting import wait_until

MIX = (
    *["quick"] * 8,
    *["thread"] * 5,
    "process",
    *["failing"] * 2,
    "snoozing",
    "unique",
    "scheduled",
    "hopeless",
)
"""Of twenty jobs; `unique` and `scheduled` are quick ones that are enqueued in another way."""

MORE_MEMORY = 32 << 20
"""What the worker that is left alone may have grown by (bytes): caches fill, and the allocator keeps what it got."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long jobs are enqueued, how many, and what happens meanwhile."""

    seconds: float
    jobs: int
    kill_every: float
    lease: float
    restarts: int = 3
    down: float = 1.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    report: Report
    before: Standing
    after: Standing
    exit_code: int
    processes: int
    kills: dict[str, int]
    states: Counter[str]
    said: Counter[str]
    connections: int
    seconds: float

    def __str__(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        said = ", ".join(f"{count} {name}" for name, count in sorted(self.said.items()))
        return (
            f"{self.seconds:.0f} s, {self.states.total()} jobs ({states})\n"
            f"killed {self.kills} of {self.processes} processes that there were; exit code {self.exit_code}\n"
            f"said by workers: {said}\n"
            f"at the beginning: {self.before}\nat the end:       {self.after}\n"
            f"connections left: {self.connections}\n"
            f"checker: {self.report}"
        )

    def faults(self) -> list[str]:
        """What should not be."""
        found = [f"{name}: {keys}" for name, keys in self.report.violations().items()]
        if sum(self.kills.values()) * 3 < self.processes:
            found.append("fewer than a third of the processes were killed")
        if self.exit_code or self.connections:
            found.append("it did not stop in order")
        if self.after.processes != self.before.processes:
            found.append("there are not as many processes as at the beginning")
        if self.after.survivor_memory > self.before.survivor_memory + MORE_MEMORY:
            found.append("memory grew")
        if self.after.survivor_files > self.before.survivor_files + 4:
            found.append("files were left open")
        return found


class Producer(threading.Thread):
    """Enqueues evenly over the time; what a failed call wanted may be there, so others are enqueued in their place."""

    def __init__(self, url: str, plan: Plan) -> None:
        super().__init__(name="producer", daemon=True)
        self._store = Store(url)
        self._plan = plan
        self.history: list[Event] = []
        self._fed = self._answered = 0

    def feed(self) -> None:
        """Two jobs for children, so that each worker starts one."""
        self._fed -= 2
        batch = range(self._fed, self._fed + 2)
        self._store.enqueue_many(
            [NewJob(kind="process", args={"number": number}, queue="processes") for number in batch]
        )
        self.history += [Event("enqueue", number) for number in batch]
        time.sleep(0.1)  # a worker polls twice a second

    def run(self) -> None:
        began, number = time.monotonic(), 0
        pause = threading.Event()
        while self._answered < self._plan.jobs:
            due = min(1.0, (time.monotonic() - began) / self._plan.seconds) * self._plan.jobs
            batch = range(number, number + min(200, int(due) - self._answered))
            number = batch.stop
            self._enqueue(batch)
            pause.wait(0.2)

    def close(self) -> None:
        """Close its connections."""
        self._store.close()

    def _enqueue(self, batch: range) -> None:
        try:
            answers = self._store.enqueue_many([_job(number) for number in batch])
        except StoreError:
            self.history += [Event("enqueue", number, answer="unknown") for number in batch]
            return
        for number, answer in zip(batch, answers, strict=True):
            self._answered += 1
            self.history.append(Event("enqueue", number, answer="ok" if answer.inserted else "fail"))


def _job(number: int) -> NewJob:
    kind = MIX[number % len(MIX)]
    args = {"number": number}
    match kind:
        case "unique":
            return NewJob(kind="quick", args=args, unique_key=f"pair {number // (2 * len(MIX))}")
        case "scheduled":
            return NewJob(kind="quick", args=args, delay=number % 7 / 2)
        case "process":
            return NewJob(kind=kind, args=args, queue="processes")
        case "hopeless":
            return NewJob(kind=kind, args=args, max_attempts=2)
    return NewJob(kind=kind, args=args)


def endure(plan: Plan, folder: Path, postgres: PrivatePostgres) -> Result:
    """Run it all; in the thread that started the server."""
    began = time.monotonic()
    with contextlib.closing(Store(postgres.url)) as store:
        store.init()
    environment = {
        "ENDURANCE_DATABASE": postgres.url,
        "ENDURANCE_FOLDER": str(folder),
        "ENDURANCE_LEASE": str(plan.lease),
    }
    with crew(environment, folder / "crew.log") as workers:
        producer = Producer(postgres.url, plan)
        workers.gather(producer.feed)
        producer.start()
        before = _disturb(plan, postgres, workers, producer)
        workers.gather(producer.feed)
        _wait_for_all(postgres.url, workers)
        producer.close()
        after = workers.standing()
        code = workers.stop()
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
    assert found is not None
    rows, kept, states = _rows(postgres.url)
    report = check([*producer.history, *_said(folder), *kept], rows)
    said = Counter((folder / "events.txt").read_text().split())
    return Result(
        report,
        before,
        after,
        code,
        len(workers.seen),
        workers.kills,
        states,
        said,
        found[0],
        time.monotonic() - began,
    )


def _disturb(plan: Plan, postgres: PrivatePostgres, workers: Crew, producer: Producer) -> Standing:
    """Restart the database and kill processes while jobs are enqueued, but for the first and the last part of the time.

    Returns:
        How the crew stood after the first part.
    """
    began = time.monotonic()
    first, last = 0.05 * plan.seconds, 0.9 * plan.seconds
    restarts = [last * (turn + 0.5) / plan.restarts for turn in range(plan.restarts)]
    before: Standing | None = None
    kill_at = first
    pause = threading.Event()
    while producer.is_alive():
        now = time.monotonic() - began
        if before is None and now > first:
            before = workers.standing()
        if restarts and now > restarts[0]:
            restarts.pop(0)
            postgres.stop("immediate")
            pause.wait(plan.down)
            postgres.start()
        if kill_at < now < last:
            kill_at = now + plan.kill_every
            workers.kill()
        workers.look()
        pause.wait(0.25)
    assert before is not None, "the run was too short"
    assert not restarts, "the run was too short for its restarts"
    return before


def _wait_for_all(url: str, workers: Crew) -> None:
    with contextlib.closing(Store(url)) as store:

        def done() -> bool:
            workers.look()
            pause.wait(0.5)
            queues = store.stats().queues
            return not any(
                count for queue in queues for state, count in queue.counts.items() if state not in FINAL
            )

        pause = threading.Event()
        wait_until(done, "the last jobs", 120)


def _said(folder: Path) -> Iterator[Event]:
    for path in sorted(folder.glob("said-*.jsonl")):
        for line in path.read_text().split("\n")[:-1]:  # the last may be torn by a kill
            yield Event(**json.loads(line))


def _rows(url: str) -> tuple[dict[int, Row], list[Event], Counter[str]]:
    """How the jobs stand by number, what their errors tell of the past, and how many stand in which state."""
    rows: dict[int, Row] = {}
    events: list[Event] = []
    states: Counter[str] = Counter()
    with contextlib.closing(Store(url)) as store, psycopg.connect(url) as connection:
        for key, failed in connection.execute("SELECT id, errors IS NOT NULL FROM rowqueue_job"):
            job = store.get(key)
            assert job is not None
            number = job.args["number"]
            assert isinstance(number, int)
            assert number not in rows, f"{number} was enqueued twice"
            states[f"{job.kind} {job.state}"] += 1
            rows[number] = Row(job.state in FINAL, job.state == "running", job.state == "completed")
            for entry in job.errors if failed else ():
                rescued = entry.error.startswith("the lease ran out")
                cause = (
                    "rescued" if rescued else "died" if entry.error.startswith("ChildFailed") else "failed"
                )
                what = "rescue" if rescued else "gave_back"
                events.append(Event(what, number, entry.lease, entry.at.timestamp(), cause=cause))  # type: ignore[arg-type]
    return rows, events, states


def main() -> int:
    """The command."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--jobs", type=int, help="5,000 a minute unless said otherwise")
    given = options.parse_args()
    plan = Plan(
        seconds=60 * given.minutes,
        jobs=given.jobs or int(5000 * given.minutes),
        kill_every=max(1.0, 1.5 * given.minutes),
        lease=10.0,
    )
    folder = make_server_directory("rowqueue-endurance-")
    try:
        with PrivatePostgres(folder) as postgres:
            (folder / "said").mkdir()
            result = endure(plan, folder / "said", postgres)
        print(result)
        for fault in result.faults():
            print(f"FAULT: {fault}", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if result.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
