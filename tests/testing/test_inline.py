"""Inline: a job runs when it is enqueued, and has the fate of the transaction that it was enqueued in."""

import asyncio
import contextlib

import pytest

from rowqueue import App, Context, Retry, Skip, State
from rowqueue.testing import harness
from tests.support.borrowing import WAYS, settle

CELLS = [(database, way) for database, ways in WAYS.items() if database != "mariadb" for way in ways]


def test_it_runs_at_enqueue_and_its_row_says_so(app: App):
    done = []

    @app.job(kind="double")
    def double(context: Context, number: int) -> int:
        context.progress(0.5, "half")
        context.log({"number": number})
        done.append((number, context.attempt))
        return 2 * number

    with harness(app, "inline"):
        made = double.enqueue(21)
        assert done == [(21, 1)]
    assert made.inserted
    job = app.store.get(made.job.id)
    assert job is not None
    assert made.job == job
    assert job.progress is not None
    assert (job.state, job.result, job.progress.fraction) == (State.COMPLETED, 42, 0.5)
    assert [entry.entry for entry in app.store.log(job.id)] == [{"number": 21}]
    double.enqueue(1)
    assert done == [(21, 1)], "it ran after the harness had ended"


def test_a_batch_runs_in_order_and_jobs_that_jobs_enqueue_run_inside(app: App):
    done = []

    @app.job(kind="child")
    def child(name: str) -> None:
        done.append(name)

    @app.job(kind="parent")
    def parent(name: str) -> None:
        child.enqueue(f"{name}'s child")
        done.append(name)

    with harness(app, "inline"):
        answers = parent.enqueue_many([("a",), ("b",)])
    assert done == ["a's child", "a", "b's child", "b"]
    assert [answer.job.state for answer in answers] == [State.COMPLETED] * 2


def test_what_is_not_due_or_paused_or_there_already_does_not_run(app: App):
    done = []

    @app.job(kind="note")
    def note(word: str) -> None:
        done.append(word)

    app.store.pause("closed")
    with harness(app, "inline") as jobs:
        assert note.options(delay=60).enqueue("later").job.state is State.SCHEDULED
        assert note.options(pending=True).enqueue("parked").job.state is State.PENDING
        assert note.options(queue="closed").enqueue("paused").job.state is State.AVAILABLE
        assert note.options(unique_key="k", delay=1).enqueue("first").inserted
        assert not note.options(unique_key="k").enqueue("second").inserted
        assert done == []
        jobs.travel(61)
        assert [ran.job.args["word"] for ran in jobs.drain()] == ["first", "later"] == done


def test_what_a_handler_raises_is_written_and_raised(app: App):
    @app.job(kind="broken")
    def broken() -> None:
        raise LookupError("no such thing")

    with harness(app, "inline") as jobs:
        with pytest.raises(LookupError, match="no such thing"):
            broken.enqueue()
        (job,) = jobs.all_enqueued(broken)
    assert (job.state, job.failures, job.errors[0].error) == (
        State.RETRYABLE,
        1,
        "LookupError: no such thing",
    )
    assert "raise LookupError" in job.errors[0].trace
    with harness(app, "inline", raises=False):
        assert broken.enqueue().job.state is State.RETRYABLE


def test_instructions_are_no_errors(app: App):
    @app.job(kind="chooses")
    def chooses(skip: bool) -> None:
        raise Skip("nothing to do") if skip else Retry(after=5)

    with harness(app, "inline"):
        assert chooses.enqueue(skip=True).job.state is State.SKIPPED
        assert chooses.enqueue(skip=False).job.state is State.RETRYABLE


def test_the_app_is_as_before_afterwards_even_if_it_was_closed_in_between(app: App):
    done = []

    @app.job(kind="note")
    def note(word: str) -> None:
        done.append(word)

    with harness(app, "inline"):
        note.enqueue("before")
        app.close()  # as an application's shutdown does
        note.enqueue("after")
        assert app.store._pool is vars(app.stores)["_sync"]._pool, "what the app cannot close is in use"
        with pytest.raises(Exception, match="under test already"), harness(app):
            pass
    store = app.store
    assert type(store).__module__ == "rowqueue.store.store"
    assert done == ["before", "after"]
    with pytest.raises(Exception, match="'inline' or 'drain'"), harness(app, "eager"):  # type: ignore[arg-type]
        pass


# async


async def test_awaited_enqueues_run_in_the_callers_loop(app: App):
    loops = []

    @app.job(kind="coroutine")
    async def coroutine(context: Context) -> str:
        await context.log_async("seen")
        loops.append(asyncio.get_running_loop())
        return "done"

    @app.job(kind="function")
    def function(context: Context) -> str:
        with pytest.raises(RuntimeError):
            loops.append(asyncio.get_running_loop())
        context.progress(1)
        return "done"

    with harness(app, "inline"):
        for job in (coroutine, function):
            made = await job.enqueue_async()
            assert (made.job.state, made.job.result) == (State.COMPLETED, "done")
        (made,) = await coroutine.enqueue_many_async([()])
        assert made.job.state is State.COMPLETED
    assert loops == [asyncio.get_running_loop()] * 2
    await app.aclose()


async def test_a_blocking_enqueue_of_a_coroutine_works_beside_a_running_loop(app: App):
    @app.job(kind="coroutine")
    async def coroutine(context: Context) -> None:
        await context.progress_async(1)

    with harness(app, "inline"):
        assert coroutine.enqueue().job.state is State.COMPLETED
    await app.aclose()


def test_a_blocking_enqueue_of_a_coroutine_works_without_a_loop(app: App):
    @app.job(kind="coroutine")
    async def coroutine(context: Context) -> None:
        await context.progress_async(1)

    with harness(app, "inline"):
        assert coroutine.enqueue().job.state is State.COMPLETED


# in transactions of the caller's


@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
@pytest.mark.parametrize("database, way", CELLS)
async def test_it_has_the_fate_of_the_transaction(request, database, way, commits):
    url = request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_database"}[database])
    app = App(url)
    app.init()
    done = []

    @app.job(kind="child")
    def child() -> None:
        done.append("child")

    @app.job(kind="parent")
    def parent(context: Context, word: str) -> str:
        context.log(word)
        context.progress(0.5)
        child.enqueue()
        done.append(word)
        return word

    with harness(app, "inline") as jobs:
        async with WAYS[database][way](url) as borrowed:
            made = await settle(parent.on(borrowed.connection).enqueue("hello"))
            assert done == ["child", "hello"]
            assert (made.job.state, made.job.result) == (State.COMPLETED, "hello")
            assert jobs.all_enqueued() == []  # nobody else sees any of it
            await (borrowed.commit() if commits else borrowed.rollback())
        found = jobs.all_enqueued()
        assert [(job.kind, job.state) for job in found] == (
            [("parent", State.COMPLETED), ("child", State.COMPLETED)] if commits else []
        )
        assert [entry.entry for job in found for entry in app.store.log(job.id)] == ["hello"] * commits
    await app.aclose()


@pytest.mark.parametrize("database, way", [cell for cell in CELLS if "sync" in cell[1].lower()])
async def test_coroutines_run_in_an_async_transaction(request, database, way):
    url = request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_database"}[database])
    app = App(url)
    app.init()

    @app.job(kind="child")
    async def child() -> None: ...

    @app.job(kind="parent")
    async def parent(context: Context) -> None:
        await context.progress_async(0.5)
        await child.enqueue_async()

    with harness(app, "inline") as jobs:
        async with WAYS[database][way](url) as borrowed:
            made = await settle(parent.on(borrowed.connection).enqueue())
            assert made.job.state is State.COMPLETED
            await borrowed.rollback()
        assert jobs.all_enqueued() == []
    await app.aclose()


@pytest.mark.parametrize("database, way", [("sqlite", "Session"), ("postgresql", "Session")])
async def test_an_error_inside_a_transaction_rolls_it_back_and_leaves_nothing(request, database, way):
    url = request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_database"}[database])
    app = App(url)
    app.init()

    @app.job(kind="broken")
    def broken() -> None:
        raise LookupError

    with harness(app, "inline") as jobs:
        with contextlib.suppress(LookupError):
            async with WAYS[database][way](url) as borrowed:
                broken.on(borrowed.connection).enqueue()
        assert jobs.all_enqueued() == []
    with harness(app, "inline", raises=False) as jobs:
        async with WAYS[database][way](url) as borrowed:
            broken.on(borrowed.connection).enqueue()
            await borrowed.commit()
        assert [job.state for job in jobs.all_enqueued()] == [State.RETRYABLE]
    await app.aclose()
