"""A crew of workers that is fed evenly for a long time, looked at once in a while: what grows, and what levels off."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from rowqueue.core.states import UNFINISHED
from rowqueue.store.store import Store
from tests.support.session import ROOT, plain_url
from tests.support.waiting import wait_until

MIB = 1 << 20
ARGUMENTS = ["--queue", "default=8", "--queue", "processes=1", "--processes", "2", "--poll", "0.5"]
SAMPLES = 300

Look = Callable[[], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how many jobs a second, of which kinds (none: the mixture), and how long final jobs are kept."""

    seconds: float
    rate: float
    kinds: tuple[str, ...] = ()
    keep: float | None = 10.0


@dataclass(slots=True)
class Course:
    """What was measured, by name, evenly over the time, and how it ended."""

    series: dict[str, list[float]] = field(default_factory=dict)
    enqueued: int = 0
    exit_code: int | None = None
    left: int = 0

    def add(self, sample: dict[str, float]) -> None:
        """Add one look at everything."""
        for name, value in sample.items():
            self.series.setdefault(name, []).append(value)


def soak(url: str, plan: Plan, folder: Path) -> Course:
    """Run it: a supervisor, two workers and their children, and a producer that also prunes."""
    with contextlib.closing(Store(url)) as store:
        store.init()
    course, pause = Course(), threading.Event()
    step = max(0.1, plan.seconds / SAMPLES)
    with started(folder, url, "-m", "rowqueue", "work", "tests.load.jobs:app", *ARGUMENTS) as workers:
        options = {"url": url, "rate": plan.rate, "kinds": plan.kinds, "keep": plan.keep}
        with (
            started(folder, url, "-m", "tests.load.feeder", json.dumps(options)) as feeder,
            _looking(url) as look,
        ):
            wait_until(lambda: len(psutil.Process(workers.pid).children()) >= 2, "the workers", 60)
            began = time.monotonic()
            while (now := time.monotonic() - began) < plan.seconds:
                course.add({**taken(workers.pid, "workers"), **taken(feeder.pid, "producer"), **look()})
                pause.wait(max(0.0, step - (time.monotonic() - began - now)))
            course.enqueued = int(feeder.communicate(timeout=60)[0])
        course.left = left_over(url)
        workers.terminate()
        course.exit_code = workers.wait(60)
    return course


@contextlib.contextmanager
def started(folder: Path, url: str, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is dead, with all below it, at the end of the block; what it says goes to a file."""
    with (folder / "said.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, "LOAD_DATABASE": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                    each.kill()
        process.communicate()


def taken(pid: int, name: str) -> dict[str, float]:
    """What a process and all below it take."""
    found = {f"memory of {name} (MiB)": 0.0, f"descriptors of {name}": 0.0, f"threads of {name}": 0.0}
    for each in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            values = each.memory_info().rss / MIB, each.num_fds(), each.num_threads()
            for key, value in zip(found, values, strict=True):
                found[key] += value
    return found


def left_over(url: str, timeout: float = 60) -> int:
    """How many jobs are not final when the workers had some time for what was left."""
    with contextlib.closing(Store(url)) as store:

        def waiting() -> int:
            return sum(
                count
                for queue in store.stats().queues
                for state, count in queue.counts.items()
                if state in UNFINISHED
            )

        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not waiting(), "the last jobs", timeout)
        return waiting()


@contextlib.contextmanager
def _looking(url: str) -> Iterator[Look]:
    """A way to look at the database."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))

        def look() -> dict[str, float]:
            wal = path.with_name(f"{path.name}-wal")
            try:
                written = wal.stat().st_size
            except FileNotFoundError:  # nobody has the file open now
                written = 0
            return {
                "size of the file (MiB)": path.stat().st_size / MIB,
                "size of its WAL (MiB)": written / MIB,
            }

        yield look
        return
    with psycopg.connect(plain_url(url), autocommit=True) as connection:

        def ask() -> dict[str, float]:
            row = connection.execute(_STANDING).fetchone()
            assert row is not None
            return {
                "connections": row[0],
                "dead rows": float(row[1]),
                "size of the tables (MiB)": float(row[2]) / MIB,
            }

        yield ask


_STANDING = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type = 'client backend'),
    (SELECT sum(n_dead_tup) FROM pg_stat_user_tables),
    (SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables)
"""
