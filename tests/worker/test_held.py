"""``claim="held"``: the work and its completion commit together, whatever the handler is and however it ends."""

import asyncio
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from rowqueue import App, Cancel, ConfigurationError, Context, Discard, Retry, RetryPolicy, Skip, Snooze
from rowqueue.store.held_transaction import LIMITS
from rowqueue.worker import Worker, events
from tests.worker.harness import Running, drain, raw_connection
from tests.worker.held_jobs import Effects, held

pytestmark = pytest.mark.every_database


def test_work_and_completion_commit_together(app: App, way: str, effects: Effects, database_url: str) -> None:
    def look(context: Context) -> dict[str, Any]:
        with raw_connection(database_url) as other:
            row = other.execute("SELECT state, attempt, attempted_by FROM rowqueue_job").fetchone()
        return {"seen": list(row), "effects": effects(), "record": context.record}

    job = held(app, way, look).enqueue(7)
    running = drain(app, worker_id="w-1")
    row = running.row(job)
    assert (row.state, row.attempt, row.failures, row.leased_until) == ("completed", 1, 0, None)
    assert row.result == {"seen": ["running", 1, "w-1"], "effects": [], "record": None}
    assert effects() == [7]
    counts = running.worker.counts
    assert [counts[kind] for kind in (events.Claimed, events.Started, events.Completed)] == [1, 1, 1]


def test_an_error_undoes_the_work_and_is_kept(app: App, way: str, effects: Effects) -> None:
    tries = 0

    def fail_once(context: Context) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ZeroDivisionError("too bad")

    job = held(app, way, fail_once, retry=RetryPolicy.constant(0)).enqueue(7)
    running = drain(app)
    row = running.row(job)
    assert (row.state, row.attempt, row.failures, effects()) == ("completed", 2, 1, [7])
    assert row.errors[0].error == "ZeroDivisionError: too bad"
    assert "fail_once" in row.errors[0].trace
    assert "holds.py" not in row.errors[0].trace
    assert running.said(events.Failed)[0].error == "ZeroDivisionError: too bad"


def test_the_policy_of_the_kind_decides(app: App, way: str, effects: Effects) -> None:
    def fail(context: Context) -> None:
        raise ValueError

    job = held(app, way, fail, retry=RetryPolicy.constant(3600), max_attempts=2).enqueue(1)
    running = drain(app)
    assert running.row(job).state == "retryable"
    app.store.promote(job.job.id)
    drain(app)
    assert (running.row(job).state, effects()) == ("discarded", [])


@pytest.mark.parametrize(
    "ending, state, attempt, failures",
    [
        (Snooze(60), "scheduled", 0, 0),
        (Skip("nothing new"), "skipped", 1, 0),
        (Cancel("not wanted"), "cancelled", 1, 0),
        (Discard("never"), "discarded", 1, 0),
        (Retry(after=60), "retryable", 1, 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_control_exceptions_end_it(
    app: App,
    way: str,
    effects: Effects,
    ending: Exception,
    state: str,
    attempt: int,
    failures: int,
) -> None:
    def end(context: Context) -> None:
        raise ending

    job = held(app, way, end).enqueue(1)
    row = drain(app).row(job)
    assert (row.state, row.attempt, row.failures, effects()) == (state, attempt, failures, [])


def test_a_snoozed_held_job_wakes_the_worker(app: App, effects: Effects) -> None:
    starts = []

    def snooze_once(context: Context) -> None:
        starts.append(context.attempt)
        if len(starts) == 1:
            raise Snooze(0.2)

    held(app, "def", snooze_once).enqueue(1)
    with Running(app, poll=60) as running:
        running.wait_for(events.Completed)
    assert starts == [1, 1]


@pytest.mark.parametrize("fails", [True, False])
def test_jobs_enqueued_inside_exist_when_it_commits(
    app: App, way: str, effects: Effects, fails: bool
) -> None:
    seen: list[int] = []

    @app.job(kind="follow")
    def follow(n: int) -> None:
        seen.append(n)

    async def then_async(context: Context) -> None:
        await follow.on(context.connection).enqueue(7)
        if fails:
            raise Discard

    def then(context: Context) -> Any:
        if way != "def":
            return then_async(context)
        follow.on(context.connection).enqueue(7)
        if fails:
            raise Discard
        return None

    held(app, way, then).enqueue(1)
    drain(app)
    assert seen == ([] if fails else [7])


def test_log_and_progress_commit_with_the_work(app: App, way: str, effects: Effects) -> None:
    async def then_async(context: Context) -> None:
        await context.log_async({"step": 1})
        await context.progress_async(0.5, "halfway")
        with pytest.raises(ConfigurationError, match="_async twin"):
            context.log("this one blocks")

    def then(context: Context) -> Any:
        if way != "def":
            return then_async(context)
        context.log({"step": 1})
        context.progress(0.5, "halfway")
        return None

    job = held(app, way, then).enqueue(1)
    row = drain(app).row(job)
    assert [entry.entry for entry in app.store.log(job.job.id)] == [{"step": 1}]
    assert row.progress is not None
    assert row.state == "completed"


def test_what_a_held_job_cannot_do_is_said(app: App, effects: Effects) -> None:
    says = []

    def then(context: Context) -> None:
        with pytest.raises(ConfigurationError, match="completes in its own transaction") as caught:
            context.complete_in(context.connection)
        says.append(str(caught.value))
        if app.stores.database.name == "sqlite":
            with pytest.raises(ConfigurationError, match=r"in a worker's job, context\.connection"):
                leased.enqueue()

    @app.job(kind="leased")
    def leased(context: Context) -> None:
        with pytest.raises(ConfigurationError, match="claim='held'"):
            context.connection  # noqa: B018
        says.append("leased")

    held(app, "def", then).enqueue(1)
    leased.enqueue()
    running = drain(app)
    assert len(says) == 2
    assert running.worker.counts[events.Completed] == 2
    with pytest.raises(ConfigurationError, match="claim='held'"):
        app.jobs["work"](1)


@pytest.mark.parametrize("asked", ["fails", "completes"])
def test_a_cancel_waits_for_the_transaction(app: App, way: str, effects: Effects, asked: str) -> None:
    go = threading.Event()

    async def later() -> None:
        await asyncio.to_thread(go.wait, 20)
        if asked == "fails":
            raise ValueError

    def then(context: Context) -> Any:
        if way != "def":
            return later()
        go.wait(20)
        if asked == "fails":
            raise ValueError
        return None

    job = held(app, way, then, retry=RetryPolicy.constant(3600)).enqueue(1)
    answers: list[Any] = []
    with Running(app) as running:
        running.wait_for(events.Started)
        cancel = threading.Thread(target=lambda: answers.append(app.store.cancel(job.job.id)))
        cancel.start()
        assert answers == []
        go.set()
        cancel.join(20)
    state = "cancelled" if asked == "fails" else "completed"
    assert (running.row(job).state, answers[0].state) == (state, state)
    assert answers[0].done == (asked == "fails")


def test_a_timeout_undoes_the_work(app: App, way: str, effects: Effects) -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    def then(context: Context) -> Any:
        if way != "def":
            return forever()
        while not context.cancelled:
            threading.Event().wait(0.005)
        return "too late"

    job = held(app, way, then, timeout=0.1, max_attempts=1).enqueue(1)
    running = drain(app)
    row = running.row(job)
    assert (row.state, row.result, effects()) == ("discarded", None, [])
    assert "ran longer than its timeout of 0.1 s" in row.errors[0].error
    assert running.worker.counts[events.TimedOut] == 1


def test_it_is_held_no_longer_than_the_limit(
    app: App, way: str, effects: Effects, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setitem(LIMITS, app.stores.database.name, 0.2)

    def free() -> None:
        with raw_connection(database_url) as other:  # waits for what has the row
            other.execute("UPDATE rowqueue_job SET meta = NULL")

    def then(context: Context) -> Any:
        return free() if way == "def" else asyncio.to_thread(free)

    job = held(app, way, then, max_attempts=1).enqueue(1)
    row = drain(app).row(job)
    assert (row.state, effects()) == ("discarded", [])
    assert "longer than its limit of 0.2 s" in row.errors[0].error


def test_a_longer_timeout_is_a_longer_limit(
    app: App, way: str, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LIMITS, app.stores.database.name, 0.1)

    def then(context: Context) -> Any:
        return threading.Event().wait(0.3) if way == "def" else asyncio.sleep(0.3)

    job = held(app, way, then, timeout=20).enqueue(1)
    assert (drain(app).row(job).state, effects()) == ("completed", [1])


def test_held_and_other_jobs_share_a_worker(app: App, way: str, effects: Effects) -> None:
    together, most = 0, 0
    lock = threading.Lock()

    def then(context: Context) -> None:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        threading.Event().wait(0.01)
        with lock:
            together -= 1

    @app.job(kind="leased")
    def leased() -> None: ...

    job = held(app, way, then)
    job.enqueue_many([(n,) for n in range(12)])
    leased.enqueue_many([() for _ in range(12)])
    running = drain(app, concurrency=4)
    assert running.worker.counts[events.Completed] == 24
    assert effects() == list(range(12))
    if app.stores.database.name == "sqlite" or way != "def":
        assert most == 1, "one at a time"
    else:
        assert 1 < most <= 4


def test_arguments_that_do_not_fit_are_a_failure(app: App, effects: Effects, database_url: str) -> None:
    job = held(app, "def", lambda context: None, max_attempts=1).enqueue(1)
    with raw_connection(database_url) as connection:
        connection.execute("""UPDATE rowqueue_job SET args = '{"n": "x"}'""")
    row = drain(app).row(job)
    assert (row.state, effects()) == ("discarded", [])


def test_what_cannot_be_held_is_refused_when_it_is_made(app: App, database_url: str) -> None:
    def refused(says: str) -> Any:
        return pytest.raises(ConfigurationError, match=says)

    def work(record: Any) -> None: ...

    async def work_async(record: Any) -> None: ...

    with refused("both process=True and claim='held'"):
        app.job(kind="both", process=True, claim="held")(work)
    with refused("must be 'leased' or 'held'"):
        app.job(kind="tight", claim="tight")(work)  # type: ignore[call-overload]
    with refused("go with a store"):
        Worker(app, claim="held")  # type: ignore[call-overload]
    drivers = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql", "sqlite": "sqlite"}
    url = sa.make_url(database_url)
    engine = sa.create_engine(url.set(drivername=drivers[url.get_backend_name()]))
    other = App(engine)
    other.job(kind="async", claim="held")(work_async)
    with refused("or hold in a def"):
        Worker(other)
    engine.dispose()
