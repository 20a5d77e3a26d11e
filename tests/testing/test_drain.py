"""Drain: what is due runs on demand, and every job ends as a worker would have ended it."""

import time
from datetime import timedelta

import pytest

from rowqueue import App, Cancel, Context, Discard, Retry, RetryPolicy, Skip, Snooze, State
from rowqueue.core.errors import ConfigurationError, UnknownKind
from rowqueue.core.finish import HandlerTimeout
from rowqueue.core.values import NewJob
from rowqueue.testing import harness
from tests.worker import harness as workers


def test_nothing_runs_before_drain_and_everything_due_after(app: App):
    done = []

    @app.job(kind="parent")
    def parent(number: int) -> None:
        done.append(number)
        if number < 3:
            parent.options(queue="other").enqueue(number + 1)

    with harness(app) as jobs:
        parent.enqueue(1)
        parent.options(delay=timedelta(days=1)).enqueue(10)
        assert done == []
        ran = jobs.drain(queues=["default"])
        assert (done, [each.state for each in ran]) == ([1], [State.COMPLETED])
        assert [each.job.args for each in jobs.drain()] == [{"number": 2}, {"number": 3}]
        jobs.travel(timedelta(days=1, seconds=1))
        assert len(jobs.drain()) == 1
        assert done == [1, 2, 3, 10]
        assert jobs.drain() == []


async def test_drained_in_a_loop(app: App):
    @app.job(kind="coroutine")
    async def coroutine(word: str) -> str:
        return word

    @app.job(kind="function")
    def function(word: str) -> str:
        return word

    with harness(app) as jobs:
        coroutine.enqueue("a")
        await function.enqueue_async("b")
        assert [ran.job.result for ran in await jobs.drain_async()] == ["a", "b"]
        coroutine.enqueue("c")
        assert [ran.job.result for ran in jobs.drain()] == ["c"]
    await app.aclose()


def test_the_clock_moves_retries_crashes_and_ages(app: App):
    tries = []

    @app.job(kind="flaky")
    def flaky() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("away")

    with harness(app, raises=False) as jobs:
        made = flaky.enqueue()
        (ran,) = jobs.drain()
        assert (ran.state, str(ran.error)) == (State.RETRYABLE, "away")
        jobs.travel(59)
        assert jobs.drain() == []
        jobs.travel(2)
        assert [each.state for each in jobs.drain()] == [State.COMPLETED]

        assert app.store.prune() == 0
        jobs.travel(timedelta(hours=25))
        assert app.store.prune() == 1
        assert app.store.get(made.job.id) is None

        crashed = flaky.enqueue()
        assert app.store.claim(1, lease=30)  # by a worker that is then heard of no more
        assert jobs.drain() == []
        jobs.travel(31)
        (ran,) = jobs.drain()
        assert (ran.job.id, ran.job.rescues, ran.job.attempt) == (crashed.job.id, 1, 2)
        with pytest.raises(ConfigurationError, match="travel"):
            jobs.travel(-1)


def test_a_drain_stops_at_the_first_error_and_leaves_the_rest(app: App):
    done = []

    @app.job(kind="may_fail")
    def may_fail(number: int) -> None:
        done.append(number)
        if number == 2:
            raise LookupError(number)

    with harness(app) as jobs:
        may_fail.enqueue_many([(1,), (2,), (3,)])
        with pytest.raises(LookupError):
            jobs.drain()
        assert [job.state for job in jobs.all_enqueued()] == [
            State.COMPLETED,
            State.RETRYABLE,
            State.AVAILABLE,
        ]
        assert [ran.job.args["number"] for ran in jobs.drain()] == [3]


def test_jobs_that_go_on_for_ever_end(app: App):
    @app.job(kind="again")
    def again() -> None:
        again.enqueue()

    with harness(app) as jobs:
        again.enqueue()
        with pytest.raises(ConfigurationError, match="5 jobs ran"):
            jobs.drain(limit=5)
        assert [job.state for job in jobs.all_enqueued()] == [State.COMPLETED] * 5 + [State.AVAILABLE]


def test_a_job_that_nobody_knows_is_put_off_and_told(app: App):
    with harness(app) as jobs:
        app.store.enqueue(NewJob(kind="nobody"))
        with pytest.raises(UnknownKind, match="nobody"):
            jobs.drain()
        assert [job.state for job in jobs.all_enqueued()] == [State.SCHEDULED]
    assert [kind.kind for kind in app.store.stats().unclaimable] == ["nobody"]


def test_an_open_transaction_is_looked_at_and_drained_in_it(database_url):
    app = App(database_url)
    app.init()
    done = []

    @app.job(kind="note")
    def note(word: str) -> None:
        done.append(word)
        if word == "outer":
            note.enqueue("inner")

    import sqlalchemy as sa
    from sqlalchemy.orm import Session

    engine = sa.create_engine(app.stores.database.url)
    with harness(app) as jobs, Session(engine) as session:
        note.on(session).enqueue("outer")
        assert jobs.all_enqueued() == []
        inside = jobs.on(session)
        inside.assert_enqueued(note, "outer")
        assert [ran.state for ran in inside.drain()] == [State.COMPLETED] * 2
        assert done == ["outer", "inner"]
        session.rollback()
        assert jobs.all_enqueued() == jobs.on(session).all_enqueued() == []
    engine.dispose()
    app.close()


# as a worker would have done it


def register(app: App, url: str) -> None:
    """A job for every way to end."""

    @app.job(kind="returns")
    def returns() -> dict:
        return {"a": [1, 2.5]}

    @app.job(kind="returns_async")
    async def returns_async() -> int:
        return 7

    @app.job(kind="unstorable")
    def unstorable() -> object:
        return object()

    @app.job(kind="raises", retry=RetryPolicy.constant(3600))
    def raises() -> None:
        raise ValueError("bad\x00value")

    @app.job(kind="raises_async", max_attempts=1)
    async def raises_async() -> None:
        raise ValueError("bad")

    @app.job(kind="exits", max_attempts=1)
    def exits() -> None:
        raise SystemExit(3)

    @app.job(kind="slow", timeout=0.05, max_attempts=1)
    def slow(context: Context) -> None:
        while not context.cancelled:
            time.sleep(0.001)

    @app.job(kind="slow_async", timeout=0.05, max_attempts=1)
    async def slow_async() -> None:
        import asyncio

        await asyncio.Event().wait()

    @app.job(kind="instructed")
    def instructed(how: str) -> None:
        raise {
            "retry": Retry(after=3600),
            "snooze": Snooze(3600),
            "skip": Skip("no need"),
            "cancel": Cancel("not wanted"),
            "discard": Discard("hopeless"),
        }[how]

    @app.job(kind="wrong_arguments", max_attempts=1)
    def wrong_arguments(number: int) -> None: ...

    @app.job(kind="completes", max_attempts=1)
    def completes(context: Context, commit: bool, fails: bool = False) -> None:
        with workers.raw_connection(url) as raw:
            raw.execute("BEGIN")
            context.complete_in(raw, "by hand")
            raw.execute("COMMIT" if commit else "ROLLBACK")
        if fails:
            raise ValueError("afterwards")

    @app.job(kind="cancelled_meanwhile", max_attempts=1)
    def cancelled_meanwhile(context: Context, returns: bool) -> None:
        app.store.cancel(context.job.id, "by a person")
        if not returns:
            raise ValueError("bad")

    for job in (returns, returns_async, unstorable, raises, raises_async, exits, slow, slow_async):
        job.enqueue()
    instructed.enqueue_many([(how,) for how in ("retry", "snooze", "skip", "cancel", "discard")])
    app.store.enqueue(NewJob(kind="wrong_arguments", args={"number": "x"}, max_attempts=1))
    completes.enqueue_many([(True,), (False,), (True, True)])
    cancelled_meanwhile.enqueue_many([(True,), (False,)])


def written(app: App) -> list[tuple]:
    return [
        (
            job.kind,
            job.args,
            job.state,
            job.attempt,
            job.failures,
            job.snoozes,
            job.lease,
            job.result,
            job.progress,
            [(error.error, error.attempt, error.lease) for error in job.errors],
            None if job.state.is_final else round((job.scheduled_at - job.created_at).total_seconds(), -2),
        )
        for job in app.store.list(limit=1000).jobs
    ]


def test_every_end_is_written_as_a_worker_writes_it(app: App, database_url):
    register(app, database_url)
    with harness(app, raises=False) as jobs:
        ran = jobs.drain()
    drained = written(app)
    with workers.raw_connection(database_url) as raw:
        raw.execute("DELETE FROM rowqueue_job")
    for job in (app.jobs[kind] for kind in ("returns", "returns_async", "unstorable", "raises")):
        job.enqueue()
    for kind in ("raises_async", "exits", "slow", "slow_async"):
        app.jobs[kind].enqueue()
    app.jobs["instructed"].enqueue_many([(how,) for how in ("retry", "snooze", "skip", "cancel", "discard")])
    app.store.enqueue(NewJob(kind="wrong_arguments", args={"number": "x"}, max_attempts=1))
    app.jobs["completes"].enqueue_many([(True,), (False,), (True, True)])
    app.jobs["cancelled_meanwhile"].enqueue_many([(True,), (False,)])
    workers.drain(app, concurrency=1)
    assert drained == written(app)
    assert len(ran) == len(drained)

    errors = {(each.job.kind, *each.job.args.values()): type(each.error) for each in ran if each.error}
    assert errors == {
        ("raises",): ValueError,
        ("raises_async",): ValueError,
        ("exits",): SystemExit,
        ("slow",): HandlerTimeout,
        ("slow_async",): HandlerTimeout,
        ("wrong_arguments", "x"): errors["wrong_arguments", "x"],
        ("completes", False): errors["completes", False],
        ("completes", True, True): ValueError,
        ("cancelled_meanwhile", False): ValueError,
    }
    assert [each.dropped for each in ran if each.dropped] != []
