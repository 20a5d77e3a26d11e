"""Each command does what its help says, on both databases."""

import json
from pathlib import Path

import pytest

from rowqueue import NewJob, Store
from rowqueue.core.states import State
from tests.cli.running import rowqueue, rowqueue_here

pytestmark = pytest.mark.every_database


def test_help_lists_the_commands(tmp_path: Path):
    for arguments in (["--help"], ["-h"]):
        result = rowqueue(*arguments, cwd=tmp_path)
        assert result.returncode == 0
        for name in ("demo", "init", "schema", "stats", "work"):
            assert f"\n  {name} " in result.stdout
    assert rowqueue(cwd=tmp_path).returncode == 2  # nothing was asked for


def test_version(tmp_path: Path):
    assert rowqueue("--version", cwd=tmp_path).stdout.startswith("rowqueue, version ")


def test_init_creates_and_may_be_repeated(tmp_path: Path, database_url: str):
    for _ in range(2):
        result = rowqueue_here("init", "--database", database_url, "--prefix", "jobs_", cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith("the tables jobs_* in ")
    store = Store(database_url, prefix="jobs_")
    store.check_schema()
    store.close()


def test_the_database_may_come_before_the_command_or_from_the_environment(tmp_path: Path, database_url: str):
    assert rowqueue_here("--database", database_url, "init", cwd=tmp_path).returncode == 0
    assert rowqueue_here("stats", cwd=tmp_path, ROWQUEUE_DATABASE_URL=database_url).stdout == "no jobs\n"
    # what stands nearer to the command wins
    result = rowqueue_here("--database", "foo://", "stats", "--database", database_url, cwd=tmp_path)
    assert result.stdout == "no jobs\n"


def test_stats(tmp_path: Path, database_url: str):
    store = Store(database_url)
    store.init()
    store.enqueue_many([NewJob(kind="a"), NewJob(kind="b", queue="mail"), NewJob(kind="c", delay=60)])
    store.pause("mail")
    store.snooze_unknown(store.claim(1, queues=["default"]))
    store.close()

    shown = rowqueue_here("stats", "--database", database_url, cwd=tmp_path).stdout
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0] == ["queue", *State, "oldest", "waiting", "paused"]
    assert lines[1] == ["default", "0", "2", *"0000000", "-", "no"]
    assert lines[2][:5] == ["mail", "0", "0", "1", "0"]
    assert lines[2][-1] == "yes"
    assert lines[-1][:2] == ["a", "1"]  # the kind that nobody knew

    data = json.loads(rowqueue_here("stats", "--json", "--database", database_url, cwd=tmp_path).stdout)
    assert [queue["queue"] for queue in data["queues"]] == ["default", "mail"]
    assert data["queues"][0]["counts"] == {"scheduled": 2}
    assert data["queues"][1]["paused"] is True
    assert data["queues"][1]["oldest_waiting"] >= 0
    assert data["unclaimable"][0]["kind"] == "a"


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_schema_needs_no_database(tmp_path: Path, dialect: str):
    ddl = rowqueue_here("schema", "--dialect", dialect, "--prefix", "jobs_", cwd=tmp_path)
    assert ddl.returncode == 0
    assert "CREATE TABLE jobs_job (" in ddl.stdout
    assert ("AUTOINCREMENT" in ddl.stdout) is (dialect == "sqlite")
    statements = rowqueue_here("schema", "--dialect", dialect, "--statements", cwd=tmp_path).stdout
    assert "-- claim\nUPDATE rowqueue_job SET state='running'" in statements
    assert ("SKIP LOCKED" in statements) is (dialect == "postgresql")
    assert list(tmp_path.iterdir()) == []


def test_schema_knows_mariadb(tmp_path: Path):
    ddl = rowqueue_here("schema", "--dialect", "mariadb", "--prefix", "jobs_", cwd=tmp_path).stdout
    assert "CREATE TABLE IF NOT EXISTS jobs_job (" in ddl
    assert "ENGINE=InnoDB" in ddl
    statements = rowqueue_here("schema", "--dialect", "mariadb", "--statements", cwd=tmp_path).stdout
    assert "FOR UPDATE SKIP LOCKED" in statements


def test_schema_takes_the_dialect_of_the_database(tmp_path: Path):
    url = "postgresql://nobody@nowhere.invalid/none"  # it is not asked
    assert "IDENTITY" in rowqueue_here("schema", cwd=tmp_path, ROWQUEUE_DATABASE_URL=url).stdout
    assert "AUTOINCREMENT" in rowqueue_here("schema", cwd=tmp_path).stdout
