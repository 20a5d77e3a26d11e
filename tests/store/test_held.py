"""Held claims: work and completion commit together, or the work is undone and the failure is kept."""

import asyncio
import sqlite3
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.orm import Session

from rowqueue.core import control
from rowqueue.core.errors import ConfigurationError, InvalidArguments, StoreError
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.values import NewJob
from rowqueue.store.held_transaction import HeldTransaction
from rowqueue.store.store import Store
from tests.support.holding import execute, hold
from tests.support.stores import driver_url, kind_of


@pytest.fixture(autouse=True)
def _effects(rows):
    """A table of the user's own in the same database."""
    rows.execute("DROP TABLE IF EXISTS effect")
    rows.execute("CREATE TABLE effect (n integer)")


def effects(rows):
    return [row["n"] for row in rows.rows("SELECT n FROM effect ORDER BY n")]


async def enqueued(store, count=1, **options):
    answers = await store.enqueue_many([NewJob(kind="k", **options) for _ in range(count)])
    return [answer.job.id for answer in answers]


async def test_work_and_completion_commit_together(store, rows):
    (key,) = await enqueued(store)
    async with hold(store, worker="w-1") as held:
        await execute(held, "INSERT INTO effect VALUES (1)")
        held.complete({"rows": 1})
        seen = rows.row(key)
        assert (seen["state"], seen["attempt"], seen["attempted_by"]) == ("running", 1, "w-1"), (
            "counted already"
        )
        assert effects(rows) == []
    assert effects(rows) == [1]
    job = await store.get(key)
    assert (job.state, job.result, job.leased_until, job.failures) == ("completed", {"rows": 1}, None, 0)
    assert held.outcome.done
    assert held.job.id == held.claim.key == key


async def test_nothing_to_claim_gives_none(store):
    await enqueued(store, queue="other")
    async with hold(store, queues=["mine"]) as held:
        assert held is None
    async with hold(store, kinds=["strange"]) as held:
        assert held is None
    async with hold(store, where=lambda job: job.c.priority == 4) as held:
        assert held is None
    async with hold(store, queues=["other"], kinds=["k"], where=lambda job: job.c.priority == 2) as held:
        assert held.job.queue == "other"


async def test_an_error_undoes_the_work_keeps_the_failure_and_is_raised(make_store, rows):
    store = make_store(retry=RetryPolicy.constant(60))
    (key,) = await enqueued(store, max_attempts=2)
    with pytest.raises(ZeroDivisionError):
        async with hold(store) as held:
            await execute(held, "INSERT INTO effect VALUES (1)")
            held.complete("never")
            raise ZeroDivisionError("too bad")
    job = await store.get(key)
    assert (job.state, job.failures, job.attempt, job.result) == ("retryable", 1, 1, None)
    assert job.errors[0].error == "ZeroDivisionError: too bad"
    assert "test_held.py" in job.errors[0].trace
    assert held.outcome.state == "retryable"
    assert effects(rows) == []
    await store.promote(key)
    with pytest.raises(ValueError, match="again"):
        async with hold(store):
            raise ValueError("again")
    assert (await store.get(key)).state == "discarded"


async def test_a_worker_may_give_the_policy_of_the_kind(make_store):
    store = make_store(retry=RetryPolicy.constant(60))
    (key,) = await enqueued(store)
    with pytest.raises(ValueError, match="x"):
        async with hold(store) as held:
            held.retry = RetryPolicy.constant(0)
            raise ValueError("x")
    assert (await store.get(key)).state == "available"


@pytest.mark.parametrize(
    "ending, state, attempt, failures",
    [
        (control.Snooze(60), "scheduled", 0, 0),
        (control.Skip("nothing new"), "skipped", 1, 0),
        (control.Cancel("not wanted"), "cancelled", 1, 0),
        (control.Discard("never"), "discarded", 1, 0),
        (control.Retry(after=60), "retryable", 1, 1),
        (control.Retry(after=0), "available", 1, 1),
    ],
)
async def test_control_exceptions_choose_the_ending_and_are_not_raised(
    store, rows, ending, state, attempt, failures
):
    (key,) = await enqueued(store)
    async with hold(store) as held:
        await execute(held, "INSERT INTO effect VALUES (1)")
        raise ending
    job = await store.get(key)
    assert (job.state, job.attempt, job.failures) == (state, attempt, failures)
    assert held.outcome.done
    assert effects(rows) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, asyncio.CancelledError])
async def test_an_interruption_gives_the_attempt_back(store, rows, interruption):
    (key,) = await enqueued(store)
    with pytest.raises(interruption):
        async with hold(store) as held:
            await execute(held, "INSERT INTO effect VALUES (1)")
            raise interruption
    job = await store.get(key)
    assert (job.state, job.attempt, job.failures, job.rescues) == ("available", 0, 0, 0)
    assert effects(rows) == []


async def test_a_handler_that_exits_again_and_again_is_no_endless_loop(make_store):
    store = make_store(retry=RetryPolicy.constant(0))
    (key,) = await enqueued(store, max_attempts=2)
    for _ in range(2):
        with pytest.raises(SystemExit):
            async with hold(store):
                raise SystemExit(3)
    assert (await store.get(key)).state == "discarded"


async def test_a_result_that_cannot_be_stored_is_a_failure(store, rows):
    (key,) = await enqueued(store)
    with pytest.raises(InvalidArguments, match="the result"):
        async with hold(store) as held:
            await execute(held, "INSERT INTO effect VALUES (1)")
            held.complete(object())
    assert (await store.get(key)).failures == 1
    assert effects(rows) == []


@pytest.mark.parametrize("tables_url", ["postgres"], indirect=True)
async def test_a_constraint_that_is_checked_at_commit_is_a_failure(store, rows):
    rows.execute("DROP TABLE IF EXISTS child")
    rows.execute("DROP TABLE IF EXISTS parent")
    rows.execute("CREATE TABLE parent (id integer PRIMARY KEY)")
    rows.execute("CREATE TABLE child (p integer REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)")
    (key,) = await enqueued(store)
    with pytest.raises(StoreError, match="foreign key"):
        async with hold(store) as held:
            await execute(held, "INSERT INTO child VALUES (1)")
    job = await store.get(key)
    assert (job.state, job.failures) == ("retryable", 1)
    assert rows.rows("SELECT * FROM child") == []


@pytest.mark.parametrize("tables_url", ["postgres"], indirect=True)
async def test_an_error_of_a_statement_that_was_swallowed_is_a_failure(store, rows):
    (key,) = await enqueued(store)
    with pytest.raises(StoreError, match="transaction is aborted"):
        async with hold(store) as held:
            await execute(held, "INSERT INTO effect VALUES (1)")
            with pytest.raises(exc.DBAPIError):
                await execute(held, "SELECT nonsense")
    assert (await store.get(key)).failures == 1
    assert effects(rows) == []


@pytest.mark.parametrize("word", ["commit", "rollback"])
async def test_the_transaction_is_the_blocks_to_end(store, rows, word):
    (key,) = await enqueued(store)
    with pytest.raises(ConfigurationError, match="leave commit and rollback of held"):
        async with hold(store) as held:
            await execute(held, "INSERT INTO effect VALUES (1)")
            answer = getattr(held.connection, word)()
            if answer is not None:
                await answer
            with pytest.raises(exc.InvalidRequestError):  # it would commit alone
                await execute(held, "INSERT INTO effect VALUES (2)")
    assert (await store.get(key)).failures == 1
    assert effects(rows) == ([1] if word == "commit" else [])


async def test_a_row_that_was_ended_inside_stays_as_it_was_ended(store, rows):
    key, second = await enqueued(store, 2)
    async with hold(store) as held:
        await execute(held, f"DELETE FROM rowqueue_job WHERE id = {key}")
    assert (held.outcome.reason, await store.get(key)) == ("gone", None)
    async with hold(store) as held:
        bound = store.on(held.connection)
        answer = bound.complete(held.claim, "inside")
        assert (await answer if asyncio.iscoroutine(answer) else answer).done
    assert (await store.get(second)).result == "inside"


async def test_jobs_enqueued_through_the_held_connection_exist_when_it_commits(store, rows):
    await enqueued(store, 2)
    for fails in (True, False):

        async def work(fails=fails):
            async with hold(store) as held:
                answer = store.on(held.connection).enqueue(NewJob(kind="follow-up"))
                assert (await answer if asyncio.iscoroutine(answer) else answer).inserted
                if fails:
                    raise control.Discard

        await work()
        assert rows.count("kind = 'follow-up'") == (0 if fails else 1)


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
