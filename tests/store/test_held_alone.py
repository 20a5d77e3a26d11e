"""What a held claim keeps others from, and what it refuses inside of it; on which connections it works."""

import asyncio
import sqlite3
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from rowqueue.core import control
from rowqueue.core.errors import ConfigurationError, StoreError
from rowqueue.core.values import NewJob
from rowqueue.store.held_transaction import HeldTransaction
from rowqueue.store.store import Store
from tests.store.test_held import _effects, effects, enqueued  # noqa: F401 - a fixture
from tests.support.holding import execute, hold
from tests.support.stores import driver_url, kind_of


async def test_a_claim_that_was_taken_away_before_its_lock_is_not_worked(store, rows, monkeypatch):
    key, other = await enqueued(store, 2)
    taken = []
    original = HeldTransaction.open

    def slow(self, lease=None):
        if not taken:
            taken.append(self.claim.key)
            # A rescue of a process that stood still for longer than its lease, and the next claim.
            rows.execute(f"UPDATE rowqueue_job SET lease = lease + 1 WHERE id = {self.claim.key}")
        return original(self, lease)

    monkeypatch.setattr(HeldTransaction, "open", slow)
    async with hold(store) as held:
        assert (taken, held.claim.key) == ([key], other)
    assert (await store.get(key)).state == "running", "somebody else's"
    assert (await store.get(other)).state == "completed"


async def test_a_claim_that_cannot_be_locked_is_given_back(store, monkeypatch):
    (key,) = await enqueued(store)

    def broken(self, lease=None):
        raise StoreError("no")

    monkeypatch.setattr(HeldTransaction, "open", broken)
    with pytest.raises(StoreError, match="no"):
        async with hold(store):
            raise AssertionError
    job = await store.get(key)
    assert (job.state, job.attempt) == ("available", 0)


async def test_the_held_row_is_ended_through_what_holds_it(store):
    (key,) = await enqueued(store)
    async with hold(store) as held:
        for verb in (
            store.complete(held.claim),
            store.fail(held.claim, "x"),
            store.progress(held.claim, 0.5),
            store.release(held.claim),
            store.discard(key),
            store.cancel(key),
        ):
            with pytest.raises(ConfigurationError, match=r"held\.connection"):
                await verb
        assert (await store.get(key)).state == "running", "reading is free"
    assert (await store.get(key)).state == "completed"


async def test_a_second_held_claim_inside_is_refused(store, make_store, asynchronous):
    await enqueued(store, 2)
    again = make_store()
    async with hold(store) as held:
        for other in (store, again):
            with pytest.raises(ConfigurationError, match="is held already"):
                async with hold(other):
                    raise AssertionError
    async with hold(again) as second:
        assert second.claim.key != held.claim.key
    with pytest.raises(ValueError, match="x"):
        async with hold(store):
            raise ValueError("x")
    async with hold(store) as none:
        assert none is None, "and what failed before left nothing behind"


@pytest.mark.parametrize("tables_url", ["postgres"], indirect=True)
async def test_several_are_held_at_once_when_asked_for(store):
    first, second = await enqueued(store, 2)
    async with hold(store) as a, hold(store, independent=True) as b, hold(store, independent=True) as none:
        assert ((a.claim.key, b.claim.key), none) == ((first, second), None)
    assert {(await store.get(key)).state for key in (first, second)} == {"completed"}


@pytest.mark.parametrize("tables_url", ["postgres"], indirect=True)
async def test_threads_and_tasks_each_hold_their_own(store, asynchronous):
    keys = await enqueued(store, 3)
    met = []
    if asynchronous:
        meeting = asyncio.Barrier(3)

        async def task():
            async with hold(store) as held:
                met.append(held.claim.key)
                await asyncio.wait_for(meeting.wait(), 20)

        await asyncio.gather(*(task() for _ in keys))
    else:
        together = threading.Barrier(3, timeout=20)

        def thread():
            with store.store.claim_in_transaction() as held:
                met.append(held.claim.key)
                together.wait()

        threads = [threading.Thread(target=thread) for _ in keys]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert sorted(met) == keys
    assert {(await store.get(key)).state for key in keys} == {"completed"}


@pytest.mark.parametrize("tables_url", ["postgres"], indirect=True)
async def test_on_postgresql_other_rows_are_free_meanwhile(store, rows):
    key, other = await enqueued(store, 2)
    async with hold(store) as held:
        (claim,) = await store.claim()
        assert (held.claim.key, claim.key) == (key, other)
        assert (await store.complete(claim)).done
        assert (await store.enqueue(NewJob(kind="alone"))).inserted
        assert await store.add_log(held.claim, "rows that refer to it can be inserted") == 1
        assert [outcome.done for outcome in await store.extend([held.claim])] == [True], "alive"
        raise control.Discard
    assert rows.count("kind = 'alone'") == 1, "its own transaction"


@pytest.mark.parametrize("tables_url", ["postgres"], indirect=True)
async def test_rows_that_refer_to_a_held_one_can_be_inserted_meanwhile(store, rows):
    (key,) = await enqueued(store)
    rows.execute("CREATE TABLE refers (job bigint REFERENCES rowqueue_job (id))")
    try:
        rows.execute("SET lock_timeout = '5s'")
        async with hold(store):
            rows.execute(f"INSERT INTO refers VALUES ({key})")
    finally:
        rows.execute("DROP TABLE refers")


@pytest.mark.parametrize("tables_url", ["sqlite"], indirect=True)
async def test_on_sqlite_held_is_the_write_lock_of_the_file(store, rows):
    await enqueued(store)
    rows.execute("PRAGMA busy_timeout = 0")
    async with hold(store):
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            rows.execute("BEGIN IMMEDIATE")
    rows.execute("BEGIN IMMEDIATE")
    rows.execute("ROLLBACK")


@pytest.mark.parametrize("tables_url", ["sqlite"], indirect=True)
async def test_on_sqlite_a_write_past_the_held_connection_is_refused_at_once(store, make_store):
    await enqueued(store)
    other = make_store()
    clock = asyncio.get_running_loop()
    async with hold(store):
        began = clock.time()
        for one in (store, other):
            with pytest.raises(ConfigurationError, match=r"job\.on\(held\.connection\)"):
                await one.enqueue(NewJob(kind="x"))
            with pytest.raises(ConfigurationError, match="write lock of the SQLite file"):
                await one.claim()
        assert clock.time() - began < 2, "no wait for a lock of our own"
        assert await store.stats()
    assert (await store.enqueue(NewJob(kind="x"))).inserted


async def test_a_session_works_in_it_and_cannot_end_it(store, rows, asynchronous):
    if asynchronous:
        pytest.skip("the connection under an AsyncSession is the same")
    await enqueued(store, 2)
    for fails in (True, False):
        with store.store.claim_in_transaction() as held:
            with Session(held.connection) as session:
                session.execute(sa.text("INSERT INTO effect VALUES (1)"))
                session.rollback()
                session.execute(sa.text("INSERT INTO effect VALUES (2)"))
                session.commit()
            if fails:
                raise control.Discard
        assert effects(rows) == ([] if fails else [2])


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": "1 s"}, {"lease": 0.5}, {"queues": "default"}])
async def test_wrong_options_are_refused(store, options):
    await enqueued(store)
    with pytest.raises(ConfigurationError):
        async with hold(store, **options):
            raise AssertionError


async def test_a_sync_engine_gives_no_async_connection(tables_url, make_store, asynchronous):
    engine = sa.create_engine(driver_url(tables_url))
    store = make_store(engine)
    (key,) = await enqueued(store)
    if asynchronous:
        with pytest.raises(ConfigurationError, match="URL or an AsyncEngine"):
            async with hold(store):
                raise AssertionError
    else:
        async with hold(store) as held:
            assert held.connection.engine is engine
        assert (await store.get(key)).state == "completed"
    engine.dispose()


@pytest.mark.parametrize("trouble", ["autocommit", "begins"])
def test_an_engine_with_ways_of_its_own(tables_url, rows, trouble):
    engine = sa.create_engine(
        driver_url(tables_url), **({"isolation_level": "AUTOCOMMIT"} if trouble == "autocommit" else {})
    )
    if trouble == "begins":
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        if "postgres" in tables_url:
            pytest.skip("psycopg begins by itself")
    store = Store(engine)
    store.enqueue_many([NewJob(kind="k")] * 2)
    for fails in (True, False):
        with store.claim_in_transaction() as held:
            held.connection.execute(sa.text("INSERT INTO effect VALUES (1)"))
            if fails:
                raise control.Discard
        assert effects(rows) == ([] if fails else [1])
    store.close()
    engine.dispose()


async def test_an_async_engine_of_the_users_is_worked_on(tables_url, asynchronous, rows):
    from sqlalchemy.ext.asyncio import create_async_engine

    from rowqueue.store.async_store import AsyncStore

    if not asynchronous:
        pytest.skip("only the async store")
    urls = [driver_url(tables_url, asynchronous=True)]
    if kind_of(tables_url) == "postgresql":
        urls.append(urls[0].set(drivername="postgresql+asyncpg"))
    for url in urls:
        driver = url.get_driver_name()
        engine = create_async_engine(url)
        store = AsyncStore(engine)
        (key,) = await enqueued(store)
        async with hold(store) as held:
            assert held.connection.engine is engine
            await execute(held, "INSERT INTO effect VALUES (1)")
            held.complete(driver)
        assert (await store.get(key)).result == driver
        await store.close()
        await engine.dispose()
    assert effects(rows) == [1] * len(urls)
