"""`work`: one process and several, and how they end."""

import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from rowqueue import NewJob, State, Store
from tests.cli.running import rowqueue, running
from tests.support import nursery
from tests.support.waiting import wait_until

# How processes are started, told and ended does not depend on the database.
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
POSTGRES = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


def started(process: nursery.Child, pattern: str, times: int = 1) -> list[str]:
    """Read what it prints until the pattern came so many times."""
    assert process.stdout is not None
    found: list[str] = []
    seen = ""
    for line in process.stdout:
        seen += line
        found += re.findall(pattern, line)
        if len(found) >= times:
            return found
    raise AssertionError(f"it ended without {pattern!r}:\n{seen}")


@pytest.fixture
def store(shop: Path, database_url: str):
    store = Store(database_url)
    store.init()
    yield store
    store.close()


@pytest.mark.every_database
@pytest.mark.parametrize("options", ["--processes 2", "--no-listen --prefetch 5"])
def test_drain(shop: Path, store: Store, options: str):
    store.enqueue_many([NewJob(kind="greet", args={"name": str(number)}) for number in range(20)])
    result = rowqueue("work", "shop:app", "--drain", *options.split(), "--poll", "0.1", cwd=shop)
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.split()[1::2], key=int) == [str(number) for number in range(20)]
    assert store.stats().total(State.COMPLETED) == 20


@SQLITE
def test_only_the_queues_that_are_named(shop: Path, store: Store):
    store.enqueue_many([NewJob(kind="greet", args={"name": name}, queue=name) for name in ("a=b", "c", "d")])
    arguments = ["--queue", "a=b=1", "--queue", "c", "--concurrency", "2"]
    result = rowqueue("--app", "shop:app", "work", "--drain", *arguments, cwd=shop)
    assert sorted(result.stdout.split()) == ["a=b", "c", "hello", "hello"]


@SQLITE
@pytest.mark.parametrize(
    "number, processes",
    [
        (signal.SIGTERM, 1),
        (signal.SIGTERM, 2),
        (signal.SIGINT, 1),
        (signal.SIGINT, 2),
        (signal.SIGHUP, 2),
    ],
)
def test_a_signal_stops_it_when_its_jobs_are_done(shop: Path, store: Store, number: int, processes: int):
    store.enqueue_many([NewJob(kind="wait") for _ in range(3)])
    arguments = ["--queue", "default=1", "--poll", "0.1", "--processes", str(processes)]
    with running("work", "shop:app", *arguments, cwd=shop) as process:
        started(process, r"waiting in", processes)
        process.send_signal(number)
        started(process, r"WorkerStopping", processes)
        (shop / "go").touch()
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
    assert "Traceback" not in output
    stats = store.stats()
    assert stats.total(State.COMPLETED) == processes
    assert stats.total(State.AVAILABLE) == 3 - processes


@SQLITE
def test_workers_stop_in_order_when_their_supervisor_is_killed(shop: Path, store: Store):
    store.enqueue_many([NewJob(kind="wait") for _ in range(3)])
    arguments = ["--queue", "default=1", "--poll", "0.1", "--processes", "2"]
    with running("work", "shop:app", *arguments, cwd=shop) as process:
        children = [psutil.Process(int(pid)) for pid in started(process, r"waiting in (\d+)", 2)]
        process.kill()
        started(process, r"WorkerStopping", 2)
        (shop / "go").touch()
        wait_until(lambda: not any(child.is_running() for child in children), "the end of the workers", 60)
    assert store.stats().total(State.COMPLETED) == 2
    assert store.stats().total(State.AVAILABLE) == 1


@SQLITE
def test_a_process_that_dies_is_started_again(shop: Path, store: Store):
    with running("work", "shop:app", "--poll", "0.1", "--processes", "2", cwd=shop) as process:
        started(process, r"WorkerStarted", 2)
        store.enqueue(NewJob(kind="die"))
        started(process, r"was ended by SIGKILL")
        started(process, r"WorkerStarted")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output


@POSTGRES
def test_a_process_that_is_killed_while_it_stops_counts(shop: Path, store: Store):
    store.enqueue_many([NewJob(kind="wait") for _ in range(2)])
    arguments = ["--queue", "default=1", "--poll", "0.1", "--processes", "2"]
    with running("work", "shop:app", *arguments, cwd=shop) as process:
        child = int(started(process, r"waiting in (\d+)", 2)[0])
        process.send_signal(signal.SIGTERM)
        started(process, r"WorkerStopping", 2)
        os.kill(child, signal.SIGKILL)
        (shop / "go").touch()
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGKILL, output
        assert "starts in" not in output


@SQLITE
def test_a_worker_that_cannot_start_is_not_started_again(shop: Path, store: Store):
    broken = "import os\nif os.path.exists('go'): raise OSError('broken since')\nopen('go', 'w')\nfrom shop import app\n"
    (shop / "broken.py").write_text(broken)
    result = rowqueue("work", "broken:app", "--processes", "2", cwd=shop)
    assert result.returncode == 2
    assert result.stderr.count("broken since") == 2
    assert "starts in" not in result.stderr


@POSTGRES
@pytest.mark.parametrize("processes", [1, 2])
def test_sigquit_gives_back_at_once(shop: Path, store: Store, processes: int):
    store.enqueue_many([NewJob(kind="wait") for _ in range(processes)])
    arguments = ["--queue", "default=1", "--poll", "0.1", "--grace", "3600", "--processes", str(processes)]
    with running("work", "shop:app", *arguments, cwd=shop) as process:
        started(process, r"waiting in", processes)
        process.send_signal(signal.SIGQUIT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1, output  # its threads could not be ended
    assert store.stats().total(State.AVAILABLE) == processes


@SQLITE
def test_ctrl_c_at_a_command_is_no_traceback(shop: Path):
    (shop / "slow.py").write_text("import threading\nprint('here', flush=True)\nthreading.Event().wait(60)\n")
    with running("stats", "--app", "slow:app", cwd=shop) as process:
        started(process, "here")
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=30)
        assert (process.returncode, output.strip()) == (130, "")
