"""Workers are woken: with a poll of a minute, a job that starts within seconds was told of."""

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from rowqueue import App, NewJob, State, Store
from rowqueue.worker import events
from rowqueue.worker.listening import Listening
from tests.support.borrowing import WAYS
from tests.support.figures import Publisher
from tests.support.listening import Ears, ears
from tests.support.stores import raw
from tests.support.waiting import wait_until
from tests.worker.harness import PATIENCE, Running, raw_connection, settle

MINUTE = 60.0
LISTENS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%rowqueue_wake%'"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The databases that wake workers."""
    url: str = request.getfixturevalue(
        {"sqlite": "sqlite_url", "postgres": "postgres_database"}[request.param]
    )
    return url


@pytest.fixture
def other(database_url: str) -> Iterator[Store]:
    """A store of another process, as it were."""
    with contextlib.closing(Store(database_url)) as store:
        yield store


@pytest.fixture
def postgres_app(postgres_database: str) -> Iterator[App]:
    app = App(postgres_database)
    app.init()
    yield app
    asyncio.run(app.aclose())


def quick(app: App) -> None:
    @app.job(kind="quick")
    async def handler() -> None: ...


def test_a_job_starts_at_once_however_long_the_poll(app: App, other: Store):
    quick(app)
    with Running(app, poll=MINUTE) as running:
        for number in range(3):
            settle(running)
            other.enqueue(NewJob(kind="quick"))
            running.wait_for(events.Completed, count=number + 1)


def test_how_long_a_job_waits_for_an_idle_worker(app: App, other: Store, publish: Publisher):
    waits: list[float] = []

    @app.job(kind="note")
    async def note(since: int) -> None:
        waits.append((time.monotonic_ns() - since) / 1e6)

    with Running(app, poll=MINUTE) as running:
        for number in range(40):
            settle(running)
            other.enqueue(NewJob(kind="note", args={"since": time.monotonic_ns()}))
            running.wait_for(events.Completed, count=number + 1)
    waits.sort()
    p50, p90, worst = waits[19], waits[35], waits[-1]
    publish(
        "",
        "a job for an idle worker, enqueue to start",
        f"{len(waits)} jobs: p50 {p50:.1f} ms, p90 {p90:.1f} ms, worst {worst:.1f} ms",
        value=worst / 1000,
        bound=f"worst < {MINUTE:g} s, the poll",
    )


def test_a_job_that_is_enqueued_before_the_worker_says_that_it_is_idle_starts_too(app: App, other: Store):
    quick(app)
    with Running(app, poll=MINUTE) as running:
        for number in range(20):  # some of them while it comes to rest
            other.enqueue(NewJob(kind="quick"))
            running.wait_for(events.Completed, count=number + 1)


def test_a_job_that_is_due_later_starts_when_it_is_due(app: App, other: Store):
    quick(app)
    with Running(app, poll=MINUTE) as running:
        settle(running)
        other.enqueue(NewJob(kind="quick", delay=3600))
        other.enqueue(NewJob(kind="quick", delay=0.2))
        running.wait_for(events.Completed)


def test_a_job_in_any_callers_transaction_wakes(app: App, other: Store, database_url: str):
    quick(app)
    ways = WAYS[app.store.database.name]

    async def enqueue(way: str) -> None:
        async with ways[way](database_url) as borrowed:
            await borrowed.enqueue(other, "quick")
            await borrowed.commit()

    with Running(app, poll=MINUTE) as running:
        for number, way in enumerate(ways):
            settle(running)
            asyncio.run(enqueue(way))
            running.wait_for(events.Completed, count=number + 1)


def test_jobs_that_become_available_wake(app: App, other: Store):
    quick(app)
    with Running(app, poll=MINUTE) as running:
        settle(running)
        parked = other.enqueue(NewJob(kind="quick", pending=True))
        other.promote(parked.job.id)
        running.wait_for(events.Completed, count=1)
        settle(running)
        other.retry(parked.job.id)
        running.wait_for(events.Completed, count=2)
        settle(running)
        other.pause("default")
        other.enqueue(NewJob(kind="quick"))
        settle(running)
        other.resume("default")
        running.wait_for(events.Completed, count=3)


@pytest.mark.parametrize("kind", [create_engine, create_async_engine])
def test_a_worker_on_an_engine_of_the_callers_is_woken(kind, app: App, other: Store, database_url: str):
    name = "postgresql+psycopg" if other.database.name == "postgresql" else "sqlite"
    if kind is create_async_engine and name == "sqlite":
        name = "sqlite+aiosqlite"
    engine = kind(other.database.url.set(drivername=name))
    engine_app = App(engine)
    quick(engine_app)
    with Running(engine_app, poll=MINUTE) as running:
        settle(running)
        other.enqueue(NewJob(kind="quick"))
        running.wait_for(events.Completed)
    asyncio.run(engine_app.aclose())
    if kind is create_engine:
        engine.dispose()
    else:
        asyncio.run(engine.dispose())


def test_a_busy_worker_is_told_nothing(postgres_app: App, postgres_database: str):
    go = threading.Event()

    @postgres_app.job(kind="slow")
    def handler() -> None:
        go.wait(PATIENCE)

    with ears(postgres_database) as listening, raw(postgres_database) as rows:
        with Running(postgres_app, concurrency=2, poll=MINUTE) as running:
            settle(running)
            handler.enqueue_many([()] * 2)
            running.wait_for(events.Started, count=2)
            assert listening.heard() == ["available default"]
            wait_until(lambda: not _idle(rows), "it to say that it is busy")
            handler.enqueue_many([()] * 4)
            with psycopg.connect(postgres_database) as connection:
                handler.on(connection).enqueue()
            assert listening.heard() == []
            go.set()
            running.wait_for(events.Completed, count=7)
            wait_until(lambda: _idle(rows), "it to say that it is idle again")
            handler.enqueue()
            running.wait_for(events.Completed, count=8)
            assert listening.heard() == ["available default"]
        assert not rows.rows("SELECT * FROM rowqueue_idle"), "it said goodbye"


def _idle(rows) -> bool:
    return bool(rows.rows("SELECT * FROM rowqueue_idle WHERE idle_until > now()"))


def test_a_worker_is_told_of_its_idle_queues_while_another_is_full(postgres_app: App, postgres_database: str):
    go = threading.Event()

    @postgres_app.job(kind="slow", queue="slow")
    def slow() -> None:
        go.wait(PATIENCE)

    quick(postgres_app)
    with Running(postgres_app, queues={"slow": 1, "default": 2}, poll=MINUTE) as running:
        settle(running)
        slow.enqueue_many([()] * 2)
        running.wait_for(events.Started)
        with ears(postgres_database) as listening:
            wait_until(lambda: _tells_nothing(slow, listening), "the full queue to be told of no more")
            postgres_app.jobs["quick"].enqueue()
            running.wait_for(events.Completed)
            assert listening.heard() == ["available default"]
        go.set()


def _tells_nothing(job, listening: Ears) -> bool:
    job.enqueue()
    return not listening.heard()


def test_a_locked_job_is_not_asked_for_over_and_over(
    postgres_app: App, postgres_database: str, sent: list[str]
):
    quick(postgres_app)
    other = postgres_app.store.enqueue(NewJob(kind="quick", queue="other"))
    with psycopg.connect(postgres_database) as connection:
        connection.execute("SELECT * FROM rowqueue_job WHERE id = %s FOR UPDATE", [other.job.id])
        with Running(postgres_app, queues=["default", "other"], poll=MINUTE) as running:
            running.wait_for(events.Completed, postgres_app.jobs["quick"].enqueue())
            settle(running)
            assert sent.count("claim") < 15
            connection.rollback()
            postgres_app.store.enqueue(NewJob(kind="quick", queue="other"))
            running.wait_for(events.Completed, other)


def test_a_listener_that_is_cut_off_listens_again(postgres_app: App, postgres_database: str):
    quick(postgres_app)
    with Running(postgres_app, poll=MINUTE) as running, raw_connection(postgres_database) as connection:
        settle(running)
        (pid,) = connection.execute(LISTENS).fetchone()
        connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        running.wait_for(events.Reconnected, such=lambda event: event.doing == "listening for new jobs")
        postgres_app.jobs["quick"].enqueue()  # it looks as soon as it listens again, and says so
        running.wait_for(events.Completed)
        settle(running)
        postgres_app.jobs["quick"].enqueue()
        running.wait_for(events.Completed, count=2)


@pytest.mark.parametrize("options", [{"listen": False}, {"prepared": False}])
def test_a_worker_that_does_not_listen_polls(options, postgres_app: App, postgres_database: str):
    app = App(postgres_database, prepared=options.pop("prepared", True))
    quick(app)
    with Running(app, poll=0.05, **options) as running, raw_connection(postgres_database) as connection:
        for number in range(3):
            app.jobs["quick"].enqueue()
            running.wait_for(events.Completed, count=number + 1)
        assert connection.execute(LISTENS).fetchall() == []
        assert connection.execute("SELECT * FROM rowqueue_idle").fetchall() == []
    asyncio.run(app.aclose())


async def test_a_server_that_refuses_to_listen_is_tried_again_and_stops_nobody():
    store = Store("postgresql://nobody@127.0.0.1:1/nowhere")
    happened: list[events.Event] = []
    told = events.Events()
    told.on(happened.append)
    listening = Listening(store.database, "x", lambda *_: None, lambda: None, told)
    task = asyncio.create_task(listening.run())
    await asyncio.to_thread(wait_until, lambda: len(happened) >= 3, "three tries")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not listening.up
    assert {type(event) for event in happened} == {events.Reconnecting}


def test_an_idle_worker_asks_at_most_twice_a_second(app: App, sent: list[str]):
    quick(app)
    with Running(app, poll=1.0) as running:
        settle(running)
        wait_until(lambda: {"heartbeat_add", "prune", "rescue", "look"} <= set(sent), "its start to be over")
        wait_until(lambda: sent[-1] == "look", "nothing but looks")
        sent.clear()
        threading.Event().wait(3.0)  # the time is what is measured
        assert 1 <= len(sent) <= 6, sent


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process sends to a database, by the names of the statements."""
    from rowqueue.store.drivers.psycopg import AsyncPsycopgConnection, PsycopgConnection
    from rowqueue.store.drivers.sqlite import SQLiteConnection

    sent: list[str] = []

    def counted(inner: Callable[..., Any]) -> Callable[..., Any]:
        def counting(self: Any, call: Any) -> Any:
            sent.append(call if isinstance(call, str) else call.statement.name)
            return inner(self, call)

        return counting

    for connection in (AsyncPsycopgConnection, PsycopgConnection, SQLiteConnection):
        for name in ("execute", "_plain"):
            monkeypatch.setattr(connection, name, counted(getattr(connection, name)))

    return sent


def test_no_descriptor_is_left_behind(app: App, other: Store):
    quick(app)

    def descriptors() -> set[str]:
        links = set()
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                links.add(f"{link.name} {link.readlink()}")
        return links

    def run_once() -> None:
        with Running(app) as running:
            settle(running)
            running.wait_for(events.Completed, other.enqueue(NewJob(kind="quick")))

    run_once()  # what is opened once and kept
    before = descriptors()
    run_once()
    left = descriptors() - before
    assert len(descriptors()) <= len(before), left


def test_a_worker_is_shown_as_idle_or_not(app: App):
    go = threading.Event()

    @app.job(kind="slow")
    def handler() -> None:
        go.wait(PATIENCE)

    running = Running(app, concurrency=1)
    running.worker.options = dataclasses.replace(running.worker.options, heartbeat=0.05)
    with running:
        wait_until(lambda: [w.idle for w in app.store.workers()] == [True], "an idle worker")
        handler.enqueue()
        wait_until(lambda: [w.idle for w in app.store.workers()] == [False], "a busy worker")
        go.set()
        running.wait_for(events.Completed)
    assert app.store.stats().total(State.COMPLETED) == 1
