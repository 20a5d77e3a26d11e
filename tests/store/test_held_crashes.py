"""Held claims that die, and those that last too long."""

import asyncio
import contextlib

import pytest
import sqlalchemy as sa

from rowqueue.core.errors import DatabaseUnavailable
from rowqueue.core.finish import HandlerTimeout
from rowqueue.store.store import Store
from tests.store.test_held import _effects, effects, enqueued  # noqa: F401 - a fixture
from tests.support.holding import execute, hold, holder
from tests.support.stores import raw
from tests.support.waiting import wait_until


async def test_kill_9_in_the_middle_undoes_the_work_and_is_counted(store, rows, tables_url, asynchronous):
    (key,) = await enqueued(store)
    with holder(tables_url, asynchronous=asynchronous, lease=1) as (process, held):
        assert held == key
        process.kill()
        process.wait(20)
    rows.pass_time(2)  # waits for the lock that the server has to notice is nobody's any more
    assert effects(rows) == []
    assert [(one.key, one.state) for one in await store.rescue()] == [(key, "available")]
    async with hold(store) as again:
        assert (again.job.attempt, again.job.rescues) == (2, 1)
        assert "the lease ran out" in again.job.errors[0].error


def rescue(url):
    with contextlib.closing(Store(url)) as store:
        return store.rescue()


async def test_after_a_crash_the_row_runs_again_when_the_short_lease_is_over(make_store, tables_url):
    store = make_store(lease=3600)
    (key,) = await enqueued(store)
    with holder(tables_url, lease=1) as (process, _):
        process.kill()
        process.wait(20)
        assert await store.rescue() == [], "not before"
    async with hold(store) as nothing:
        assert nothing is None
    found = await asyncio.to_thread(wait_until, lambda: rescue(tables_url), "the rescue", 5)
    assert [one.key for one in found] == [key]


@pytest.mark.parametrize("asynchronous", ["sync"], indirect=True)
async def test_each_crash_is_a_rescue_and_there_is_no_loop(make_store, rows, tables_url, asynchronous):
    store = make_store(max_rescues=3)
    (key,) = await enqueued(store)
    for crash in range(1, 4):
        with holder(tables_url, asynchronous=asynchronous, lease=1) as (process, _):
            process.kill()
            process.wait(20)
        rows.pass_time(2)
        (found,) = await store.rescue()
        assert rows.row(key)["rescues"] == crash
        assert found.state == ("available" if crash < 3 else "discarded")
    async with hold(store) as nothing:
        assert nothing is None
    assert (await store.get(key)).failures == 0
    assert effects(rows) == []


@pytest.mark.parametrize("tables_url", ["postgres"], indirect=True)
async def test_a_live_held_row_is_not_rescued_however_old_its_lease(store, rows):
    key, other = await enqueued(store, 2)
    (left,) = await store.claim(where=lambda job: job.c.id == other)
    rows.pass_time(100, other)
    async with hold(store, lease=1) as held:
        over = f"id = {key} AND leased_until < now()"
        await asyncio.to_thread(wait_until, lambda: rows.count(over), "the end of the lease")
        assert [one.key for one in await store.rescue()] == [left.key]
        assert [one.done for one in await store.extend([held.claim])] == [True]
    assert (await store.get(key)).state == "completed"
    assert (await store.get(key)).rescues == 0


@pytest.mark.parametrize("tables_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("afterwards", ["returns", "raises"])
async def test_a_connection_that_the_server_ended_is_a_crash(store, rows, afterwards):
    (key,) = await enqueued(store)
    with pytest.raises((DatabaseUnavailable, sa.exc.DBAPIError)):
        async with hold(store) as held:
            await execute(held, "INSERT INTO effect VALUES (1)")
            (pid,) = (await execute(held, "SELECT pg_backend_pid()")).one()
            rows.execute(f"SELECT pg_terminate_backend({pid}, 10000)")
            if afterwards == "raises":
                await execute(held, "INSERT INTO effect VALUES (2)")
    assert held.outcome is None
    assert (rows.row(key)["state"], effects(rows)) == ("running", [])
    rows.pass_time(6)
    assert [one.key for one in await store.rescue()] == [key]
    async with hold(store) as again:
        assert (again.job.attempt, again.job.rescues) == (2, 1)


@pytest.mark.parametrize("tables_url", ["postgres"], indirect=True)
async def test_an_error_of_the_handlers_is_kept_though_the_connection_is_gone(store, rows):
    (key,) = await enqueued(store)
    with pytest.raises(ZeroDivisionError):
        async with hold(store) as held:
            (pid,) = (await execute(held, "SELECT pg_backend_pid()")).one()
            rows.execute(f"SELECT pg_terminate_backend({pid}, 10000)")
            raise ZeroDivisionError
    assert [error.error for error in (await store.get(key)).errors] == ["ZeroDivisionError"]
    assert held.outcome.state == "retryable"


def free(url, key):
    """Others may write again."""
    with raw(url) as rows:
        if not rows.is_sqlite:
            return rows.rows(f"SELECT id FROM rowqueue_job WHERE id = {key} FOR UPDATE SKIP LOCKED") != []
        rows.execute("BEGIN IMMEDIATE")  # waits for the lock of the file
        rows.execute("COMMIT")
        return True


@pytest.mark.parametrize("afterwards", ["returns", "writes"])
async def test_what_is_held_too_long_is_undone_and_a_failure(store, rows, tables_url, afterwards):
    (key,) = await enqueued(store)
    with pytest.raises(HandlerTimeout, match=r"longer than its limit of 0\.2 s"):
        async with hold(store, limit=0.2) as held:
            await execute(held, "INSERT INTO effect VALUES (1)")
            await asyncio.to_thread(wait_until, lambda: free(tables_url, key), "the end of the lock")
            if afterwards == "writes":
                with pytest.raises(sa.exc.DBAPIError):
                    await execute(held, "INSERT INTO effect VALUES (2)")
    job = await store.get(key)
    assert (job.state, job.failures) == ("retryable", 1)
    assert "longer than its limit" in job.errors[0].error
    assert effects(rows) == []
    await enqueued(store)
    async with hold(store) as fine:
        await execute(fine, "INSERT INTO effect VALUES (3)")
    assert effects(rows) == [3], "the next connection is as good as new"


@pytest.mark.parametrize("tables_url", ["postgres"], indirect=True)
async def test_a_transaction_that_is_never_idle_ends_too(store, rows, postgres_server):
    if int(postgres_server.version.split(".")[0]) < 17:
        pytest.skip("transaction_timeout came with PostgreSQL 17")
    (key,) = await enqueued(store)
    with pytest.raises(HandlerTimeout):
        async with hold(store, limit=0.3) as held:
            await execute(held, "SELECT pg_sleep(60)")
    assert (await store.get(key)).failures == 1


@pytest.mark.parametrize("tables_url", ["postgres"], indirect=True)
async def test_the_limit_is_ten_minutes_and_ends_with_the_transaction(store):
    await enqueued(store, 2)
    for _ in range(2):
        async with hold(store) as held:
            shown = await execute(held, "SHOW idle_in_transaction_session_timeout")
            assert shown.scalar() == "10min"


@pytest.mark.parametrize("asynchronous", ["sync"], indirect=True)
async def test_many_processes_hold_each_row_once(store, rows, tables_url):
    keys = await enqueued(store, 3)
    if rows.is_sqlite:
        keys = keys[:1]  # one at a time
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(holder(tables_url))[1] for _ in keys]
        assert sorted(held) == keys
        if not rows.is_sqlite:
            async with hold(store) as nothing:
                assert nothing is None
