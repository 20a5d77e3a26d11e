"""Handlers that do what no handler should, short of taking the process down (`tests/faults/test_poison.py` has those)."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowqueue import App, NewJob, State
from rowqueue.worker import events
from tests.worker.harness import PATIENCE, Running, drain

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import os, sys
import rowqueue

app = rowqueue.App(sys.argv[1])

@app.job(kind="forks")
def forks():
    if os.fork() == 0:
        return "the copy"
    os.wait()
    return "forked"

@app.job(kind="forks in the loop")
async def forks_in_the_loop():
    if os.fork() == 0:
        sys.exit("the copy")
    os.wait()
    return "forked"

@app.job(kind="innocent")
async def innocent(): ...

rowqueue.Worker(app, concurrency=1, poll=0.05, grace=0, drain=True).run()
"""


@contextlib.contextmanager
def program(url: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it forked
        process.communicate()


@pytest.mark.parametrize("kind", ["forks", "forks in the loop"])
def test_a_copy_of_the_worker_ends_with_its_handler(sqlite_url: str, kind: str):
    app = App(sqlite_url)
    app.init()
    job = app.store.enqueue(NewJob(kind=kind))
    after = app.store.enqueue(NewJob(kind="innocent", priority=4))
    with program(sqlite_url) as process:
        process.communicate(timeout=PATIENCE)  # to the end of its stdout, which a copy would hold open
        assert process.returncode == 0
    rows = [app.store.get(each.job.id) for each in (job, after)]
    app.close()
    assert [row and (row.state, row.attempt, row.errors) for row in rows] == [(State.COMPLETED, 1, ())] * 2
    assert rows[0] is not None
    assert rows[0].result == "forked"


def test_two_handlers_that_wait_for_each_other_cost_their_slots_and_nothing_else(app: App):
    first, second = threading.Lock(), threading.Lock()
    both = threading.Barrier(2)
    let_go = threading.Event()

    @app.job(kind="waits", timeout=0.1, max_attempts=1)
    def waits(mine: int) -> None:
        locks = (first, second) if mine else (second, first)
        with locks[0]:
            both.wait(PATIENCE)
            while not locks[1].acquire(timeout=0.01):  # for ever, were it not a test
                if let_go.is_set():
                    return

    @app.job(kind="innocent")
    async def innocent() -> None: ...

    jobs = waits.enqueue_many([(0,), (1,)])
    with Running(app, concurrency=3) as running:
        running.wait_for(events.TimedOut, count=2)
        running.wait_for(events.Completed, innocent.enqueue())
        assert {running.row(job).state for job in jobs} == {State.RUNNING}
        let_go.set()
        running.wait_for(events.Failed, count=2)
    assert {running.row(job).state for job in jobs} == {State.DISCARDED}


def test_a_handler_that_closes_the_apps_connections_disturbs_nobody(app: App):
    @app.job(kind="closes")
    async def closes() -> int:
        app.close()
        await app.aclose()
        return (await innocent.enqueue_async()).job.id

    @app.job(kind="innocent")
    def innocent() -> None:
        app.close()

    jobs = [closes.enqueue() for _ in range(3)]
    running = drain(app, concurrency=1)
    assert {running.row(job).state for job in jobs} == {State.COMPLETED}
    assert len(running.said(events.Completed)) == 6
    assert running.said(events.Reconnecting) == []


def test_a_result_of_100_mb_is_dropped_and_the_job_is_done(app: App):
    @app.job(kind="huge")
    def huge() -> str:
        return "x" * 100_000_000

    job = huge.enqueue()
    running = drain(app)
    assert (running.row(job).state, running.row(job).result) == (State.COMPLETED, None)
    (dropped,) = running.said(events.ResultDropped)
    assert "bytes" in dropped.error


def test_two_workers_with_one_id_keep_to_their_own_leases(app: App):
    go = threading.Event()

    @app.job(kind="slow")
    def slow(number: int) -> int:
        go.wait(PATIENCE)
        return number

    jobs = slow.enqueue_many([(number,) for number in range(4)])
    with (
        Running(app, worker_id="same", concurrency=2) as first,
        Running(app, worker_id="same", concurrency=2) as second,
    ):
        first.wait_for(events.Started, count=2)
        second.wait_for(events.Started, count=2)
        go.set()
        first.wait_for(events.Completed, count=2)
        second.wait_for(events.Completed, count=2)
    assert [first.row(job).result for job in jobs] == [0, 1, 2, 3]
    assert {first.row(job).attempt for job in jobs} == {1}
    for running in (first, second):
        assert running.said(events.Refused) == running.said(events.RescuedJob) == []
