"""A signal while a claim or an ending is on its way to the database; and a terminal that goes away."""

import os
import pty
import signal
import subprocess
import sys

import psycopg
import pytest

from rowqueue import App, NewJob, State
from tests.support.waiting import wait_until
from tests.worker.harness import PATIENCE, raw_connection
from tests.worker.test_stopping import PROGRAM, ROOT, start_program

WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE %s
"""


def waits_for_the_lock(url: str, state: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:

        def is_there() -> bool:
            found = connection.execute(WAITING, [f"UPDATE rowqueue_job SET state='{state}'%"]).fetchone()
            return found is not None and found[0] > 0

        wait_until(is_there, "the statement to wait for the lock", PATIENCE)


@pytest.mark.parametrize("signals", [1, 5])
def test_a_signal_during_the_claim(postgres_database: str, signals: int):
    """What was claimed by then is run or given back, before the process ends."""
    app = App(postgres_database)
    app.init()
    job = app.store.enqueue(NewJob(kind="quick"))
    with raw_connection(postgres_database) as connection:
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE rowqueue_job IN EXCLUSIVE MODE")  # who writes waits
        process = start_program(postgres_database, grace=30)
        try:
            waits_for_the_lock(postgres_database, "running")
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
            connection.execute("COMMIT")
            _, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.communicate()
    row = app.store.get(job.job.id)
    app.close()
    assert process.returncode == 0, said
    assert row is not None
    assert (row.state, row.attempt) in {(State.AVAILABLE, 0), (State.COMPLETED, 1)}
    assert (row.failures, row.rescues) == (0, 0)


@pytest.mark.parametrize("signals", [1, 5])
def test_a_signal_while_the_ending_is_written(postgres_database: str, signals: int):
    """It is written before the process ends."""
    app = App(postgres_database)
    app.init()
    job = app.store.enqueue(NewJob(kind="soon"))
    process = start_program(postgres_database, grace=30)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        with raw_connection(postgres_database) as connection:
            connection.execute("BEGIN")
            connection.execute("LOCK TABLE rowqueue_job IN EXCLUSIVE MODE")
            waits_for_the_lock(postgres_database, "completed")
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
            connection.execute("COMMIT")
        _, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
    row = app.store.get(job.job.id)
    app.close()
    assert process.returncode == 0, said
    assert row is not None
    assert (row.state, row.attempt) == (State.COMPLETED, 1)


TERMINAL = "import fcntl, signal, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
NOHUP = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"


def in_a_terminal(url: str, before: str = "") -> tuple["subprocess.Popen[bytes]", int]:
    """The program with a terminal of its own, and the terminal's other end."""
    ours, theirs = pty.openpty()
    # Unbuffered, or Python itself ends with 120: it cannot flush what the program printed to a terminal that is gone.
    own = {"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", TERMINAL + before + PROGRAM, url, "30"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=os.environ | own,
    )
    os.close(theirs)
    return process, ours


def read_until(descriptor: int, text: bytes) -> None:
    seen = b""
    while text not in seen:
        seen += os.read(descriptor, 4096)


def state_of(app: App, key: object) -> State | None:
    row = app.store.get(key)
    return None if row is None else row.state


def test_a_terminal_that_goes_away_stops_the_worker_in_order(sqlite_url: str):
    app = App(sqlite_url)
    app.init()
    job = app.store.enqueue(NewJob(kind="silent")).job
    process, terminal = in_a_terminal(sqlite_url)
    try:
        wait_until(lambda: state_of(app, job.id) is State.RUNNING, "the job to run", PATIENCE)
        os.close(terminal)  # SIGHUP, and whatever it writes from now on fails
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    state, workers = state_of(app, job.id), list(app.store.workers())
    app.close()
    assert state is State.COMPLETED
    assert workers == []


def test_under_nohup_it_works_on(sqlite_url: str):
    app = App(sqlite_url)
    app.init()
    process, terminal = in_a_terminal(sqlite_url, NOHUP)
    try:
        read_until(terminal, b"WorkerStarted")
        os.close(terminal)
        job = app.store.enqueue(NewJob(kind="silent")).job
        wait_until(lambda: state_of(app, job.id) is State.COMPLETED, "the job", PATIENCE)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    app.close()
