"""A database that goes away and comes back: nothing that ended is lost, and the worker waits."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from rowqueue import App, AsyncStore, DatabaseUnavailable, RetryPolicy, State, StoreError, StoreFull
from rowqueue.worker import events, source
from tests.support.postgres import PrivatePostgres
from tests.worker.harness import PATIENCE, Running, drain

pytestmark = pytest.mark.every_database


@pytest.fixture
def postgres_app(postgres_database: str) -> Iterator[App]:
    app = App(postgres_database, retry=RetryPolicy.constant(0))
    app.init()
    yield app
    asyncio.run(app.aclose())


def cut_all_connections(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchall()
    return len(rows)


def test_a_finish_survives_that_every_connection_is_cut(postgres_app: App, postgres_database):
    go = threading.Event()

    @postgres_app.job(kind="c")
    def handler(n: int) -> int:
        go.wait(PATIENCE)
        return n

    jobs = handler.enqueue_many([(n,) for n in range(5)])
    with Running(postgres_app, renew=0.1) as running:
        running.wait_for(events.Started, count=5)
        assert cut_all_connections(postgres_database) >= 2
        go.set()
        running.wait_for(events.Completed, count=5)
        running.wait_for(events.Completed, handler.enqueue(9))
    for n, job in enumerate(jobs):
        row = running.row(job)
        assert (row.state, row.result, row.attempt, row.rescues) == (State.COMPLETED, n, 1, 0)


def test_a_server_that_is_down_for_a_while_is_waited_for(private_postgres: PrivatePostgres):
    app = App(private_postgres.url)
    app.init()
    go = threading.Event()

    @app.job(kind="d")
    def handler() -> str:
        go.wait(PATIENCE)
        return "done"

    job = handler.enqueue()
    with Running(app, lease=20, renew=0.2) as running:
        running.wait_for(events.Started, job)
        private_postgres.stop("immediate")
        go.set()
        for doing in ("finishing jobs", "renewing leases", "looking for jobs"):
            running.wait_for(events.Reconnecting, such=lambda event, doing=doing: event.doing == doing)
        private_postgres.start()
        running.wait_for(events.Completed, job)
        running.wait_for(events.Reconnected, such=lambda event: event.doing == "looking for jobs")
        app.close()
        running.wait_for(events.Completed, handler.enqueue())
    row = running.row(job)
    assert (row.state, row.result, row.attempt, row.rescues) == (State.COMPLETED, "done", 1, 0)
    app.close()


def test_a_worker_starts_before_its_database(private_postgres: PrivatePostgres):
    app = App(private_postgres.url)
    app.init()
    app.close()

    @app.job(kind="d")
    async def handler() -> None: ...

    private_postgres.stop()
    running = Running(app)
    running._thread.start()
    running.wait_for(events.Reconnecting, such=lambda event: event.doing == "opening the store")
    private_postgres.start()
    with contextless(running):
        running.wait_for(events.Completed, handler.enqueue())
    app.close()


def test_it_can_be_stopped_while_its_database_is_away(private_postgres: PrivatePostgres, monkeypatch):
    monkeypatch.setattr("rowqueue.worker.runtime.FLUSH", 0.3)
    app = App(private_postgres.url)
    app.init()
    go = threading.Event()

    @app.job(kind="d")
    def handler() -> None:
        go.wait(PATIENCE)

    job = handler.enqueue()
    running = Running(app, renew=0.2)
    with running:
        running.wait_for(events.Started, job)
        private_postgres.stop("immediate")
        go.set()
        running.wait_for(events.Reconnecting)
        running.worker.stop()
        running.join()
    private_postgres.start()
    app.close()
    assert running.row(job).state is State.RUNNING  # for the next rescue
    app.close()


class contextless:  # noqa: N801
    """A running worker's end, without its start."""

    def __init__(self, running: Running) -> None:
        self.running = running

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.running.worker.stop()
        assert self.running.join() == 0


@pytest.mark.parametrize("end", ["complete", "fail", "snooze"])
def test_a_finish_whose_reply_was_lost_is_recognised(app: App, monkeypatch, end):
    """The first write takes effect, but its answer never arrives: asked again, the row says that it was ours."""
    from rowqueue import Snooze

    finish = AsyncStore.finish
    calls: list[Any] = []

    async def loses_its_reply(self: AsyncStore, finishes: Any) -> Any:
        outcomes = await finish(self, finishes)
        calls.append(outcomes)
        if len(calls) == 1:
            raise DatabaseUnavailable("the reply was lost")
        return outcomes

    monkeypatch.setattr(AsyncStore, "finish", loses_its_reply)

    @app.job(kind="l", retry=RetryPolicy.constant(3600))
    async def handler() -> str:
        if end == "fail":
            raise ValueError
        if end == "snooze":
            raise Snooze(3600)
        return "once"

    job = handler.enqueue()
    running = drain(app)
    expected = {"complete": State.COMPLETED, "fail": State.RETRYABLE, "snooze": State.SCHEDULED}[end]
    row = running.row(job)
    assert (row.state, row.failures) == (expected, int(end == "fail"))
    assert len(calls) == 2
    assert calls[1][0].reason == "wrong_state"
    assert [event.state for event in running.said(events.Finished)] == [expected]
    assert running.said(events.Refused) == []


@pytest.mark.parametrize("error", [StoreFull("full"), DatabaseUnavailable("away")])
@pytest.mark.parametrize("verb", ["claim", "finish", "promote_due", "heartbeat", "rescue", "next_due"])
def test_every_loop_goes_on_after_an_error(app: App, monkeypatch, verb, error):
    place = source if verb == "claim" else AsyncStore
    original = getattr(place, verb)
    left = 3

    def fails_at_first(*args: Any, **options: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise error
        return original(*args, **options)

    @app.job(kind="e")
    async def handler() -> None: ...

    monkeypatch.setattr(place, verb, fails_at_first)
    job = handler.options(delay=0.05).enqueue()
    with Running(app, lease=1, renew=0.1) as running:
        running.wait_for(events.Completed, job)
        running.wait_for(events.Reconnected)
    assert left == 0


def test_a_batch_that_the_database_refuses_is_written_one_by_one(app: App, monkeypatch):
    """One ending that cannot be stored harms no other, and is stored without what made it so."""
    finish = AsyncStore.finish

    async def picky(self: AsyncStore, finishes: Any) -> Any:
        if any("poison" in str(each.result) for each in finishes):
            raise StoreError("refused")
        return await finish(self, finishes)

    monkeypatch.setattr(AsyncStore, "finish", picky)

    @app.job(kind="p")
    async def handler(n: int) -> str:
        return "poison" if n == 2 else "fine"

    jobs = handler.enqueue_many([(n,) for n in range(4)])
    running = drain(app)
    assert [running.row(job).state for job in jobs] == [State.COMPLETED] * 4
    assert [running.row(job).result for job in jobs] == ["fine", "fine", None, "fine"]
    assert running.said(events.ResultDropped)[0].job.id == jobs[2].job.id


@pytest.mark.parametrize("listen, limit", [(True, 4), (False, 3)])
def test_few_connections_whatever_the_concurrency(listen, limit, postgres_app: App, postgres_database):
    most = 0

    @postgres_app.job(kind="m")
    async def handler() -> None: ...

    postgres_app.close()
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    handler.enqueue_many([()] * 2000)
    postgres_app.close()
    running = Running(postgres_app, concurrency=50, lease=1, renew=0.05, listen=listen)
    with psycopg.connect(postgres_database, autocommit=True) as connection, running:
        while len(running.said(events.Completed)) < 2000:
            row = connection.execute(query + " AND backend_type = 'client backend'").fetchone()
            most = max(most, row[0] if row else 0)
    assert 2 <= most <= limit
