"""``context.complete_in``: the row alone says whether the handler's transaction was committed."""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from rowqueue import App, Context, State
from rowqueue.worker import Worker, events
from tests.support import mariadb
from tests.support.stores import driver_url
from tests.support.waiting import wait_until
from tests.worker.harness import PATIENCE, Running, drain, raw_connection

pytestmark = pytest.mark.every_database


def create_table(url: str) -> None:
    with raw_connection(url) as connection:
        connection.execute("CREATE TABLE effect (job integer)")


@pytest.fixture
def app(app: App, database_url: str) -> App:
    create_table(database_url)
    return app


@contextmanager
def transaction(url: str) -> Iterator[Any]:
    """The handler's own transaction, by the driver."""
    if url.startswith("sqlite"):
        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)
    elif url.startswith("mariadb"):
        connection = mariadb.connect(url, autocommit=False)
    else:
        connection = psycopg.connect(url)
    try:
        yield connection
    finally:
        connection.close()  # without a commit: rolled back


def effects(url: str) -> int:
    with raw_connection(url) as connection:
        row = connection.execute("SELECT count(*) FROM effect").fetchone()
    return int(row[0])


def add_effect(connection: Any) -> None:
    connection.execute("INSERT INTO effect VALUES (1)")


def test_committed_the_effect_and_the_completion_are_there_once(app: App, database_url):
    @app.job(kind="c")
    def handler(context: Context) -> str:
        with transaction(database_url) as connection:
            add_effect(connection)
            context.complete_in(connection, {"from": "complete_in"})
            connection.commit()
        return "ignored: the row was written already"

    job = handler.enqueue()
    running = drain(app)
    row = running.row(job)
    assert (row.state, row.result, row.errors) == (State.COMPLETED, {"from": "complete_in"}, ())
    assert effects(database_url) == 1
    assert [type(event) for event in running.seen if isinstance(event, events.Finished)] == [events.Completed]


def test_rolled_back_it_is_a_failed_attempt_that_says_so(app: App, database_url):
    @app.job(kind="c", max_attempts=2)
    def handler(context: Context) -> None:
        with transaction(database_url) as connection:
            add_effect(connection)
            context.complete_in(connection)
            if context.attempt > 1:
                connection.commit()

    job = handler.enqueue()
    row = drain(app).row(job)
    assert (row.state, row.attempt, row.failures) == (State.COMPLETED, 2, 1)
    assert row.errors[0].error == "RolledBack: complete_in was called, but its transaction was not committed"
    assert effects(database_url) == 1


def test_a_handler_that_raises_before_its_commit_fails_with_its_own_error(app: App, database_url):
    @app.job(kind="c", max_attempts=1)
    def handler(context: Context) -> None:
        with transaction(database_url) as connection:
            context.complete_in(connection)
            raise ValueError("mine")

    job = handler.enqueue()
    row = drain(app).row(job)
    assert (row.state, row.errors[0].error) == (State.DISCARDED, "ValueError: mine")


def test_a_handler_that_raises_after_its_commit_stays_completed_and_is_warned_about(
    app: App, database_url, caplog
):
    @app.job(kind="c")
    def handler(context: Context) -> None:
        with transaction(database_url) as connection:
            add_effect(connection)
            context.complete_in(connection)
            connection.commit()
        raise ValueError("afterwards")

    job = handler.enqueue()
    with caplog.at_level(logging.WARNING, "rowqueue"):
        running = drain(app)
    row = running.row(job)
    assert (row.state, row.failures, row.errors) == (State.COMPLETED, 0, ())
    assert running.said(events.RanOn)[0].error == "ValueError: afterwards"
    assert any(record.getMessage().startswith("RanOn kind=c") for record in caplog.records)


@pytest.mark.parametrize("commit", [True, False])
def test_a_transaction_that_is_still_open_when_the_handler_returns(postgres_database, commit):
    """The failure waits for the row's lock; whatever the transaction then does is what counts."""
    app = App(postgres_database)
    app.init()
    create_table(postgres_database)
    left_open: list[Any] = []

    @app.job(kind="open", max_attempts=1)
    def handler(context: Context) -> None:
        connection = psycopg.connect(postgres_database)
        add_effect(connection)
        context.complete_in(connection)
        left_open.append(connection)

    @app.job(kind="other")
    async def other() -> None: ...

    def waits_for_the_lock() -> bool:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        with psycopg.connect(postgres_database) as connection:
            row = connection.execute(waiting).fetchone()
        return row is not None and row[0] > 0

    job = handler.enqueue()
    with Running(app) as running:
        wait_until(waits_for_the_lock, "the worker's failure to wait for the row", PATIENCE)
        running.wait_for(events.Completed, other.enqueue())  # nobody else is held up
        (connection,) = left_open
        if commit:
            connection.commit()
        connection.close()
        running.wait_for(events.Finished, job)
    row = running.row(job)
    assert (row.state, effects(postgres_database)) == (
        (State.COMPLETED, 1) if commit else (State.DISCARDED, 0)
    )
    app.close()


def test_the_lease_is_kept_and_nothing_is_fenced_while_the_transaction_is_open(app: App, database_url):
    release = threading.Event()

    @app.job(kind="slow")
    def handler(context: Context) -> str:
        with transaction(database_url) as connection:
            context.complete_in(connection)
            release.wait(PATIENCE)
            told = context.cancelled
            connection.commit()
        return str(told)

    handler.enqueue()
    with Running(app, lease=1, renew=0.1) as running:
        running.wait_for(events.Started)
        release.wait(1.3)  # longer than the lease
        assert app.store.stats().total(State.RUNNING) == 1
        release.set()
        running.wait_for(events.Completed)
    assert running.said(events.Fenced) == running.said(events.LeaseLost) == []


async def test_awaited_on_an_async_connection(postgres_database):
    app = App(postgres_database)
    app.init()
    create_table(postgres_database)

    @app.job(kind="a")
    async def handler(context: Context) -> None:
        async with await psycopg.AsyncConnection.connect(postgres_database) as connection:
            await connection.execute("INSERT INTO effect VALUES (1)")
            await context.complete_in(connection)

    job = handler.enqueue()
    assert await Worker(app, drain=True).run_async() == 0
    row = app.store.get(job.job.id)
    assert row is not None
    assert (row.state, effects(postgres_database)) == (State.COMPLETED, 1)
    await app.aclose()


def test_in_a_sqlalchemy_transaction(app: App, database_url):
    engine = sa.create_engine(driver_url(database_url))

    @app.job(kind="s")
    def handler(context: Context) -> None:
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO effect VALUES (1)"))
            context.complete_in(connection)

    job = handler.enqueue()
    assert drain(app).row(job).state is State.COMPLETED
    assert effects(database_url) == 1
    engine.dispose()
