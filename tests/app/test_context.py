"""What a handler can do through its context, on real databases."""

from __future__ import annotations

import contextlib
import sqlite3

import psycopg
import pytest

from rowqueue import App, Context, LeaseLost, State
from rowqueue.app.context import ContextControl
from tests.support import mariadb


@pytest.fixture
def app(database_url):
    app = App(database_url)
    app.init()

    @app.job(kind="index")
    def index(context: Context, page: int, *, words: str = "") -> str:
        return f"{context.job.id} {context.attempt} {page} {words}"

    yield app
    app.close()


@pytest.fixture
def control(app):
    app.jobs["index"].enqueue(7, words="a b")
    (claim,) = app.store.claim()
    return ContextControl(claim, app.stores)


@contextlib.contextmanager
def connect(url):
    """A transaction of the handler's, on a connection of its own."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            yield connection
    elif url.startswith("mariadb"):
        with contextlib.closing(mariadb.connect(url, autocommit=False)) as connection:
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()
    else:
        with psycopg.connect(url) as connection:
            yield connection


def lose(app, control):
    """Somebody else has the job now."""
    assert app.store.release(control.claim)
    assert app.store.claim()


def test_a_bound_call_runs_the_stored_job(app, control):
    job = app.jobs["index"]
    assert job.bind(control.context)() == f"{control.claim.key} 1 7 a b"


def test_cancelled_is_what_the_worker_says(control):
    context = control.context
    assert context.cancelled is False
    control.cancel()
    assert context.cancelled is True
    control.deadline = 12.5
    assert context.deadline == 12.5
    with pytest.raises(AttributeError):
        context.cancelled = False


def test_log_and_progress_reach_the_row(app, control):
    context = control.context
    context.log({"step": 1})
    context.log("two")
    context.progress(0.5, "half")
    assert [entry.entry for entry in app.store.log(control.claim.key)] == [{"step": 1}, "two"]
    progress = app.store.get(control.claim.key).progress
    assert (progress.fraction, progress.message) == (0.5, "half")


async def test_log_and_progress_awaited(app, control):
    context = control.context
    await context.log_async([1])
    await context.progress_async(1)
    assert [entry.entry for entry in app.store.log(control.claim.key)] == [[1]]
    assert app.store.get(control.claim.key).progress.fraction == 1
    lose(app, control)
    with pytest.raises(LeaseLost):
        await context.log_async("late")
    with pytest.raises(LeaseLost):
        await context.progress_async(1)
    await app.aclose()


def test_after_a_lost_lease_nothing_can_be_written(app, control, database_url):
    lose(app, control)
    context = control.context
    with pytest.raises(LeaseLost, match=r"log entry of job \d+ was refused"):
        context.log("late")
    with pytest.raises(LeaseLost, match="progress of job"):
        context.progress(1)
    with pytest.raises(LeaseLost, match="roll back"), connect(database_url) as connection:
        context.complete_in(connection)
    assert control.completing is False
    assert app.store.get(control.claim.key).state is State.RUNNING


def test_complete_in_commits_with_the_work(app, control, database_url):
    with connect(database_url) as connection:
        connection.execute("CREATE TABLE done (page int)")
        connection.execute("INSERT INTO done VALUES (7)")
        assert control.context.complete_in(connection, {"pages": 1}) is None
        assert control.completing
    job = app.store.get(control.claim.key)
    assert (job.state, job.result) == (State.COMPLETED, {"pages": 1})
    with connect(database_url) as connection:
        assert list(connection.execute("SELECT page FROM done").fetchall()) == [(7,)]


def test_complete_in_rolls_back_with_the_work(app, control, database_url):
    with contextlib.suppress(ZeroDivisionError), connect(database_url) as connection:
        control.context.complete_in(connection)
        _ = 1 / 0
    assert control.completing  # only the database knows: the worker has to ask
    assert app.store.get(control.claim.key).state is State.RUNNING
    with connect(database_url) as connection:
        control.context.complete_in(connection)
    assert app.store.get(control.claim.key).state is State.COMPLETED


async def test_complete_in_is_awaited_on_an_async_connection(postgres_database):
    app = App(postgres_database)
    app.init()
    app.job(kind="index")(lambda: None).enqueue()
    (claim,) = app.store.claim()
    control = ContextControl(claim, app.stores)
    async with await psycopg.AsyncConnection.connect(postgres_database) as connection:
        await control.context.complete_in(connection, [1])
    job = app.store.get(claim.key)
    assert job is not None
    assert job.result == [1]
    async with await psycopg.AsyncConnection.connect(postgres_database) as connection:
        with pytest.raises(LeaseLost):
            await control.context.complete_in(connection)
    await app.aclose()


def test_a_context_names_its_job_and_no_arguments(control):
    assert repr(control.context) == f"Context(job={control.claim.key}, kind='index', attempt=1)"
    assert "a b" not in repr(control)


def test_a_direct_call_needs_no_database():
    app = App("sqlite:///absent/never-opened.db")

    @app.job(kind="index")
    def index(context: Context, page: int) -> int:
        context.log("anything")
        context.progress(0.1)
        return page + context.attempt

    assert index(7) == 8
