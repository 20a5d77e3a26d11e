"""A job's verbs on real databases: its own transaction, yours, sync and async."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from datetime import UTC, datetime

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from rowqueue import App, ConfigurationError, InvalidArguments, PayloadTooLarge, SchemaMissing, State


def define(url: str, **options) -> App:
    app = App(url, **options)

    @app.job(kind="mail.send", queue="mail")
    def send(user: int, at: datetime | None = None, *, text: str = "") -> None: ...

    return app


@pytest.fixture
def app(database_url):
    app = define(database_url)
    app.init()
    yield app
    app.close()


@pytest.fixture
def send(app):
    return app.jobs["mail.send"]


def jobs(app: App) -> list[dict]:
    return [job.args for job in app.store.list(limit=100).jobs]


def test_an_app_connects_to_nothing_until_it_is_used(tmp_path):
    app = App(f"sqlite:///{tmp_path}/absent/jobs.db")
    app.job(kind="a")(lambda: None)
    assert list(tmp_path.iterdir()) == []
    App("postgresql://nobody@127.0.0.1:1/nothing")


def test_the_store_is_made_once_whatever_the_threads(sqlite_url):
    app = App(sqlite_url)
    barrier = threading.Barrier(8)
    found = []

    def look():
        barrier.wait()
        found.append((app.store, app.async_store))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_job_arrives_as_it_was_enqueued(app, send):
    when = datetime(2026, 5, 4, 3, 2, 1, 999999, tzinfo=UTC)
    enqueued = send.options(priority=1, tags=["a"], meta={"by": "me"}).enqueue(7, at=when, text="é\u2028☃")
    assert enqueued.inserted
    (claim,) = app.store.claim(5)
    assert (claim.job.kind, claim.job.queue, claim.job.priority) == ("mail.send", "mail", 1)
    assert (claim.job.tags, claim.job.meta) == (("a",), {"by": "me"})
    assert send.decode(claim.job) == ([], {"user": 7, "at": when, "text": "é\u2028☃"})
    assert (
        claim.job.args
        == enqueued.job.args
        == {"user": 7, "at": "2026-05-04T03:02:01.999999Z", "text": "é\u2028☃"}
    )


def test_many_keep_their_order_and_are_all_or_none(app, send):
    answers = send.enqueue_many([send.args(1), (2,), (3, None), send.args(user=4, text="x")])
    assert [answer.job.args["user"] for answer in answers] == [1, 2, 3, 4]
    assert [answer.job.id for answer in answers] == sorted(answer.job.id for answer in answers)
    assert send.enqueue_many([]) == []
    for bad in ([(1,), ("2",)], [(1,), 2], [(1,), (2, None, "x")], [(1,), [2]]):
        with pytest.raises(InvalidArguments):
            send.enqueue_many(bad)
    assert len(jobs(app)) == 4


def test_arguments_of_another_job_are_refused(app, send):
    other = app.job(kind="other")(lambda user: None)
    with pytest.raises(InvalidArguments, match=r"mail\.send got arguments of other"):
        send.enqueue_many([other.args(1)])
    assert jobs(app) == []


def test_a_unique_key_answers_with_the_row_that_has_it(send):
    keyed = send.options(unique_key="user-7")
    first, second = keyed.enqueue(7), keyed.enqueue(8)
    assert (first.inserted, second.inserted) == (True, False)
    assert second.job.id == first.job.id
    assert second.job.args == {"user": 7}


def test_pending_and_delayed(send):
    assert send.options(pending=True).enqueue(1).job.state is State.PENDING
    assert send.options(delay=60).enqueue(1).job.state is State.SCHEDULED


def test_what_cannot_be_stored_is_refused_before_anything_is_written(app, send):
    anything = app.job(kind="anything")(lambda value: None)
    for value in (float("nan"), "\ud800", b"x", {1: 2}, 10**5000):
        with pytest.raises(InvalidArguments):
            anything.enqueue(value)
    deep: list = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(InvalidArguments, match="nested"):
        anything.enqueue(deep)
    with pytest.raises(PayloadTooLarge, match=r"the arguments of mail\.send take 1,048,5\d\d bytes"):
        send.enqueue(7, text="x" * 1024 * 1024)
    assert jobs(app) == []


def test_options_of_the_app_reach_the_store(sqlite_url):
    app = define(sqlite_url, prefix="other_", payload_limit=50, max_attempts=3, lease=5)
    app.init()
    assert app.store.settings.lease_seconds == 5
    assert app.store.settings.prefix == "other_"
    assert app.jobs["mail.send"].enqueue(1).job.max_attempts == 3
    with pytest.raises(PayloadTooLarge):
        app.jobs["mail.send"].enqueue(1, text="x" * 50)
    app.close()


def test_missing_tables_say_what_to_do(sqlite_url):
    app = define(sqlite_url)
    with pytest.raises(SchemaMissing, match="rowqueue init"):
        app.jobs["mail.send"].enqueue(1)
    app.close()


def test_a_closed_app_opens_again(app, send):
    send.enqueue(1)
    app.close()
    send.enqueue(2)
    assert len(jobs(app)) == 2


async def test_async_twins(app, send):
    assert (await send.enqueue_async(7)).job.args == {"user": 7}
    answers = await send.enqueue_many_async([(1,), send.args(2)])
    assert [answer.job.args["user"] for answer in answers] == [1, 2]
    with pytest.raises(InvalidArguments):
        await send.enqueue_async("7")
    await asyncio.gather(*(send.enqueue_async(user) for user in range(20)))
    assert len(jobs(app)) == 23
    await app.aclose()


class Rollback(Exception):
    """Undoes the caller's transaction."""


@contextlib.contextmanager
def sqlite_connection(url):
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    with contextlib.closing(connection), connection:
        yield connection


@contextlib.contextmanager
def psycopg_connection(url):
    with psycopg.connect(url) as connection:
        yield connection


@contextlib.contextmanager
def through_engine(url, kind):
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        if kind == "connection":
            with engine.begin() as connection:
                yield connection
        elif kind == "session":
            with Session(engine) as session, session.begin():
                yield session
        else:
            registry = scoped_session(sessionmaker(engine))
            with contextlib.closing(registry), registry.begin():
                yield registry
    finally:
        engine.dispose()


SYNC = {
    "sqlite3": ("sqlite", sqlite_connection),
    "sqlite Connection": ("sqlite", lambda url: through_engine(url, "connection")),
    "sqlite Session": ("sqlite", lambda url: through_engine(url, "session")),
    "psycopg": ("postgres", psycopg_connection),
    "postgres Connection": ("postgres", lambda url: through_engine(url, "connection")),
    "postgres Session": ("postgres", lambda url: through_engine(url, "session")),
    "postgres scoped_session": ("postgres", lambda url: through_engine(url, "scoped")),
}


def url_for(request, database):
    return request.getfixturevalue({"sqlite": "sqlite_url", "postgres": "postgres_database"}[database])


@pytest.mark.parametrize("how", SYNC)
def test_jobs_exist_exactly_when_your_transaction_commits(request, how):
    database, begin = SYNC[how]
    url = url_for(request, database)
    app = define(url)
    app.init()
    send = app.jobs["mail.send"]
    with contextlib.suppress(Rollback), begin(url) as connection:
        assert send.on(connection).enqueue(1).inserted
        raise Rollback
    with begin(url) as connection:
        bound = send.options(priority=1).on(connection)
        assert bound.enqueue(user=2, text="x").job.priority == 1
        assert [one.job.args["user"] for one in bound.enqueue_many([(3,), send.args(4)])] == [3, 4]
        with pytest.raises(InvalidArguments):
            bound.enqueue("5")
    assert sorted(args["user"] for args in jobs(app)) == [2, 3, 4]
    app.close()


@contextlib.asynccontextmanager
async def async_psycopg(url):
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection


@contextlib.asynccontextmanager
async def through_asyncpg(url):
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def through_asyncpg_pool(url):
    pool = asyncpg.create_pool(url, min_size=1, max_size=1)
    async with pool, pool.acquire() as connection, connection.transaction():
        yield connection


@contextlib.asynccontextmanager
async def through_async_engine(url, kind):
    engine = create_async_engine(url)
    try:
        if kind == "connection":
            async with engine.begin() as connection:
                yield connection
        else:
            async with AsyncSession(engine) as session, session.begin():
                yield session
    finally:
        await engine.dispose()


def with_driver(url, driver):
    scheme, rest = url.split("://", 1)
    return f"{scheme}+{driver}://{rest}"


ASYNC = {
    "psycopg": ("postgres", async_psycopg),
    "asyncpg": ("postgres", through_asyncpg),
    "asyncpg pool": ("postgres", through_asyncpg_pool),
    "AsyncSession on psycopg": (
        "postgres",
        lambda url: through_async_engine(with_driver(url, "psycopg"), "session"),
    ),
    "AsyncSession on asyncpg": (
        "postgres",
        lambda url: through_async_engine(with_driver(url, "asyncpg"), "session"),
    ),
    "AsyncConnection": (
        "postgres",
        lambda url: through_async_engine(with_driver(url, "asyncpg"), "connection"),
    ),
    "AsyncSession on SQLite": (
        "sqlite",
        lambda url: through_async_engine(with_driver(url, "aiosqlite"), "session"),
    ),
}


@pytest.mark.parametrize("how", ASYNC)
async def test_jobs_exist_exactly_when_your_async_transaction_commits(request, how):
    database, begin = ASYNC[how]
    url = url_for(request, database)
    app = define(url)
    app.init()
    send = app.jobs["mail.send"]
    with contextlib.suppress(Rollback):
        async with begin(url) as connection:
            assert (await send.on(connection).enqueue(1)).inserted
            raise Rollback
    async with begin(url) as connection:
        bound = send.options(priority=1).on(connection)
        assert (await bound.enqueue(user=2, text="x")).job.priority == 1
        answers = await bound.enqueue_many([(3,), send.args(4)])
        assert [one.job.args["user"] for one in answers] == [3, 4]
        with pytest.raises(InvalidArguments):
            await bound.enqueue("5")
    assert sorted(args["user"] for args in jobs(app)) == [2, 3, 4]
    await app.aclose()


def test_what_is_no_connection_is_refused(send, app):
    for thing in ("sqlite:///x.db", None, app, create_engine("sqlite://")):
        with pytest.raises(ConfigurationError, match=r"on\(\) takes a SQLAlchemy Session"):
            send.on(thing)
