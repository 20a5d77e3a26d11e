"""Held claims on tables of the user's: renamed columns, a view, and lease and expiry kept beside the table."""

import asyncio
from dataclasses import dataclass

import pytest

from rowqueue.core import control
from rowqueue.core.policies import RetryPolicy
from rowqueue.sql.mapping import Column, JobTable
from tests.support.holding import execute, hold
from tests.support.stores import MOMENT, kind_of, open_store, raw
from tests.support.waiting import wait_until

_STATES = {"available": "new", "running": "busy", "completed": "ok", "retryable": "wait", "discarded": "bad"}


@dataclass
class Upload:
    id: int
    status: str
    label: str


@pytest.fixture(params=["fenced", "bare"])
def mapped(request, database_url, asynchronous):
    """A table and its view, and its mapping: with a lease of its own, or with no room for one."""
    moment = MOMENT[kind_of(database_url)]
    fenced = f", fence bigint NOT NULL DEFAULT 0, until {moment}" if request.param == "fenced" else ""
    with raw(database_url, "upload") as rows:
        rows.execute(
            f"CREATE TABLE upload (id integer PRIMARY KEY, status text NOT NULL DEFAULT 'new', note text, due {moment},"
            f" rank integer NOT NULL DEFAULT 0{fenced})"
        )
        rows.execute(
            "CREATE VIEW shown AS SELECT u.*, 'upload ' || u.id AS label FROM upload u WHERE rank >= 0"
        )
        rows.execute("CREATE TABLE effect (n integer)")
        rows.execute("INSERT INTO upload (id, rank) VALUES (1, 1), (2, 3), (3, 2), (4, -1)")
        columns = {"state": "status", "scheduled_at": "due", "errors": Column("note", "message")}
        if request.param == "fenced":
            columns |= {"lease": "fence", "leased_until": "until"}
        yield (
            rows,
            JobTable(
                "upload",
                view="shown",
                columns=columns,
                states=_STATES,
                order_by=lambda t: t.c.rank.desc(),
                record=Upload,
            ),
        )


@pytest.fixture
async def store(mapped, asynchronous, database_url):
    made = open_store(
        database_url, asynchronous=asynchronous, table=mapped[1], retry=RetryPolicy.constant(60)
    )
    await made.init()
    yield made
    await made.close()


async def test_a_view_is_chosen_from_and_the_table_is_held(store, mapped):
    rows, _ = mapped
    async with hold(store) as held:
        assert held.record == Upload(2, "busy", "upload 2")
        await execute(held, "INSERT INTO effect VALUES (1)")
        assert rows.row(2)["status"] == "busy"
    async with hold(store, where=lambda t: t.c.label == "upload 1") as held:
        assert held.record.id == 1
        await execute(held, "INSERT INTO effect VALUES (2)")
        raise control.Discard("no")
    async with hold(store) as held:
        assert held.claim.key == 3
    async with hold(store) as nothing:
        assert nothing is None, "4 is not in the view"
    assert {key: row["status"] for key, row in rows.all().items()} == {1: "bad", 2: "ok", 3: "ok", 4: "new"}
    assert rows.row(1)["note"] == "no"
    assert rows.rows("SELECT n FROM effect") == [{"n": 1}]


async def test_a_failure_waits_and_is_held_again(store, mapped):
    rows, _ = mapped
    with pytest.raises(ValueError, match="oops"):
        async with hold(store, where=lambda t: t.c.id == 2) as held:
            await execute(held, "UPDATE upload SET rank = 99 WHERE id = 1")
            raise ValueError("oops")
    row = rows.row(2)
    assert (row["status"], row["note"], row["due"] is not None) == ("wait", "ValueError: oops", True)
    assert rows.row(1)["rank"] == 1
    rows.execute("UPDATE upload SET due = NULL WHERE id = 2")
    await store.promote(2)
    async with hold(store) as again:
        assert again.claim.key == 2


async def test_the_row_may_be_ended_inside_in_a_word_that_the_mapping_does_not_know(store, mapped):
    rows, _ = mapped
    async with hold(store) as held:
        await execute(held, "UPDATE upload SET status = 'archived' WHERE id = 2")
    assert rows.row(2)["status"] == "archived"
    assert (held.outcome.done, held.outcome.state) == (False, None)
    assert not await store.complete(held.claim)


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_held_row_is_alive_however_old_its_lease(store, mapped, database_url):
    _, table = mapped
    leases, until = (
        ("upload", "until") if "lease" in table.columns else ("rowqueue_lease_upload", "leased_until")
    )
    with raw(database_url, leases) as beside:
        async with hold(store, lease=1) as held:
            (left,) = await store.claim()
            beside.execute(f"UPDATE {leases} SET {until} = now() - interval '1 hour' WHERE id = {left.key}")
            over = f"id = {held.claim.key} AND {until} < now()"
            await asyncio.to_thread(wait_until, lambda: beside.count(over), "the end of the lease")
            assert [one.key for one in await store.rescue()] == [left.key]
            assert not await store.complete(left)
        assert held.outcome.done


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_lost_row_is_rescued_and_its_work_undone(store, mapped, database_url):
    rows, table = mapped
    leases, until = (
        ("upload", "until") if "lease" in table.columns else ("rowqueue_lease_upload", "leased_until")
    )
    with pytest.raises(Exception, match="connection"):
        async with hold(store) as held:
            await execute(held, "INSERT INTO effect VALUES (1)")
            (pid,) = (await execute(held, "SELECT pg_backend_pid()")).one()
            rows.execute(f"SELECT pg_terminate_backend({pid}, 10000)")
    rows.execute(f"UPDATE {leases} SET {until} = now() - interval '1 hour' WHERE id = 2")
    assert [one.key for one in await store.rescue()] == [2]
    assert rows.rows("SELECT n FROM effect") == []
    async with hold(store) as again:
        assert again.claim.key == 2
