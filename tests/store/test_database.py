"""Where connections come from: URLs, engines, several hosts; and connections that die."""

import contextlib
from typing import Any

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from rowqueue.core.errors import ConfigurationError, DatabaseBusy, DatabaseUnavailable, StoreError
from rowqueue.core.values import NewJob
from rowqueue.store.async_store import AsyncStore
from rowqueue.store.database import Database
from rowqueue.store.store import Store
from tests.support.session import plain_url
from tests.support.stores import Awaited, driver_url, kind_of, raw

BAD_URLS = {
    "nothing": "",
    "no scheme": "jobs.db",
    "another database": "oracle://me:s3cret@host/db",
    "no database at all": "http://me:s3cret@host/db",
    "in memory": "sqlite://",
    "in memory by name": "sqlite:///:memory:",
    "a bad port": "postgresql://me:s3cret@host:port/db",
    "a number": 7,
    "a path": None,
}


@pytest.mark.parametrize("make", [Store, AsyncStore])
@pytest.mark.parametrize("name", BAD_URLS)
def test_bad_urls_are_refused_in_one_line_without_the_password(name, make):
    with pytest.raises(ConfigurationError) as refused:
        make(BAD_URLS[name])
    assert "\n" not in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert "sqlite:///" in str(refused.value) or "URL or a SQLAlchemy Engine" in str(refused.value)


BAD_OPTIONS = {
    "lease": {"lease": 0.1},
    "prefix": {"prefix": "A-"},
    "max_attempts": {"max_attempts": 0},
    "max_rescues": {"max_rescues": -1},
    "payload_limit": {"payload_limit": "1 MiB"},
    "synchronous": {"synchronous": "OFF"},
}


@pytest.mark.parametrize("make", [Store, AsyncStore])
@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options_are_refused_where_they_are_written(name, make, tmp_path):
    with pytest.raises(ConfigurationError, match=name):
        make(f"sqlite:///{tmp_path}/jobs.db", **BAD_OPTIONS[name])
    assert list(tmp_path.iterdir()) == []


SOURCES = {
    "URL object": make_url,
    "Engine": lambda url: create_engine(driver_url(url), poolclass=NullPool),
    "AsyncEngine": lambda url: create_async_engine(driver_url(url, asynchronous=True), poolclass=NullPool),
    "AsyncEngine on asyncpg": lambda url: create_async_engine(
        driver_url(url, asynchronous=True)
        if kind_of(url) != "postgresql"
        else make_url(url).set(drivername="postgresql+asyncpg")
    ),
}


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("name", SOURCES)
async def test_a_store_works_on_every_source_of_connections(tables_url, name, asynchronous):
    source = SOURCES[name](tables_url)
    store: Any = AsyncStore(source) if asynchronous else Awaited(Store(source))
    await store.enqueue_many([NewJob(kind="k"), NewJob(kind="k", delay=60)])
    (claim,) = await store.claim(5)
    assert await store.complete(claim)
    assert (await store.get(claim.key)).finalized_at is not None
    await store.close()


async def test_a_store_and_its_async_twin_share_the_settings(tables_url):
    with contextlib.closing(Store(tables_url, lease=7, max_attempts=3)) as store:
        twin = store.asynchronous()
        assert twin.settings == store.settings
        await twin.enqueue(NewJob(kind="k"))
        (claim,) = store.claim()
        assert claim.job.max_attempts == 3
        await twin.close()
        with contextlib.closing(twin.synchronous()) as again:
            assert again.complete(claim)


async def test_a_closed_store_opens_again(make_store):
    store = make_store()
    await store.enqueue(NewJob(kind="k"))
    for _ in range(2):
        await store.close()
        await store.close()
        assert (await store.stats()).total("available") == 1


def test_sqlite_is_in_wal_and_syncs_each_commit_unless_told_otherwise(sqlite_tables):
    assert Database(sqlite_tables).synchronous == "FULL"
    for option, level in (("FULL", 2), ("NORMAL", 1), ("EXTRA", 3)):
        with (
            contextlib.closing(Store(sqlite_tables, synchronous=option)) as store,
            store._pool.connection() as own,
        ):
            assert own.raw.execute("PRAGMA synchronous").fetchone() == (level,)
            assert own.raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_postgres_statements_are_prepared_unless_a_pooler_cannot_keep_them(postgres_tables):
    for prepared in (True, False):
        with contextlib.closing(Store(postgres_tables, prepared=prepared)) as store:
            for _ in range(8):
                store.enqueue(NewJob(kind="k"))
            with store._pool.connection() as own:
                (count,) = own.raw.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
            assert (count > 0) is prepared


def test_a_postgres_host_that_disappears_is_noticed_unless_the_url_says_how(monkeypatch):
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    words = (
        "connect_timeout",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
    )

    def options(url):
        given = Database(url)._connect_arguments()[1]
        return [int(given[word]) if word in given else None for word in words]

    assert options("postgresql://u@h/d") == [10, 30, 5, 3, 30_000]
    assert options("postgresql://u@h/d?connect_timeout=2&keepalives_idle=1&tcp_user_timeout=0") == [
        2,
        1,
        5,
        3,
        0,
    ]
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    assert options("postgresql://u@h/d")[0] is None


def test_the_second_host_answers_when_the_first_does_not(postgres_tables):
    url = plain_url(postgres_tables)
    head, _, tail = url.partition("@")
    with contextlib.closing(Store(f"{head}@127.0.0.1:1,{tail}")) as store:
        assert store.enqueue(NewJob(kind="k")).inserted


async def test_connections_that_the_server_ended_are_replaced(postgres_tables):
    store, twin = Store(postgres_tables), AsyncStore(postgres_tables)
    with contextlib.closing(store), raw(postgres_tables) as rows:
        for _ in range(2):
            store.enqueue(NewJob(kind="k"))
            await twin.enqueue(NewJob(kind="k"))
            rows.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        assert store.enqueue(NewJob(kind="k")).inserted
        assert (await twin.enqueue(NewJob(kind="k"))).inserted
        await twin.close()
        assert rows.count() == 6


def test_a_lock_that_is_never_freed_is_a_typed_error(postgres_tables):
    """On our own transactions busy is tried again; on the caller's it is told."""
    with (
        contextlib.closing(Store(postgres_tables)) as store,
        contextlib.closing(psycopg.connect(plain_url(postgres_tables))) as holder,
        contextlib.closing(psycopg.connect(plain_url(postgres_tables))) as caller,
    ):
        store.enqueue(NewJob(kind="k"))
        (claim,) = store.claim()
        holder.execute("SELECT * FROM rowqueue_job FOR UPDATE")
        caller.execute("SET lock_timeout = '50ms'")
        with pytest.raises(DatabaseBusy, match="time-out"):
            store.on(caller).complete(claim)
        caller.rollback()
        holder.rollback()
        assert store.complete(claim)


def test_a_file_that_is_no_database_is_a_typed_error(tmp_path):
    (tmp_path / "jobs.db").write_text("certainly not a database, and longer than a hundred bytes" * 9)
    with (
        contextlib.closing(Store(f"sqlite:///{tmp_path}/jobs.db")) as store,
        pytest.raises(StoreError, match="no SQLite database"),
    ):
        store.init()


def test_a_directory_is_a_typed_error(tmp_path):
    with (
        contextlib.closing(Store(f"sqlite:///{tmp_path}")) as store,
        pytest.raises(DatabaseUnavailable, match="cannot be opened"),
    ):
        store.init()
