"""`process=True`: whatever a handler does to its process, it costs one child and one attempt."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from rowqueue import App, ConfigurationError, NewJob, State
from rowqueue.worker import Worker, events
from tests.support.waiting import wait_until
from tests.worker.harness import PATIENCE, Running, drain

ROOT = Path(__file__).resolve().parents[2]

# A child does not know the database: where its answer is written, tests run on both.
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
POSTGRES = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


def started(folder: Path) -> list[int]:
    """The process ids that a handler wrote down."""
    wait_until(lambda: (folder / "started").exists() and (folder / "started").read_text(), "the handler")
    return [int(pid) for pid in (folder / "started").read_text().split()]


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@POSTGRES
def test_jobs_share_children_and_one_runs_at_a_time_in_each(yard: ModuleType):
    jobs = yard.add.enqueue_many([(number,) for number in range(20)])
    running = drain(yard.app, concurrency=2)
    results = [running.row(job).result for job in jobs]
    assert [result["sum"] for result in results] == list(range(1, 21))
    pids = {result["pid"] for result in results}
    assert len(pids) <= 2
    assert os.getpid() not in pids
    assert not any(alive(pid) for pid in pids)


def test_context_works_there(yard: ModuleType, caplog: pytest.LogCaptureFixture):
    job = yard.reports.enqueue()
    row = drain(yard.app).row(job)
    assert row.result == f"{yard.reports.kind} 1 None {{}}"
    assert [entry.entry for entry in yard.app.store.log(row.id)] == [{"step": 1}]
    assert (row.progress.fraction, row.progress.message) == (0.5, "halfway")
    assert ("yard", 30, "a line 1") in caplog.record_tuples


ENDINGS = {
    "error": (State.DISCARDED, "ValueError: no ? good"),
    "exit": (State.DISCARDED, "SystemExit: 3"),
    "interrupt": (State.DISCARDED, "KeyboardInterrupt"),
    "skip": (State.SKIPPED, "not needed"),
    "snooze": (State.SCHEDULED, None),
    "discard": (State.DISCARDED, "hopeless"),
    "retry": (State.DISCARDED, "later"),
    "unserialisable": (State.COMPLETED, None),
    "huge": (State.COMPLETED, None),
}


def test_how_handlers_end(yard: ModuleType):
    jobs = {what: yard.raises.enqueue(what) for what in ENDINGS}
    running = drain(yard.app, concurrency=2)
    for what, (state, error) in ENDINGS.items():
        row = running.row(jobs[what])
        assert (row.state, row.result) == (state, None), what
        assert [entry.error for entry in row.errors] == ([] if error is None else [error]), what
    (failure,) = running.row(jobs["error"]).errors
    assert failure.trace.startswith("Traceback")
    assert "in raises" in failure.trace
    assert "child.py" not in failure.trace
    dropped = {event.job.id for event in running.said(events.ResultDropped)}
    assert dropped == {jobs["unserialisable"].job.id, jobs["huge"].job.id}


@SQLITE
def test_arguments_that_do_not_fit(yard: ModuleType):
    job = yard.app.store.enqueue(NewJob(kind=yard.add.kind, args={"a": "text"}, max_attempts=1))
    assert "InvalidArguments" in drain(yard.app).row(job).errors[0].error


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not enforce RLIMIT_AS")
@SQLITE
def test_memory_is_limited_for_the_job_that_says_so_alone(yard: ModuleType):
    fits, bursts, free = yard.eats.enqueue(10), yard.eats.enqueue(500), yard.add.enqueue(1)
    running = drain(yard.app, concurrency=1)
    assert running.row(fits).result == 10 << 20
    assert running.row(bursts).errors[0].error == "MemoryError"
    assert running.row(free).state is State.COMPLETED


def test_memory_takes_a_process(sqlite_url):
    app = App(sqlite_url)
    with pytest.raises(ConfigurationError, match="add process=True"):
        app.job(kind="m", memory=1 << 30)(lambda: None)


@POSTGRES
def test_a_cancelled_job_is_told(yard: ModuleType, tmp_path: Path):
    job = yard.listens.enqueue()
    with Running(yard.app, renew=0.05, lease=5) as running:
        started(tmp_path)
        assert yard.app.store.cancel(job.job.id)
        running.wait_for(events.Cancelled, job)
        after = yard.add.enqueue(1)
        running.wait_for(events.Completed, after)
        assert [running.row(after).result["pid"]] == started(tmp_path)  # its child is kept
    assert (tmp_path / "heard").exists()


@POSTGRES
def test_a_cancelled_job_that_does_not_listen_is_killed_with_what_it_started(
    yard: ModuleType, tmp_path: Path
):
    job = yard.waits.enqueue()
    with Running(yard.app, renew=0.05, lease=5) as running:
        pids = started(tmp_path)
        assert len(pids) == 2
        assert yard.app.store.cancel(job.job.id)
        running.wait_for(events.Cancelled, job)
        assert not any(map(alive, pids))
    assert running.row(job).state is State.CANCELLED


@pytest.mark.parametrize("commits", [True, False])
def test_a_child_that_dies_in_or_after_the_transaction_that_completes(yard: ModuleType, commits):
    job = yard.completes.enqueue(commits)
    running = drain(yard.app)
    row = running.row(job)
    if commits:
        assert (row.state, row.result) == (State.COMPLETED, "in a transaction")
    else:
        assert (row.state, row.result) == (State.DISCARDED, None)
        assert "exit status 9" in row.errors[0].error


@pytest.mark.parametrize("hard", [False, True])
@POSTGRES
def test_a_stop_gives_the_job_back_uncharged(yard: ModuleType, tmp_path: Path, hard):
    job = yard.waits.enqueue()
    with Running(yard.app, grace=3600 if hard else 0.05) as running:
        pids = started(tmp_path)
        running.worker.stop()
        if hard:
            running.worker.stop(hard=True)
        assert running.join() == 0
    assert not any(map(alive, pids))
    row = running.row(job)
    assert (row.state, row.attempt, row.failures) == (State.AVAILABLE, 0, 0)


@SQLITE
def test_a_stop_waits_for_the_job(yard: ModuleType, tmp_path: Path):
    job = yard.waits.enqueue()
    with Running(yard.app, grace=PATIENCE) as running:
        pids = started(tmp_path)
        for number in (signal.SIGTERM, signal.SIGINT):  # as a service manager does to all of them
            os.kill(pids[0], number)
        running.worker.stop()
        running.wait_for(events.WorkerStopping)
        (tmp_path / "go").touch()
        assert running.join() == 0
    assert running.row(job).state is State.COMPLETED
    assert not any(map(alive, pids))


PROGRAM = "import yard, rowqueue; rowqueue.Worker(yard.app, poll=0.05).run()"


@pytest.mark.parametrize("kind", ["waits", "holds_the_gil"])
@SQLITE
def test_children_die_with_their_worker(yard: ModuleType, tmp_path: Path, kind):
    if kind == "holds_the_gil" and sys.platform != "linux":
        pytest.skip("only Linux tells a process of its parent's death")
    getattr(yard, kind).enqueue()
    path = os.pathsep.join([str(ROOT / "src"), str(Path(__file__).parent)])
    worker = subprocess.Popen([sys.executable, "-c", PROGRAM], env=os.environ | {"PYTHONPATH": path})
    try:
        child = started(tmp_path)[0]
        worker.kill()
        wait_until(lambda: not alive(child), "the end of the child")
    finally:
        worker.kill()
        worker.wait()
        for pid in started(tmp_path):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@SQLITE
def test_an_app_that_no_child_could_import_is_refused(yard: ModuleType, database_url):
    app = App(database_url)

    @app.job(kind="p", process=True)
    def handler() -> None: ...

    with pytest.raises(ConfigurationError, match="app_path="):
        Worker(app)
    Worker(app, app_path="yard:app")
    assert Worker(yard.app).app_path == "yard:app"


@SQLITE
def test_an_import_that_fails_in_the_child_fails_the_attempt(yard: ModuleType, tmp_path: Path):
    job = yard.add.options(max_attempts=1).enqueue(1)
    row = drain(yard.app, app_path="no_such_module:app").row(job)
    assert "could not import the app: there is no module 'no_such_module'" in row.errors[0].error


SCRIPT = """
import os, rowqueue
app = rowqueue.App(os.environ["YARD_DATABASE"])

@app.job(process=True, max_attempts=1)
def add(a: int) -> int:
    return a + 1

if __name__ == "__main__":
    app.init()
    print(add.enqueue(1).job.id)
"""
RUN = "rowqueue.Worker(app, drain=True).run()"


@pytest.mark.parametrize("guarded", [True, False])
def test_a_script_is_imported_by_its_name(sqlite_url, tmp_path: Path, monkeypatch, guarded):
    monkeypatch.setenv("YARD_DATABASE", sqlite_url)
    (tmp_path / "script.py").write_text(SCRIPT + ("    " if guarded else "") + RUN + "\n")
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    app = App(sqlite_url)
    row = app.store.get(int(done.stdout.split()[0]))
    app.close()
    assert row is not None
    if guarded:
        assert row.result == 2
    else:
        assert "__main__" in row.errors[0].error
