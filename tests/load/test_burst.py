"""A burst of very many jobs: the memory of who enqueues them and of who works them does not depend on how many there are.

`make burst` takes a million; `pytest --long` as many as 50,000.
"""

import contextlib
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from rowqueue.store.store import Store
from tests.support.session import ROOT
from tests.support.stores import kind_of

JOBS = int(os.environ.get("ROWQUEUE_BURST_JOBS", "50000"))
ROOM = {"postgresql": 8, "sqlite": 20}
"""MiB that may come on top after the first 10,000 jobs: an allocator's slack, not a job's data, which is a KiB or two each.
On SQLite also the pages that each of a worker's six connections keeps: 2 MiB."""


def burst(mode: str, url: str, jobs: int, *, hoard: bool = False) -> dict[str, Any]:
    arguments = [sys.executable, "-m", "tests.load.burst", mode, url, str(jobs), "hoard" if hoard else "-"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)
def test_a_burst_takes_no_more_memory_than_a_few(database_url: str, publish):
    with contextlib.closing(Store(database_url)) as store:
        store.init()
        produced = burst("produce", database_url, JOBS)
        worked = burst("work", database_url, JOBS)
        (queue,) = store.stats().queues
    assert worked["done"] == JOBS
    left = JOBS - queue.counts["completed"]
    publish(
        "#33",
        "a burst: all of it is done",
        f"{JOBS:,} jobs enqueued in {produced['seconds']:.0f} s, worked by one process in {worked['seconds']:.0f} s",
        value=left,
        bound="left = 0",
        promise=1,
    )
    for who, taken in (("the producer", produced), ("the worker", worked)):
        publish(
            "#33",
            f"a burst: memory of {who}",
            f"{taken['early']} MiB after 10,000 jobs, {taken['most']} MiB at its highest, {JOBS:,} jobs",
            value=taken["most"] - taken["early"],
            bound=f"growth <= {ROOM[kind_of(database_url)]} MiB",
        )


@pytest.mark.long
@pytest.mark.timeout(0)
def test_control_who_keeps_what_it_saw_takes_memory(sqlite_url: str, publish):
    jobs = 50_000
    with contextlib.closing(Store(sqlite_url)) as store:
        store.init()
    for who, mode in (("the producer", "produce"), ("the worker", "work")):
        taken = burst(mode, sqlite_url, jobs, hoard=True)
        publish.control(
            "#33",
            f"a burst: memory of {who}",
            f"keeps every answer: {taken['early']} → {taken['most']} MiB, {jobs:,} jobs",
            value=taken["most"] - taken["early"],
            bound=f"growth > {ROOM['sqlite']} MiB",
        )
