"""An experiment: jobs, worker processes, what is done to their database, and the judgement (`tests/checker.py`)."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from rowqueue.core.errors import StoreError, StoreFull
from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from tests.checker import Event, Report, check
from tests.faults import audit
from tests.faults.hand import Plan
from tests.support.session import ROOT
from tests.support.waiting import wait_until

PATIENCE = 60.0


@dataclass(slots=True)
class Verdict:
    """What came of an experiment.

    Attributes:
        report: the checker's.
        said: how often workers said what.
        unresolved: completed jobs of which not exactly one worker was told so, once.
        claims: the moments (`time.time`) at which something was claimed.
    """

    report: Report
    said: Counter[str]
    unresolved: list[int]
    claims: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        said = ", ".join(f"{count} {name}" for name, count in sorted(self.said.items()) if name != "effect")
        return f"{self.report}; unresolved {len(self.unresolved)}; said: {said}"

    def faults(self) -> dict[str, list[Any]]:
        """What must be empty."""
        return self.report.violations() | ({"unresolved": self.unresolved[:5]} if self.unresolved else {})

    def wait_after(self, moment: float) -> float:
        """Seconds from a moment (`time.time`) to the first claim after it."""
        return min(claim for claim in self.claims if claim > moment) - moment


class Producer(threading.Thread):
    """Enqueues so many jobs in small batches; a batch that was not answered is not repeated, but others follow."""

    def __init__(self, url: str, jobs: int, pause: float, batch: int, kinds: Iterable[str], pad: int) -> None:
        super().__init__(name="producer", daemon=True)
        self._store = Store(url)
        self._jobs, self._batch = jobs, batch
        self.pause, self._pad = pause, "x" * pad
        self._kinds = tuple(kinds)
        self.history: list[Event] = []
        self.answered = self.refused = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        number = 0
        while self.answered < self._jobs and not self.stopped.is_set():
            batch = range(number, number + min(self._batch, self._jobs - self.answered))
            number = batch.stop
            try:
                self._store.enqueue_many([self._job(each) for each in batch])
            except StoreFull:
                self.history += [Event("enqueue", each, answer="fail") for each in batch]
                self.refused += 1
                self.stopped.wait(0.05)
            except StoreError:
                self.history += [Event("enqueue", each, answer="unknown") for each in batch]
                self.stopped.wait(0.05)
            else:
                self.history += [Event("enqueue", each) for each in batch]
                self.answered += len(batch)
                self.stopped.wait(self.pause)
        self._store.close()

    def _job(self, number: int) -> NewJob:
        kind = self._kinds[number // 2 % len(self._kinds)]
        meta = {"pad": self._pad} if self._pad else None
        return NewJob(kind=kind, args={"number": number}, meta=meta, max_attempts=1000)


class Scene:
    """Worker processes on one PostgreSQL database, and everything that is known about them.

    Args:
        url: the database, as the judge reaches it.
        folder: for what the workers say.
        options: of `Plan`; `url` there is how workers reach it.
    """

    def __init__(self, url: str, folder: Path, /, **options: Any) -> None:
        self.url = url
        self.folder = folder
        self.plan = Plan(**{"url": url, "folder": str(folder), **options})
        self.hands: list[subprocess.Popen[bytes]] = []
        self.producer: Producer | None = None
        self._errors = (folder / "errors.txt").open("ab")
        with contextlib.closing(Store(url)) as store:
            store.init()
        audit.install(url)

    def hire(self, count: int, *prefix: str, **options: Any) -> list["subprocess.Popen[bytes]"]:
        """Start so many, by a command that runs them elsewhere, with other options; waits until they work."""
        plan = asdict(self.plan) | options
        hired = [
            subprocess.Popen(
                [*prefix, sys.executable, "-m", "tests.faults.hand", json.dumps(plan)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT / "src"))},
                stderr=self._errors,
                start_new_session=True,
            )
            for _ in range(count)
        ]
        self.hands += hired
        wait_until(lambda: self.count("WorkerStarted") >= len(self.hands), "the workers to start", PATIENCE)
        return hired

    def produce(
        self,
        jobs: int,
        *,
        url: str = "",
        pause: float = 0.02,
        batch: int = 20,
        kinds: Iterable[str] = ("told", "once"),
        pad: int = 0,
    ) -> Producer:
        """Begin to enqueue; each job with so many bytes beside its number."""
        self.producer = Producer(url or self.plan.url, jobs, pause, batch, kinds, pad)
        self.producer.start()
        return self.producer

    def drain(self, timeout: float = PATIENCE, url: str = "") -> None:
        """Wait until the producer has its answers and every job is final."""
        assert self.producer is not None
        self.producer.join(timeout)
        assert not self.producer.is_alive(), "the producer is still waiting for answers"
        with psycopg.connect(url or self.url, autocommit=True) as connection:
            wait_until(lambda: not _unfinished(connection), "the last jobs", timeout)

    def stop(self) -> list[int]:
        """SIGTERM to all; their exit codes."""
        for hand in self.hands:
            hand.send_signal(signal.SIGTERM)
        return [hand.wait(PATIENCE) for hand in self.hands]

    def lines(self) -> Iterator[dict[str, Any]]:
        """What workers said, in the order of each."""
        for path in sorted(self.folder.glob("hand-*.jsonl")):
            yield from _lines(path)

    def lines_of(self, pid: int) -> Iterator[dict[str, Any]]:
        """What one of them said."""
        return _lines(self.folder / f"hand-{pid}.jsonl")

    def count(self, what: str) -> int:
        """How often workers said it so far."""
        return sum(line["what"] == what for line in self.lines())

    def claimed_after(self, moment: float) -> bool:
        """Whether anything was claimed after a moment (`time.time`)."""
        return any(line["what"] == "Claimed" and line["at"] > moment for line in self.lines())

    def judge(self, url: str = "") -> Verdict:
        """Put all that is known before the checker."""
        assert self.producer is not None
        events, rows, completed = audit.read(url or self.url)
        events += self.producer.history
        said, told = Counter[str](), Counter[int]()
        claims: list[float] = []
        for line in self.lines():
            said[line["what"]] += 1
            number, lease = line.get("number"), line.get("lease", 0)
            match line["what"]:
                case "effect":
                    events.append(Event("effect", number, lease))
                case "Refused":
                    events.append(Event("finish", number, lease, answer="stale"))
                case "Completed":
                    told[number] += 1
                    at = completed.get(number, (0, 0.0))[1]
                    events.append(Event("finish", number, lease, at))
                case "Claimed":
                    claims.append(line["at"])
        unresolved = [number for number in rows.keys() | told.keys() if told[number] != 1]
        return Verdict(check(events, rows), said, unresolved, claims)

    def close(self) -> None:
        """Everything is over, whatever went wrong."""
        if self.producer is not None:
            self.producer.stopped.set()
        for hand in self.hands:
            with contextlib.suppress(ProcessLookupError):
                hand.kill()
            hand.wait(PATIENCE)
        self._errors.close()


@contextlib.contextmanager
def scene(url: str, folder: Path, /, **options: Any) -> Iterator[Scene]:
    """A scene that is cleared at the end of the block."""
    folder.mkdir(exist_ok=True)
    made = Scene(url, folder, **options)
    try:
        yield made
    finally:
        made.close()


def repeat_while(running: Callable[[], bool], every: float, do: Callable[[], None]) -> int:
    """Do it every so many seconds while it runs; how often that was."""
    pause, times = threading.Event(), 0
    due = time.monotonic() + every
    while running():
        pause.wait(min(0.05, max(0.0, due - time.monotonic())))
        if time.monotonic() >= due:
            do()
            times += 1
            due += every
    return times


def unsent(producer: Producer, synchronous: bool) -> None:
    """Go on for a while with a standby that gets nothing: until something was acknowledged, where that can be."""
    answered = producer.answered
    if synchronous:
        threading.Event().wait(0.5)
    else:
        wait_until(lambda: producer.answered > answered, "what only the primary has")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().split("\n")[:-1]:  # the last may be torn by a kill
        yield json.loads(line)


def _unfinished(connection: Any) -> bool:
    found = connection.execute(
        "SELECT EXISTS (SELECT FROM rowqueue_job WHERE finalized_at IS NULL)"
    ).fetchone()
    return bool(found[0])
