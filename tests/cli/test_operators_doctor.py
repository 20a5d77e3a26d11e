"""`doctor` for people, for programs and for health checks: 0 is well, 1 is not, 2 is bad input."""

import json
import re
from pathlib import Path

import pytest

from rowqueue import NewJob, Store
from tests.cli.operating import Run, runner
from tests.cli.running import refused, rowqueue_here
from tests.support.stores import MOMENT, kind_of, raw

APP = """
import os
import rowqueue

app = rowqueue.App(os.environ["SHOP_DATABASE"])
uploads = app.table("uploads", rowqueue.JobTable("uploads", states={"available": "queued", "running": "processing",
    "completed": "done", "discarded": "failed"}), retry=rowqueue.RetryPolicy.constant(0), lease=60)
assert uploads.settings.lease == 60 and uploads.settings.max_attempts == app.store.settings.max_attempts
assert app.tables["uploads"] is uploads
for name, options in (("uploads", {}), ("", {}), ("other", {"colour": 1})):
    try:
        app.table(name, rowqueue.JobTable("uploads"), **options)
    except ValueError:
        continue
    raise AssertionError(name)
"""


@pytest.fixture
def store(database_url: str):
    store = Store(database_url)
    store.init()
    yield store
    store.close()


@pytest.fixture
def run(store: Store, database_url: str, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys, "--database", database_url)


def test_all_is_well(run: Run):
    answer = run("doctor")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "all is well")
    report = run("doctor", "--json").json
    assert report["ok"] is True
    assert {finding["check"] for finding in report["findings"]} >= {"schema", "columns", "index", "worker"}


def test_something_is_wrong(run: Run, store: Store, database_url: str):
    store.enqueue(NewJob(kind="k", queue="mail"))
    with raw(database_url) as rows:
        rows.pass_time(300)
        rows.execute("DROP INDEX rowqueue_job_due" + (" ON rowqueue_job" if rows.kind == "mariadb" else ""))
    answer = run("doctor")
    assert answer.code == 1
    first, second = answer.rows[:2]
    assert first[:2] == ["WRONG", "index"]
    assert re.match("(CREATE|ALTER TABLE rowqueue_job .*ADD) INDEX rowqueue_job_due", first[3])
    assert second[:2] == ["WRONG", "queue"]
    assert answer.out.splitlines()[-1] == "2 things to see to"
    answer = run("doctor", "--json")
    assert (answer.code, answer.json["ok"]) == (1, False)


def test_without_tables(tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]):
    if database_url.startswith("sqlite"):
        (tmp_path / "test.db").touch()
    answer = runner(capsys, "--database", database_url)("doctor")
    assert answer.code == 1
    assert "rowqueue init" in answer.out


def test_a_database_that_is_away_is_something_wrong(capsys: pytest.CaptureFixture[str]):
    answer = runner(capsys, "--database", "postgresql://u:hunter2@127.0.0.1:1/d")("doctor", "--json")
    (finding,) = answer.json["findings"]
    assert (answer.code, finding["check"], finding["ok"]) == (1, "database", False)
    assert "hunter2" not in answer.out + answer.err


def test_a_damaged_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "jobs.db"
    run = runner(capsys, "--database", f"sqlite:///{path}")
    assert run("init").code == 0
    store = Store(f"sqlite:///{path}")
    store.enqueue_many([NewJob(kind="k", args={"n": "x" * 500}) for _ in range(500)])
    store.close()
    assert "the file is whole" in run("doctor", "--integrity").out
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 9000] = b"\xff" * 9000
    path.write_bytes(content)
    answer = run("doctor", "--integrity", "--json")
    assert answer.code == 1
    assert any("damaged" in finding["message"] for finding in answer.json["findings"] if not finding["ok"])


def test_bad_input(run: Run, database_url: str, capsys: pytest.CaptureFixture[str]):
    assert "--app" in run("doctor", "--table", "uploads").refusal
    if not database_url.startswith("sqlite"):
        assert "amcheck" in run("doctor", "--integrity").refusal
    assert "no file" in runner(capsys, "--database", "sqlite:///none.db")("doctor").refusal
    assert "--frob" in run("doctor", "--frob").refusal


def test_a_table_of_the_apps(tmp_path: Path, database_url: str):
    (tmp_path / "shop.py").write_text(APP)
    moment = MOMENT[kind_of(database_url)]
    with raw(database_url) as rows:
        rows.execute(
            "CREATE TABLE uploads (id integer PRIMARY KEY, state varchar(20) DEFAULT 'queued', lease integer DEFAULT 0,"
            f" leased_until {moment}, attempt integer DEFAULT 0, priority integer DEFAULT 2)"
        )

    def doctor(*arguments: str):
        return rowqueue_here(
            "doctor", *arguments, "--app", "shop:app", cwd=tmp_path, SHOP_DATABASE=database_url
        )

    answer = doctor("--table", "uploads", "--json")
    report = json.loads(answer.stdout)
    (missing,) = [finding for finding in report["findings"] if not finding["ok"]]
    assert (answer.returncode, missing["check"]) == (1, "index")
    with raw(database_url) as rows:
        rows.execute(missing["remedy"])
    answer = doctor("--table", "uploads")
    assert (answer.returncode, answer.stdout.splitlines()[-1]) == (0, "all is well")
    assert "no table 'upload'; it has uploads" in refused(doctor("--table", "upload"))
