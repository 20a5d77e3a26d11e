"""64 worker processes on one database, on however few cores: nothing is lost, and connections stay few."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from tests.load.soak import started, taken
from tests.support.postgres import PrivatePostgres
from tests.support.stores import Raw, kind_of, raw

PROCESSES = 64
JOBS = 20_000
ROOM = {"postgres with room for 100": 24}
"""How many workers must find room; the others wait for some, and nothing is lost meanwhile."""
EACH = {"sqlite": 6, "postgresql": 4}
"""Of one worker at the most: connections, the one that listens among them; on SQLite the file is open once for reading and
once for writing by each that asks: the loop, the renewal, the app."""


@pytest.fixture(params=["sqlite", "postgres", "postgres with room for 100"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The last is as PostgreSQL comes: more workers than it lets in with all their connections."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'crowd.db'}"
        return
    server: PrivatePostgres = request.getfixturevalue("private_postgres")
    server.settings["max_connections"] = 400 if request.param == "postgres" else 100
    server.stop("fast")
    server.start()
    yield server.url


@pytest.fixture
def enough(request: pytest.FixtureRequest) -> int:
    """How many workers must be up at once."""
    return ROOM.get(request.node.callspec.params["url"], PROCESSES)


@pytest.mark.long
def test_64_processes_lose_nothing_and_share_the_connections(url: str, enough: int, tmp_path: Path, publish):
    with contextlib.closing(Store(url)) as store:
        store.init()
        for _ in range(0, JOBS, 1000):
            store.enqueue_many([NewJob(kind="quick", args={"number": n}) for n in range(1000)])
    most = most_memory = 0.0
    arguments = ["work", "tests.load.jobs:app", "--queue", "default=4", "--processes", str(PROCESSES)]
    # One connection of the test's own, from before the workers': later there may be no room for it.
    with raw(url) as rows, started(tmp_path, url, "-m", "rowqueue", *arguments) as workers:
        began = time.monotonic()
        pause = threading.Event()
        done = alive = 0
        while (done < JOBS or alive < enough) and time.monotonic() - began < 900:
            done = rows.count("state = 'completed'")
            alive = rows.rows("SELECT count(*) AS n FROM rowqueue_worker")[0]["n"]
            most = max(most, _connections(rows, url, workers.pid))
            most_memory = max(most_memory, taken(workers.pid, "workers")["memory of workers (MiB)"])
            pause.wait(0.2)
        took = time.monotonic() - began
        workers.terminate()
        code = workers.wait(120)
        left = JOBS - rows.count("state = 'completed'")
        again = rows.count("attempt > 1")
        unexplained = rows.count("attempt - rescues > 1")
        workers_used = len(rows.rows("SELECT DISTINCT attempted_by FROM rowqueue_job"))
    assert code == 0, (tmp_path / "said.log").read_text()[-2000:]
    assert enough <= alive <= PROCESSES
    figure = (
        f"{PROCESSES} processes on {os.cpu_count()} cores, {JOBS:,} jobs by {workers_used} of them, {alive} "
        f"up and all done {took:.0f} s after the start: lost {left}, {again} ran again after their lease, {unexplained} without a cause; {most_memory / PROCESSES:.0f} MiB each"
    )
    publish(
        "#33",
        f"many worker processes at once: {_name(url)}",
        figure,
        value=left + unexplained,
        bound="lost or again without a cause = 0",
    )
    publish(
        "#33",
        f"many worker processes at once: connections, {_name(url)}",
        f"{most:.0f} at the most, {most / PROCESSES:.1f} for each process",
        value=most / PROCESSES,
        bound=f"connections of one process <= {EACH[kind_of(url)]}",
    )


def _name(url: str) -> str:
    if url.startswith("sqlite"):
        return "a file"
    with psycopg.connect(url) as connection:
        row = connection.execute("SHOW max_connections").fetchone()
    assert row is not None
    return f"max_connections = {row[0]}"


def _connections(rows: Raw, url: str, pid: int) -> int:
    """How many connections there are but the test's; on SQLite, how often its file is open."""
    if not rows.is_sqlite:
        query = "SELECT count(*) AS n FROM pg_stat_activity WHERE backend_type = 'client backend'"
        return int(rows.rows(query)[0]["n"]) - 1
    found = 0
    for each in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += sum(file.path == url.removeprefix("sqlite:///") for file in each.open_files())
    return found
