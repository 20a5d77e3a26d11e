"""Every way to stop: what was started ends or is given back, uncharged, and the process can go."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rowqueue import App, AsyncStore, Context, NewJob, SchemaMissing, State
from rowqueue.worker import Worker, events
from rowqueue.worker.slots import Slots
from tests.worker.harness import PATIENCE, Running, drain

ROOT = Path(__file__).resolve().parents[2]


def test_handlers_may_finish_within_the_grace_time(app: App):
    go = threading.Event()

    @app.job(kind="s")
    def slow() -> str:
        go.wait(PATIENCE)
        return "finished"

    job = slow.enqueue()
    running = Running(app)
    with running:
        running.wait_for(events.Started, job)
        running.worker.stop()
        running.wait_for(events.WorkerStopping)
        waits = slow.enqueue()
        go.set()
        assert running.join() == 0
    assert (running.row(job).state, running.row(job).result) == (State.COMPLETED, "finished")
    assert running.row(waits).state is State.AVAILABLE


@pytest.mark.parametrize("hard", [False, True])
def test_what_does_not_end_within_the_grace_time_is_given_back_uncharged(app: App, hard):
    cleaned: list[str] = []

    @app.job(kind="a")
    async def endless(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("async")

    @app.job(kind="t")
    def listens(context: Context) -> None:
        while not context.cancelled:
            time.sleep(0.005)
        cleaned.append("thread")
        raise RuntimeError("stopped in the middle")

    jobs = [endless.enqueue(), listens.enqueue()]
    with Running(app, grace=3600 if hard else 0.05) as running:
        running.wait_for(events.Started, count=2)
        running.worker.stop()
        if hard:
            running.worker.stop(hard=True)
        assert running.join() == 0
    assert sorted(cleaned) == ["async", "thread"]
    for job in jobs:
        row = running.row(job)
        assert (row.state, row.attempt, row.failures, row.rescues, row.errors) == (
            State.AVAILABLE,
            0,
            0,
            0,
            (),
        )
    assert len(running.said(events.Released)) == 2
    assert list(app.store.workers()) == []


def test_a_thread_that_hangs_does_not_keep_the_worker(app: App):
    go = threading.Event()

    @app.job(kind="h")
    def hangs() -> None:
        go.wait(PATIENCE)

    job = hangs.enqueue()
    with Running(app, grace=0) as running:
        running.wait_for(events.Started, job)
        running.worker.stop()
        assert running.join() == 1
    row = running.row(job)
    assert (row.state, row.attempt) == (State.AVAILABLE, 0)
    assert running.said(events.WorkerStopped)[0].left == 1
    go.set()  # its late end changes nothing
    for thread in threading.enumerate():
        if thread.name.startswith("rowqueue-handler"):
            thread.join(PATIENCE)
    assert running.row(job).state is State.AVAILABLE


def test_a_thread_that_returns_while_its_job_is_given_back_says_nothing_more(app: App, monkeypatch):
    go, returned = threading.Event(), asyncio.Event()
    finish = AsyncStore.finish

    async def lets_it_return(self: AsyncStore, finishes: Any) -> Any:
        go.set()
        await asyncio.wait_for(returned.wait(), PATIENCE)
        return await finish(self, finishes)

    monkeypatch.setattr(AsyncStore, "finish", lets_it_return)
    monkeypatch.setattr("rowqueue.worker.runtime.UNWIND", 0.0)

    @app.job(kind="h")
    def late() -> None:
        go.wait(PATIENCE)

    job = late.enqueue()
    with Running(app, grace=0) as running:
        running.wait_for(events.Started, job)
        monkeypatch.setattr("rowqueue.worker.slots.Slots.give", told(Slots.give, returned))
        running.worker.stop()
        assert running.join() == 0
    assert [type(event) for event in running.said(events.Finished)] == [events.Released]
    assert running.row(job).state is State.AVAILABLE


def told(function: Callable[..., None], event: asyncio.Event) -> Callable[..., None]:
    """The function, and an event that is set when it was called."""

    def call(*args: Any) -> None:
        function(*args)
        event.set()

    return call


def test_an_async_handler_that_refuses_to_be_cancelled_does_not_keep_the_worker(app: App, monkeypatch):
    monkeypatch.setattr("rowqueue.worker.runtime.UNWIND", 0.1)
    refuses = True

    @app.job(kind="h")
    async def stubborn() -> None:
        while refuses:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    job = stubborn.enqueue()
    with Running(app, grace=0) as running:
        running.wait_for(events.Started, job)
        running.worker.stop()
        assert running.join() == 1
    assert (running.row(job).state, running.row(job).attempt) == (State.AVAILABLE, 0)
    refuses = False


def test_a_stop_before_the_start_is_kept(app: App):
    @app.job(kind="s")
    async def handler() -> None: ...

    job = handler.enqueue()
    worker = Worker(app)
    worker.stop()
    assert worker.run() == 0
    row = app.store.get(job.job.id)
    assert row is not None
    assert row.state is State.AVAILABLE


def test_a_handler_may_stop_its_own_worker(app: App):
    @app.job(kind="s")
    async def handler() -> None:
        running.worker.stop()

    job = handler.enqueue()
    running = Running(app)
    with running:
        running.join()
    assert running.row(job).state is State.COMPLETED


def test_a_cancelled_run_async_gives_its_jobs_back(app: App):
    @app.job(kind="s")
    async def handler() -> None:
        await asyncio.Event().wait()

    job = handler.enqueue()

    async def main() -> None:
        worker = Worker(app)
        started = asyncio.Event()
        worker.on(lambda _: started.set(), events.Started)
        task = asyncio.create_task(worker.run_async())
        await asyncio.wait_for(started.wait(), PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    row = app.store.get(job.job.id)
    assert row is not None
    assert (row.state, row.attempt) == (State.AVAILABLE, 0)


def test_missing_tables_are_said_at_the_start(database_url):
    app = App(database_url)

    @app.job(kind="s")
    async def handler() -> None: ...

    with pytest.raises(SchemaMissing, match="rowqueue init"):
        Worker(app).run()
    app.close()


def test_a_worker_runs_once(app: App):
    @app.job(kind="s")
    async def handler() -> None: ...

    running = drain(app)
    with pytest.raises(Exception, match="was run already"):
        running.worker.run()


PROGRAM = """
import asyncio, sys, threading, time
import logging
import rowqueue

logging.basicConfig(level=logging.INFO)
app = rowqueue.App(sys.argv[1])

@app.job(kind="quick")
async def quick(): ...

@app.job(kind="endless")
async def endless():
    print("started", flush=True)
    await asyncio.Event().wait()

@app.job(kind="hangs")
def hangs():
    print("started", flush=True)
    time.sleep(3600)

@app.job(kind="soon")
async def soon():
    print("started", flush=True)
    await asyncio.sleep(0.2)

@app.job(kind="silent")
async def silent():
    await asyncio.sleep(0.2)

sys.exit(rowqueue.Worker(app, grace=float(sys.argv[2]), poll=0.05).run())
"""


def start_program(url: str, grace: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, url, str(grace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )


TERM, INT, QUIT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP


@pytest.mark.parametrize(
    "number, kind, signals, grace, state, code",
    [
        (TERM, "soon", 1, 30, State.COMPLETED, 0),
        (TERM, "endless", 1, 0.1, State.AVAILABLE, 0),
        (TERM, "endless", 2, 3600, State.AVAILABLE, 0),
        (TERM, "endless", 5, 3600, State.AVAILABLE, 0),
        (TERM, "hangs", 5, 3600, State.AVAILABLE, 1),
        (INT, "soon", 1, 30, State.COMPLETED, 0),
        (INT, "endless", 2, 3600, State.AVAILABLE, 0),
        (INT, "hangs", 2, 3600, State.AVAILABLE, 1),
        (QUIT, "endless", 1, 3600, State.AVAILABLE, 0),
        (QUIT, "hangs", 1, 3600, State.AVAILABLE, 1),
        (HUP, "soon", 1, 30, State.COMPLETED, 0),
        (HUP, "endless", 2, 3600, State.AVAILABLE, 0),
    ],
)
def test_signals(sqlite_url, number, kind, signals, grace, state, code, publish):
    """A real process: once for a graceful stop, twice for a hard one; a thread that hangs keeps nobody."""
    app = App(sqlite_url)
    app.init()
    job = app.store.enqueue(NewJob(kind=kind))
    process = start_program(sqlite_url, grace)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        if signals > 1:
            assert process.stderr is not None
            while "WorkerStopping" not in process.stderr.readline():  # two signals at once would be one
                assert process.poll() is None
        for _ in range(signals - 1):
            process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, said
    row = app.store.get(job.job.id)
    assert row is not None
    assert (row.state, row.failures, row.rescues) == (state, 0, 0)
    assert list(app.store.workers()) == []
    app.close()
    publish(
        "#26",
        "a signal, once or five times, while a handler ends soon, never, or cannot be ended",
        f"{number.name}: exit status {code}, the job {state}, no attempt charged",
        value=row.failures + row.rescues,
        bound="charged = 0",
        promise=3,
    )


def test_a_worker_that_is_killed_gives_nothing_back(sqlite_url, publish):
    """The negative control: SIGKILL is not heard, and only the end of the lease frees the job."""
    app = App(sqlite_url)
    app.init()
    job = app.store.enqueue(NewJob(kind="endless"))
    with start_program(sqlite_url, 30) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.kill()
        process.communicate(timeout=PATIENCE)
    row = app.store.get(job.job.id)
    app.close()
    assert row is not None
    publish.control(
        "#26",
        "SIGKILL, which nobody hears",
        f"the job {row.state}, attempt {row.attempt} charged",
        value=row.attempt,
        bound="charged = 1",
    )
