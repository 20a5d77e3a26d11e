"""Every example runs for real, on a database of its own, and does what its page says."""

import importlib.util
import sqlite3
import warnings
from contextlib import closing
from datetime import timedelta

import pytest
import sqlalchemy as sa

from rowqueue import Cancel, State
from rowqueue.app.context import ContextControl
from rowqueue.testing import harness
from tests.examples.conftest import FOLDER
from tests.support.stores import raw


def test_every_example_has_a_test_and_a_line_in_the_list():
    names = {path.stem for path in FOLDER.glob("*.py")}
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert names <= tests
    listed = (FOLDER / "README.md").read_text()
    assert {name for name in names if f"]({name}.py)" not in listed} == set()


def test_sqlite_script(run, tmp_path):
    assert run("sqlite_script") == [
        "refused, and no job is left of it: cup cannot cost -1",
        "job 1 completed: tea: 4.50",
        "job 2 completed: pot: 30.00",
    ]
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        assert connection.execute("SELECT item, billed FROM orders").fetchall() == [("tea", 1), ("pot", 1)]


def test_asyncpg_service(run, postgres_database):
    assert run("asyncpg_service", postgres_database) == [
        "refused: ['nobody pays 0']",
        "receipts: {5: 1, 10: 1, 20: 1}",
    ]


def test_reminder(run, load, database_url, capsys):
    assert run("reminder", database_url) == [
        "called off: True",
        "remember: pay the rent",
        "remember: call Ada",
    ]
    example = load("reminder", database_url)
    with harness(example.app) as jobs:
        example.set_reminder("far away", timedelta(days=365))
        assert jobs.drain() == []
        jobs.travel(timedelta(days=364))
        assert jobs.drain() == []
        jobs.travel(timedelta(days=1, seconds=1))
        assert [ran.job.args for ran in jobs.drain() if ran.job.args["task"] == "far away"] != []
    assert "remember: far away" in capsys.readouterr().out
    example.app.close()


def test_image_job(run, load, sqlite_url, tmp_path):
    """In a child process by a worker; and cancelled, with the handler called right here."""
    (line,) = run("image_job", sqlite_url)
    assert line.startswith("completed {'bytes': 9614}")
    assert "row 80 of 80" in line
    head, pixels = (tmp_path / "mandelbrot.pgm").read_bytes().split(b" 255\n", 1)
    assert (head, len(pixels), min(pixels), max(pixels)) == (b"P5 120 80", 120 * 80, 0, 255)

    example = load("image_job", sqlite_url)
    with harness(example.app) as jobs:
        example.render.enqueue("other.pgm", 20, 10)
        (ran,) = jobs.drain()
        assert ran.job.progress is not None
        assert (ran.state, ran.job.progress.fraction) == (State.COMPLETED, 1.0)
        example.render.enqueue("third.pgm", 20, 10)
        (claim,) = example.app.store.claim(1)
        control = ContextControl(claim, example.app.stores)
        control.cancel()
        with pytest.raises(Cancel, match="stopped at row 0"):
            example.render.bind(control.context)()
    assert not (tmp_path / "third.pgm").exists()
    example.app.close()


def test_uploads_in_place(run, database_url):
    assert run("uploads_in_place", database_url) == [
        "processed small (1)",
        "processed middle (50)",
        "small: completed, failed 0 times",
        "broken: errored, failed 1 times the index cannot be read",
        "middle: completed, failed 0 times",
        "big: queued, failed 0 times",
    ]


def test_read_only_view(run, database_url):
    assert run("read_only_view", database_url) == [
        "reminded bob@x.org of 90",
        "reminded ada@x.org of 10",
        "reminded dee@x.org of 7",
        "reminded eve@x.org of 1",
        "invoice 1: completed",
        "invoice 2: completed",
        "invoice 3: discarded",
        "invoice 4: completed",
        "invoice 5: completed",
    ]


def test_pipeline(run, database_url):
    assert run("pipeline", database_url) == [
        *(f"{name}: 5 words" for name in ("ada", "bob", "cy", "dee", "eve")),
        "jobs: 10",
    ]
    with raw(database_url) as rows:
        ledger = rows.rows("SELECT destination, count(*) AS n FROM rowqueue_backfill GROUP BY destination")
    assert {row["destination"]: row["n"] for row in ledger} == {"fetch": 5, "index": 5}


@pytest.fixture
def signup(load, database_url):
    for name in ("fastapi", "httpx"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    example = load("fastapi_signup", database_url)
    yield example
    example.engine.dispose()


@pytest.fixture
def client(signup):
    with warnings.catch_warnings(action="ignore"):  # newer versions of it ask for a successor of httpx
        from fastapi.testclient import TestClient
    with TestClient(signup.web) as client:
        yield client


def test_fastapi_signup(signup, client):
    with harness(signup.app) as jobs:
        answer = client.post("/users", params={"email": "ada@example.com"})
        assert (answer.status_code, answer.json()["user"]) == (201, 1)
        path = f"/jobs/{answer.json()['job']}"
        jobs.assert_enqueued(signup.send_welcome, 1, queue="mail", count=1)
        assert client.get(path).json()["state"] == "available"
        assert client.post("/users", params={"email": "ada@example.com"}).status_code == 409
        assert client.post("/users", params={"email": "bob@example.invalid"}).status_code == 422
        assert len(jobs.all_enqueued()) == 1, "a job of a request that was rolled back is left"
        assert [ran.state for ran in jobs.drain()] == [State.COMPLETED]
        assert client.get(path).json() == {"state": "completed", "result": "welcome, ada@example.com"}
    with signup.engine.connect() as connection:
        rows = connection.execute(sa.select(signup.User.email, signup.User.welcomed)).all()
    assert [tuple(row) for row in rows] == [("ada@example.com", True)]
