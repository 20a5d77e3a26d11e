"""Operators' commands on both databases: enqueue, list, show, queues, workers, prune, stats --watch, backfill."""

import contextlib
import json
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rowqueue import NewJob, State, Store
from tests.cli.operating import Run, runner
from tests.cli.running import refused, rowqueue_here, running
from tests.support.stores import raw

SECRET = "hunter2-secret"
APP = """
import os, datetime
import rowqueue
from sqlalchemy import Integer, Text, column, select, table

app = rowqueue.App(os.environ["SHOP_DATABASE"])

@app.job(kind="greet", aliases=["hello"], queue="mail", priority=3)
def greet(name: str, at: datetime.datetime | None = None) -> None: ...

@app.job(kind="any")
def anything(a: int, **rest: int) -> None: ...

items = table("items", column("id", Integer), column("name", Text))
app.backfill("greetings", greet, select(items.c.id, items.c.name), args=lambda row: (row.name,))
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


@pytest.fixture
def shop(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    monkeypatch.setenv("SHOP_DATABASE", database_url)
    return tmp_path


# enqueue


def test_enqueue_with_every_option(run: Run, store: Store):
    options = {
        "--queue": "mail", "--priority": "1", "--max-attempts": "3", "--timeout": "2min", "--unique-key": "k",
        "--unique-state": "completed", "--correlation-id": "c", "--correlation-group": "g",
        "--at": "2099-01-31T12:00+01:00", "--meta": '{"by": "me"}',
    }  # fmt: skip
    typed = [part for option in options.items() for part in option]
    answer = run("enqueue", "greet", '{"name": "é\\n", "n": 1.5}', *typed, "--tag", "a", "--tag", "b")
    assert (answer.code, answer.out) == (0, "enqueued job 1: greet in mail, scheduled\n")
    job = store.get(1)
    assert job is not None
    assert job.args == {"name": "é\n", "n": 1.5}
    assert (job.queue, job.priority, job.max_attempts, job.timeout) == ("mail", 1, 3, 120.0)
    assert (job.unique_key, State.COMPLETED in job.unique_states, job.tags) == ("k", True, ("a", "b"))
    assert (job.correlation_id, job.correlation_group, job.meta) == ("c", "g", {"by": "me"})
    assert job.scheduled_at == datetime(2099, 1, 31, 11, tzinfo=UTC)

    again = run("enqueue", "greet", "--unique-key", "k", "--json")
    assert (again.json["inserted"], again.json["job"]["id"]) == (False, 1)
    assert "that unique key already: it is scheduled" in run("enqueue", "x", "--unique-key", "k").out


def test_enqueue_later_and_pending(run: Run, store: Store):
    run("enqueue", "a", "--delay", "1h")
    run("enqueue", "a", "--pending")
    later, pending = store.get(1), store.get(2)
    assert later is not None
    assert pending is not None
    assert (later.scheduled_at - later.created_at).total_seconds() == 3600
    assert pending.state is State.PENDING


def test_enqueue_tells_of_a_queue_that_nobody_works(run: Run, store: Store):
    assert (
        run("enqueue", "a", "--queue", "mial").err == ""
    )  # nobody works anything: no worker was started yet
    store.heartbeat("w", queues={"mail": 2}, kinds=["a"])
    answer = run("enqueue", "a", "--queue", "mial", "--json")
    assert answer.json["inserted"]
    assert answer.err == "note: no live worker takes jobs from the queue mial; they work mail\n"
    assert run("enqueue", "a", "--queue", "mail").err == ""


def test_enqueue_checks_against_the_app(shop: Path, store: Store):
    def enqueue(*arguments: str):
        return rowqueue_here("enqueue", *arguments, "--app", "shop:app", cwd=shop)

    assert "in mail" in enqueue("hello", '["Bo", "2026-01-01T00:00:00Z"]', "--tag", "t").stdout
    job = store.get(1)
    assert job is not None
    assert (job.kind, job.priority, job.tags) == (
        "greet",
        3,
        ("t",),
    )  # the alias is stored under its new name
    assert job.args["name"] == "Bo"
    assert job.args["at"].startswith("2026-01-01T00:00:00")
    assert enqueue("any", '{"a": 1, "b": 2}', "--queue", "other").returncode == 0
    for kind, arguments, says in [
        ("greet", "{}", "greet needs name"),
        ("greet", f'{{"name": "x", "nmae": "{SECRET}"}}', "does not take nmae; it takes name, at"),
        ("greet", f'{{"name": ["{SECRET}"]}}', "'name'"),
        ("greet", '{"name": "x", "at": "soon"}', "'at'"),
        ("greet", '["a", null, 3]', "takes 2 arguments, not 3"),
        ("greet", "7", "object by name"),
        ("any", '{"a": 1, "b": "x"}', "'b'"),
        ("gret", "{}", "no job 'gret'; it has: any, greet, hello"),
    ]:
        line = refused(enqueue(kind, arguments))
        assert says in line
        assert SECRET not in line
        assert "stored" not in line
    assert store.stats().total(State.AVAILABLE) == 2


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["k", '{"a":'], "no JSON (line 1, column 6)"),
        (["k", "[" * 100_000], "no JSON"),
        (["k", "[1]"], "object by name"),
        (["k", '{"a": NaN}'], "JSON"),
        (["k", '{"a": "\\ud800"}'], "surrogate"),
        (["k", "{}", "--meta", "7"], "--meta"),
        (["k", "--at", "tomorrow"], "--at"),
        (["k", "--at", "2026-01-31T12:00"], "zone"),
        (["k", "--at", "2026-01-31T12:00Z", "--delay", "5"], "delay or at"),
        (["k", "--delay", "5 weeks"], "no length of time"),
        (["k", "--delay", "-5"], "no length of time"),
        (["k", "--priority", "9"], "--priority"),
        (["k", "--queue", ""], "queue"),
        (["k" * 201], "kind"),
        (["k", "--unique-state", "done"], "--unique-state"),
        ([], "KIND"),
    ],
)
def test_enqueue_refuses(run: Run, store: Store, arguments: list[str], says: str):
    assert says in run("enqueue", *arguments).refusal
    assert store.list().jobs == ()


# list and show


def test_list_filters_and_pages(run: Run, store: Store):
    store.enqueue_many(
        [
            NewJob(kind="a", tags=("x", "y"), args={"password": SECRET}, meta={"m": SECRET}),
            NewJob(kind="b", queue="mail", correlation_id="c1"),
            NewJob(kind="a", queue="mail", delay=60, correlation_group="g"),
            NewJob(kind="a", tags=("x",), pending=True),
        ]
    )

    def listed(*options: str) -> list[int]:
        answer = run("jobs", "list", *options, "--json")
        assert SECRET not in answer.out
        return [job["id"] for job in answer.json["jobs"]]

    assert listed() == [1, 2, 3, 4]
    assert listed("--kind", "a") == [1, 3, 4]
    assert listed("--queue", "mail") == [2, 3]
    assert listed("--tag", "x") == [1, 4]
    assert listed("--tag", "x", "--tag", "y") == [1]
    assert listed("--state", "pending", "--state", "scheduled") == [3, 4]
    assert listed("--correlation-id", "c1") == [2]
    assert listed("--correlation-group", "g") == [3]
    assert listed("--newest-first", "--limit", "2") == [4, 3]
    assert run("jobs", "list", "--limit", "2", "--json").json["next"] == "2"
    assert listed("--after", "2") == [3, 4]

    page = run("jobs", "list", "--limit", "2")
    assert SECRET not in page.out
    assert [row[:4] for row in page.rows] == [
        ["1", "a", "default", "available"],
        ["2", "b", "mail", "available"],
    ]
    assert page.err == "note: there are more: --after 2\n"
    assert run("jobs", "list", "--queue", "none").out == "no such jobs\n"


def test_show_tells_everything(run: Run, store: Store):
    store.enqueue(NewJob(kind="a", args={"password": SECRET}, meta={"by": "me"}))
    (claim,) = store.claim()
    store.add_log(claim, {"said": "hi"})
    store.progress(claim, 0.5, "halfway")
    store.fail(claim, "it broke", trace="line 1\nline 2", delay=60)
    shown = run("jobs", "show", "1").out
    for text in (
        SECRET,
        '"by": "me"',
        "attempt 1 at ",
        ": it broke",
        "  line 2",
        '{"said": "hi"}',
        "50% halfway",
    ):
        assert text in shown
    data = run("jobs", "show", "1", "--json").json
    assert data["args"] == {"password": SECRET}
    assert [error["error"] for error in data["errors"]] == ["it broke"]
    assert data["log"][0]["entry"] == {"said": "hi"}
    assert data["progress"] == {"fraction": 0.5, "message": "halfway"}
    assert "no job 7" in run("jobs", "show", "7").refusal


def test_text_from_the_database_does_not_steer_the_terminal(run: Run, store: Store):
    evil = "\x1b]0;owned\x07\u202e\r"
    store.enqueue(
        NewJob(kind=f"k{evil}", tags=(evil,), args={"a": f"\x9b31m{evil}"}, meta={f"\x7f{evil}": 1})
    )
    (claim,) = store.claim()
    store.fail(claim, f"boom {evil}", trace=f"at {evil}")
    store.pause(f"q{evil}")
    answers = [
        run("jobs", "list"), run("jobs", "show", "1"), run("queues", "list"), run("queues", "pause", evil),
        run("stats"), run("enqueue", f"k{evil}"), run("doctor"),
    ]  # fmt: skip
    for answer in answers:
        assert all(line.isprintable() for line in (answer.out + answer.err).splitlines())
        assert "\r" not in answer.out


# queues and workers


def test_queues(run: Run, store: Store):
    store.enqueue_many([NewJob(kind="a"), NewJob(kind="b", queue="mail")])
    store.heartbeat("w1", queues={"mail": 4, "idle": 1}, kinds=["a", "b"])
    store.heartbeat("w2", queues={"mail": 4}, kinds=["a"])
    assert run("queues", "pause", "mail").out == "the queue mail is paused\n"
    assert run("queues", "pause", "mail").out == "the queue mail was paused already\n"
    assert store.claim(queues=["mail"]) == []
    rows = {row["queue"]: row for row in run("queues", "list", "--json").json}
    assert set(rows) == {"default", "idle", "mail"}
    assert (rows["mail"]["workers"], rows["mail"]["slots"], rows["mail"]["available"]) == (2, 8, 1)
    assert rows["mail"]["paused_at"] is not None
    assert rows["default"]["workers"] == 0
    assert [row[0] for row in run("queues", "list").rows] == ["default", "idle", "mail"]
    assert run("queues", "resume", "mail", "--json").json == {"queue": "mail", "changed": True}
    assert run("queues", "resume", "mail").out == "the queue mail was not paused\n"
    assert store.claim(queues=["mail"])


def test_pausing_a_queue_that_nobody_has_is_done_and_told(run: Run):
    answer = run("queues", "pause", "mial")
    assert (answer.code, answer.out) == (0, "the queue mial is paused\n")
    assert "note: no job and no live worker has a queue mial" in answer.err
    assert "queue" in run("queues", "pause", "").refusal


def test_workers(run: Run, store: Store):
    assert run("workers").out == "no workers\n"
    store.heartbeat("w1", queues={"mail": 4, "b": 1}, kinds=["a", "b"])
    ((name, _, silent, queues, kinds),) = run("workers").rows
    assert (name, silent, queues, kinds) == ("w1", "0 s", "b=1, mail=4", "2")
    (worker,) = run("workers", "--json").json
    assert (worker["id"], worker["queues"], worker["kinds"]) == ("w1", {"mail": 4, "b": 1}, ["a", "b"])


# prune


def test_prune(run: Run, store: Store, database_url: str):
    store.enqueue_many([NewJob(kind="a", queue=queue) for queue in ("x", "x", "y", "y", "y")])
    store.complete_many(store.claim(4))
    store.discard(5)
    with contextlib.closing(store), raw(database_url) as rows:
        assert run("prune").out == "pruned 0 jobs\n"
        rows.pass_time(7200)
        assert run("prune", "--age", "completed=1h", "--queue", "x", "--limit", "1").out == "pruned 1 job\n"
        assert run("prune", "--age", "completed=1h", "--queue", "x", "--json").json == {"pruned": 1}
        assert run("prune", "--age", "completed=1h", "--age", "discarded=3h").out == "pruned 2 jobs\n"
        assert list(rows.all()) == [5]
        rows.pass_time(15 * 86_400)
        assert run("prune").out == "pruned 1 job\n"


@pytest.mark.parametrize("age", ["running=1h", "completed", "completed=", "completed=soon", "=1h"])
def test_prune_refuses(run: Run, age: str):
    assert "h" in run("prune", "--age", age).refusal.partition("write ")[2]


# stats --watch


@pytest.mark.parametrize("as_json", [False, True])
def test_watch_looks_again_until_it_is_told_to_stop(
    store: Store, database_url: str, tmp_path: Path, as_json: bool
):
    options = ["--watch", "--interval", "0.1", "--database", database_url, *(["--json"] if as_json else [])]
    with running("stats", *options, cwd=tmp_path) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        if as_json:
            assert json.loads(first)["queues"] == []
        store.enqueue(NewJob(kind="a", queue="fresh"))
        for line in process.stdout:
            if "fresh" in line:
                break
        else:
            raise AssertionError("the new job never showed")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


# backfill


def test_backfill(shop: Path, store: Store, database_url: str):
    with raw(database_url) as rows:
        rows.execute("CREATE TABLE items (id integer PRIMARY KEY, name text)")
        rows.execute("INSERT INTO items VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e')")

    def backfill(*arguments: str):
        return rowqueue_here("backfill", *arguments, "--app", "shop:app", cwd=shop)

    assert [line.split() for line in backfill().stdout.splitlines()][1] == ["greetings", "greet", "greetings"]
    first = backfill("greetings", "--limit", "2", "--batch", "2")
    assert first.stdout.splitlines()[-1] == "created 2, there may be more"
    rest = backfill("greetings", "--batch", "1")
    assert rest.stdout.splitlines() == ["created 1", "created 2", "created 3, all queued"]
    again = json.loads(backfill("greetings", "--json").stdout)
    assert again == {"backfill": "greetings", "created": 0, "rest": "all_queued"}
    assert sorted(job.args["name"] for job in store.list().jobs) == list("abcde")
    assert "no backfill 'greet'; it has greetings" in refused(backfill("greet"))
    assert "module:name" in refused(rowqueue_here("backfill", "greetings", cwd=shop))
