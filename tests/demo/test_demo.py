"""The demo as people run it: with kills of its own, killed by us, run again, and searched."""

import contextlib
import os
import pty
import random
import re
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from rowqueue.demo import check
from rowqueue.demo.jobs import Demo, open_demo
from tests.cli.running import environment, rowqueue, rowqueue_here, running
from tests.support import nursery
from tests.support.waiting import wait_until

Sources = Callable[[int], Path]


@pytest.fixture
def demo(database_url: str):
    demo = open_demo(database_url)
    yield demo
    demo.close()


def shown(output: str, what: str) -> int:
    found = re.search(rf"^{re.escape(what)} +([\d,]+)$", output, re.MULTILINE)
    assert found, f"no line {what!r} in:\n{output}"
    return int(found[1].replace(",", ""))


@pytest.mark.every_database
def test_it_survives_its_kill_and_does_nothing_twice(tmp_path: Path, sources: Sources, database_url: str):
    arguments = ["demo", "--source", str(sources(400)), "--database", database_url]
    first = rowqueue(*arguments, cwd=tmp_path, timeout=100)
    assert first.returncode == 0, first
    assert first.stderr == ""
    assert "403 files, 403 of them new; 403 jobs made" in first.stdout
    assert "with SIGKILL" in first.stdout
    assert "with SIGSTOP" in first.stdout
    assert "all 403 items are accounted for, each indexed exactly once" in first.stdout
    assert shown(first.stdout, "jobs completed") == 400
    assert shown(first.stdout, "jobs discarded") == 3
    assert shown(first.stdout, "rescued from a worker that was gone") >= 1
    assert 1 <= shown(first.stdout, "retried after a failure") <= 9  # a kill uses up an attempt, too
    # The worker that was frozen hears that its leases are lost, or has its writes refused, whichever comes first.
    taken = re.search(
        r"^thawed worker \d+ after .*: (\d+) of its jobs are others' now", first.stdout, re.MULTILINE
    )
    assert taken is not None
    assert shown(first.stdout, "attempts stopped whose lease was lost") >= min(1, int(taken[1]))
    assert shown(first.stdout, "symbols in the index") == 1600
    assert "SyntaxError: '[' was never closed" in first.stdout
    assert "\x1b" not in first.stdout, "plain lines in a pipe"

    again = rowqueue(*arguments, cwd=tmp_path)
    assert again.returncode == 0, again
    assert "everything is indexed already: no work is done twice" in again.stdout
    assert "0 of them new; 0 jobs made" in again.stdout
    assert shown(again.stdout, "symbols in the index") == 1600

    found = rowqueue_here("demo", "--find", "turn lamp", "--database", database_url, cwd=tmp_path).stdout
    assert re.search(
        r"^package\d\.module\d+\.Thing\d+\.turn_lamp +function +package\d/module\d+\.py:6 +Turn the lamp",
        found,
        re.MULTILINE,
    )
    nothing = rowqueue_here("demo", "--find", "hippopotamus", "--database", database_url, cwd=tmp_path)
    assert (nothing.returncode, nothing.stdout) == (0, "nothing in the index has all of: hippopotamus\n")


def test_the_default_database_is_a_file_here(tmp_path: Path, sources: Sources):
    result = rowqueue("demo", "--source", str(sources(3)), "--workers", "1", cwd=tmp_path)
    assert result.returncode == 0, result
    assert (tmp_path / "rowqueue-demo.db").exists()
    assert "turn_door" in rowqueue_here("demo", "--find", "door", cwd=tmp_path).stdout


def test_a_terminal_gets_a_bar_that_moves(tmp_path: Path, sources: Sources, sqlite_url: str):
    ours, theirs = pty.openpty()
    arguments = ["demo", "--source", str(sources(20)), "--database", sqlite_url, "--workers", "1"]
    on = {"stdout": theirs, "stderr": theirs, "env": environment(TERM="xterm-256color")}
    with nursery.start("rowqueue", *arguments, cwd=tmp_path, **on) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # Linux: the other end is closed
            while read := os.read(ours, 65536):
                shown += read
        os.close(ours)
        assert process.wait(60) == 0, shown.decode()
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in shown.decode()
    assert b"\r" in shown
    assert b"\x1b[" in shown


def test_there_is_nothing_to_find_before_the_first_run(tmp_path: Path, database_url: str):
    result = rowqueue_here("demo", "--find", "door", "--database", database_url, cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "run 'rowqueue demo' first" in result.stderr


@pytest.mark.slow
def test_killed_whole_at_random_moments_it_ends_complete(
    tmp_path: Path, sources: Sources, database_url: str, demo: Demo, long: bool
):
    count = 200
    arguments = ["demo", "--source", str(sources(count)), "--database", database_url]
    chance = random.Random(7)
    for _ in range(10 if long else 2):
        with running(*arguments, cwd=tmp_path) as process:
            assert process.stdout is not None
            lines = chance.randrange(6)  # how much it has told is how far it has come
            for _ in range(lines):
                process.stdout.readline()
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            for member in family:
                if member.is_running():
                    member.kill()
            psutil.wait_procs(family, timeout=10)
    last = rowqueue(*arguments, cwd=tmp_path, timeout=100)
    assert last.returncode == 0, last
    assert f"all {count + 3} items are accounted for, each indexed exactly once" in last.stdout
    assert shown(last.stdout, "symbols in the index") == 4 * count


def test_its_workers_end_when_it_alone_is_killed(tmp_path: Path, sources: Sources, sqlite_url: str):
    with running("demo", "--source", str(sources(300)), "--database", sqlite_url, cwd=tmp_path) as process:
        workers = wait_until(lambda: psutil.Process(process.pid).children(), "the workers", 30)
        process.kill()
        wait_until(lambda: not any(worker.is_running() for worker in workers), "the end of the workers", 30)


def test_ctrl_c_stops_it_and_its_workers(tmp_path: Path, sources: Sources, sqlite_url: str):
    with running("demo", "--source", str(sources(300)), "--database", sqlite_url, cwd=tmp_path) as process:
        workers = wait_until(lambda: psutil.Process(process.pid).children(), "the workers", 30)
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in output
        wait_until(lambda: not any(worker.is_running() for worker in workers), "the end of the workers", 30)


def test_a_job_that_was_pruned_before_it_ran_is_made_again(tmp_path: Path, sources: Sources, sqlite_url: str):
    arguments = ["demo", "--source", str(sources(3)), "--database", sqlite_url, "--workers", "1"]
    assert rowqueue(*arguments, cwd=tmp_path).returncode == 0
    demo = open_demo(sqlite_url)
    with demo.engine.begin() as connection:
        connection.execute(sa.delete(demo.app.store.jobs))
    demo.close()
    again = rowqueue(*arguments, cwd=tmp_path)
    assert again.returncode == 0, again
    assert "; 3 jobs made" in again.stdout  # the broken ones
    assert shown(again.stdout, "jobs pruned") == 3


BREAKS = {
    "indexed more than once": "INSERT INTO {symbol} (item_id, kind, name, line, own, words, docstring)"
    " SELECT item_id, kind, name, line, own, words, docstring FROM {symbol} WHERE kind = 'module' AND item_id = 1",
    "not in the index": "DELETE FROM {symbol} WHERE item_id = 1",
    "another number of symbols": "DELETE FROM {symbol} WHERE item_id = 1 AND kind = 'class'",
    "did not complete, but are in the index": "UPDATE {job} SET state = 'discarded' WHERE id ="
    " (SELECT search_job FROM {item} WHERE id = 1)",
    "without a job": "UPDATE {item} SET search_job = NULL WHERE id = 1",
    "whose job was lost": "UPDATE {item} SET search_job = 99999, symbols = NULL WHERE id = 1",
    "not final": "UPDATE {job} SET state = 'running', finalized_at = NULL WHERE id ="
    " (SELECT search_job FROM {item} WHERE id = 1)",
    "symbols of no item": "INSERT INTO {symbol} (item_id, kind, name, line, own, words, docstring)"
    " VALUES (99999, 'class', 'x', 1, 'x', 'x', '')",
    "jobs that no item knows": "DELETE FROM {item} WHERE id = 1",
}


def test_the_checker_finds_each_breach(tmp_path: Path, sources: Sources, database_url: str, demo: Demo):
    """The negative control: without it, a check that says yes to everything would go unseen."""
    arguments = ["demo", "--source", str(sources(5)), "--database", database_url, "--workers", "1"]
    assert rowqueue(*arguments, cwd=tmp_path).returncode == 0
    assert check.problems(demo) == []
    names = {
        "item": demo.tables.item.name,
        "symbol": demo.tables.symbol.name,
        "job": demo.app.store.jobs.name,
    }
    with demo.engine.begin() as connection:  # which of the items it is: the first that completed
        first = connection.exec_driver_sql(
            "SELECT min(id) FROM {item} WHERE symbols IS NOT NULL".format(**names)
        )
        number = first.scalar_one()
    for says, statement in BREAKS.items():
        broken = statement.replace("item_id = 1", f"item_id = {number}").replace(" id = 1", f" id = {number}")
        with demo.engine.connect() as connection, connection.begin() as transaction:
            connection.exec_driver_sql(broken.format(**names))
            found = check.breaches(demo, connection)
            transaction.rollback()
        assert any(says in line for line in found), (says, found)
    assert check.problems(demo) == []


def test_a_breach_is_the_exit_code(tmp_path: Path, sources: Sources, sqlite_url: str):
    arguments = ["demo", "--source", str(sources(5)), "--database", sqlite_url, "--workers", "1"]
    assert rowqueue(*arguments, cwd=tmp_path).returncode == 0
    demo = open_demo(sqlite_url)
    with demo.engine.begin() as connection:
        connection.execute(sa.delete(demo.tables.symbol).where(demo.tables.symbol.c.kind == "module"))
    demo.close()
    result = rowqueue(*arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert "CHECK FAILED" in result.stdout
