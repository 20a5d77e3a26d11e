"""The bench as people run it: with small numbers on every database, and stopped in the middle."""

import contextlib
import json
import signal
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from rowqueue.bench.measures import Bench
from rowqueue.bench.options import NotOnce, Sizes
from rowqueue.bench.place import own_place
from rowqueue.bench.worker import Done
from rowqueue.core.errors import RowqueueError
from rowqueue.store.database import Database
from tests.cli.running import refused, rowqueue, rowqueue_here, running

SMALL = ["--rounds", "1", "--jobs", "300", "--bulk", "100", "--singles", "10", "--pickups", "3"]


def left(url: str) -> list[str]:
    """Schemas, tables and files of a bench."""
    database = Database(url)
    if database.name == "sqlite":
        return [str(file) for file in Path(database.url.database or "").parent.glob("*rowqueue_bench*")]
    asked = {
        "postgresql": "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'rowqueue_bench%'",
        "mariadb": "SELECT table_name FROM information_schema.tables WHERE table_schema = database() "
        "AND table_name LIKE 'rowqueue_bench%'",
    }[database.name]
    engine = sa.create_engine(database.url)
    with engine.connect() as connection:
        found = list(connection.scalars(sa.text(asked)))
    engine.dispose()
    return found


@pytest.mark.every_database
def test_it_measures_and_leaves_nothing(tmp_path: Path, database_url: str):
    result = rowqueue("bench", "--database", database_url, *SMALL, "--json", cwd=tmp_path, timeout=110)
    assert result.returncode == 0, result
    data = json.loads(result.stdout)
    names = [figure["name"] for figure in data["figures"]]
    assert names == [
        "enqueue one by one",
        "enqueue 100 at once",
        "drain 300, 1 process",
        "drain 300, 2 processes",
        "pickup at 20/s, p50",
        "pickup at 20/s, p99",
    ]
    for figure in data["figures"]:
        assert len(figure["ours"]) == len(figure["plain"]) == 1
        assert figure["ratio"] == pytest.approx(figure["ours"][0] / figure["plain"][0])
        assert figure["raw"]
    assert data["ran_exactly_once"] == 4 * 300 + 2 * (20 + 3)  # by us and by the driver, by one and by two
    assert left(database_url) == []


def test_a_person_reads_a_table(tmp_path: Path, sqlite_url: str):
    arguments = [*SMALL, "--processes", "1", "--pickups", "0"]
    result = rowqueue("bench", "--database", sqlite_url, *arguments, cwd=tmp_path)
    assert result.returncode == 0, result
    lines = result.stdout.splitlines()
    assert lines[0].startswith("rowqueue ")
    assert lines[1].split() == ["what", "rowqueue", "plain", "driver", "ratio", "the", "plain", "driver's"]
    assert [line.split("  ")[0] for line in lines[2:5]] == [
        "enqueue one by one",
        "enqueue 100 at once",
        "drain 300, 1 process",
    ]
    assert lines[5:] == ["every job ran exactly once: 600 of 600"]


@pytest.mark.every_database
def test_ctrl_c_in_the_middle_leaves_no_table_and_no_process(tmp_path: Path, database_url: str):
    arguments = [*SMALL, "--jobs", "20000"]
    with running("bench", "--database", database_url, *arguments, cwd=tmp_path) as process:
        assert process.stdout is not None
        while "drain" not in (line := process.stdout.readline()):
            assert line, "it ended before it drained"
        assert left(database_url)
        parent = psutil.Process(process.pid)
        process.send_signal(signal.SIGINT)
        children = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = parent.children()
        process.send_signal(signal.SIGINT)  # an impatient person does not cut the removal short
        rest = process.stdout.read()
        # The second may come when all is removed and Python is on its way out; a shell calls both 130.
        assert process.wait() in {130, -signal.SIGINT}, rest
    assert not [child for child in children if child.is_running()]
    assert left(database_url) == []


def test_a_job_that_ran_twice_or_never_fails_the_bench(tmp_path: Path):
    with (
        own_place(f"sqlite:///{tmp_path / 'jobs.db'}") as place,
        contextlib.closing(Bench(place, Sizes(jobs=3))) as bench,
    ):
        bench.fill(3)
        claims = bench.app.store.claim(3, queues=["bench"])
        assert all(bench.app.store.complete_many(claims))
        bench.check([Done([2, 0], [], 0.0), Done([1], [], 0.0)])
        for numbers in ([0, 1], [0, 1, 1], [0, 1, 2, 2]):
            with pytest.raises(NotOnce, match="of 3 jobs"):
                bench.check([Done(numbers, [], 0.0)])


def test_what_could_not_be_removed_is_named(tmp_path: Path):
    folder = tmp_path / "away"
    folder.mkdir()
    with (
        pytest.raises(RowqueueError, match=r"rowqueue_bench_[0-9a-f]+\.db on sqlite:.* is left"),
        own_place(f"sqlite:///{folder / 'jobs.db'}") as place,
    ):
        Path(place.name).unlink()
        Path(place.name).mkdir()  # what is there now is no file


def test_it_takes_no_tables_of_yours(tmp_path: Path):
    result = rowqueue_here("bench", "--database", "sqlite:///x.db", "--prefix", "mine_", cwd=tmp_path)
    assert "tables of its own" in refused(result)
    assert "which database?" in refused(rowqueue_here("bench", cwd=tmp_path))
