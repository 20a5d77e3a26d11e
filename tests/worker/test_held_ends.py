"""``claim="held"`` when it does not go well: stops, crashes, lost connections; and what a held row means to others."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from rowqueue import App, Context, RetryPolicy
from rowqueue.store import holding
from rowqueue.store.held import Holder
from rowqueue.store.held_transaction import HeldTransaction
from rowqueue.worker import events, holds
from rowqueue.worker.renewal import Renewal
from tests.support import nursery
from tests.support.waiting import wait_until
from tests.worker.harness import PATIENCE, Running, drain, raw_connection
from tests.worker.held_jobs import Effects, held


def blocking(way: str, go: threading.Event) -> Any:
    async def later() -> None:
        await asyncio.to_thread(go.wait, PATIENCE)

    return (lambda _: go.wait(PATIENCE)) if way == "def" else (lambda _: later())


def test_a_held_job_may_finish_within_the_grace_time(app: App, way: str, effects: Effects) -> None:
    go = threading.Event()
    job = held(app, way, blocking(way, go)).enqueue(1)
    with Running(app) as running:
        running.wait_for(events.Started)
        running.worker.stop()
        running.wait_for(events.WorkerStopping)
        go.set()
        assert running.join() == 0
    assert (running.row(job).state, effects()) == ("completed", [1])


def test_a_stop_undoes_and_gives_back_what_does_not_end(
    app: App, way: str, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, inside = threading.Event(), threading.Event()

    async def stubborn() -> None:
        inside.set()
        while not go.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    monkeypatch.setattr("rowqueue.worker.runtime.UNWIND", 0.1)

    def wait(_: Context) -> Any:
        if way != "def":
            return stubborn()
        inside.set()
        return go.wait(PATIENCE)

    job = held(app, way, wait).enqueue(1)
    running = Running(app, grace=0)
    running._thread.start()
    assert inside.wait(PATIENCE)
    running.worker.stop()
    assert running.join() == 1
    row = running.row(job)
    go.set()
    assert (row.state, row.attempt, row.failures, row.rescues, effects()) == ("available", 0, 0, 0, [])
    assert running.worker.counts[events.Released] == 1


def test_a_stop_ends_async_handlers_by_cancelling_them(app: App, effects: Effects) -> None:
    job = held(app, "async def", lambda _: asyncio.Event().wait()).enqueue(1)
    running = Running(app, grace=0)
    running._thread.start()
    running.wait_for(events.Started)
    running.worker.stop()
    assert running.join() == 0
    row = running.row(job)
    assert (row.state, row.attempt, effects()) == ("available", 0, [])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_on_sqlite_what_waits_for_its_turn_is_given_back(app: App, way: str, effects: Effects) -> None:
    go = threading.Event()
    jobs = held(app, way, blocking(way, go)).enqueue_many([(1,), (2,), (3,)])
    with Running(app, concurrency=3) as running:
        running.wait_for(events.Started)
        running.wait_for(events.Claimed, count=3)
        running.worker.stop(hard=False)
        running.wait_for(events.WorkerStopping)
        running.worker.stop(hard=True)
        running.wait_for(events.Released, count=1)
        go.set()
        running.join()
    rows = [running.row(job) for job in jobs]
    assert {row.state for row in rows[1:]} == {"available"}
    assert {row.attempt for row in rows[1:]} == {0}


@contextmanager
def worker_process(url: str, way: str) -> Iterator[nursery.Child]:
    """A worker that holds the one job."""
    with nursery.start("tests.worker.held_jobs", url, way, stdout=nursery.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def end_leases(url: str) -> None:
    past = "1" if url.startswith("sqlite") else "'2001-01-01'"
    with raw_connection(url) as connection:
        connection.execute(f"UPDATE rowqueue_job SET leased_until = {past}")


def test_after_kill_9_it_runs_again_when_the_short_lease_is_over(
    app: App, way: str, effects: Effects, database_url: str
) -> None:
    go = threading.Event()
    go.set()
    job = held(app, way, blocking(way, go)).enqueue(1)
    with worker_process(database_url, way) as process:
        process.kill()
        process.wait(PATIENCE)
    row = app.store.get(job.job.id)
    assert row is not None
    assert (row.state, effects()) == ("running", [])
    assert row.leased_until is not None
    assert row.attempted_at is not None
    assert (row.leased_until - row.attempted_at).total_seconds() < holding.LEASE + 3, "not the worker's hour"
    end_leases(database_url)
    with Running(app, renew=0.05) as running:
        running.wait_for(events.RescuedJob)
        running.wait_for(events.Completed)
    row = running.row(job)
    assert (row.attempt, row.rescues, effects()) == (2, 1, [1])


def test_each_crash_is_a_counted_rescue(database_url: str, effects: Effects) -> None:
    app = App(database_url, max_rescues=2)
    app.init()
    job = held(app, "def", lambda _: None).enqueue(1)
    for crash in range(1, 3):
        with worker_process(database_url, "def") as process:
            process.kill()
            process.wait(PATIENCE)
        end_leases(database_url)
        (rescued,) = app.store.rescue()
        assert rescued.state == ("available" if crash < 2 else "discarded")
    row = app.store.get(job.job.id)
    assert row is not None
    assert (row.rescues, row.failures, row.state, effects()) == (2, 0, "discarded", [])
    app.close()


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_live_held_row_is_not_renewed_and_not_rescued(
    app: App, way: str, effects: Effects, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setattr(holding, "LEASE", 1.0)
    go = threading.Event()
    job = held(app, way, blocking(way, go)).enqueue(1)
    rescued = []

    def over() -> bool:
        rescued.extend(app.store.rescue())
        with raw_connection(database_url) as other:
            until, is_over = other.execute(
                "SELECT leased_until, leased_until < now() FROM rowqueue_job"
            ).fetchone()
        leases.add(until)
        return bool(is_over)

    leases: set[Any] = set()
    with Running(app, lease=60, renew=0.05) as running:
        running.wait_for(events.Started)
        wait_until(over, "the end of the lease")
        app.store.rescue()
        go.set()
        running.wait_for(events.Completed)
    assert rescued == []
    assert len(leases) == 1
    assert running.row(job).rescues == 0


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_renewal_between_the_short_lease_and_the_lock_is_left_out(
    app: App, way: str, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a crash would be noticed after the worker's lease only, not after the short one."""
    shorten, renewed = HeldTransaction._shorten, Renewal._extend_all
    rounds = threading.Semaphore(0)

    def slow(self: HeldTransaction, lease: float) -> None:
        shorten(self, lease)
        for _ in range(2):  # the one on its way, and a whole one
            assert rounds.acquire(timeout=PATIENCE)

    def counted(self: Renewal) -> None:
        renewed(self)
        rounds.release()

    monkeypatch.setattr(HeldTransaction, "_shorten", slow)
    monkeypatch.setattr(Renewal, "_extend_all", counted)
    go = threading.Event()
    job = held(app, way, blocking(way, go)).enqueue(1)
    with Running(app, lease=3600, renew=0.05) as running:
        running.wait_for(events.Started)
        row = running.row(job)
        go.set()
        running.wait_for(events.Completed)
    assert row.leased_until is not None
    assert row.attempted_at is not None
    assert (row.leased_until - row.attempted_at).total_seconds() < 1800


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_lost_connection_is_a_crash_and_it_runs_again(
    app: App, way: str, effects: Effects, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "LEASE", 1.0)
    pid = sa.text("SELECT pg_backend_pid()")
    tries = []

    def terminate(number: int) -> None:
        with raw_connection(database_url) as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", [number])

    async def lose_async(context: Context) -> None:
        tries.append(context.attempt)
        if len(tries) == 1:
            await asyncio.to_thread(terminate, (await context.connection.execute(pid)).scalar_one())
            await context.connection.execute(pid)

    def lose(context: Context) -> Any:
        if way != "def":
            return lose_async(context)
        tries.append(context.attempt)
        if len(tries) == 1:
            terminate(context.connection.execute(pid).scalar_one())
            context.connection.execute(pid)
        return None

    job = held(app, way, lose).enqueue(1)
    with Running(app, renew=0.05, lease=2) as running:
        running.wait_for(events.CutOff)
        running.wait_for(events.Completed)
    row = running.row(job)
    assert (tries, row.attempt, row.rescues, row.failures, effects()) == ([1, 2], 2, 1, 0, [1])


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_one_connection_for_each_held_job(app: App, effects: Effects, database_url: str) -> None:
    go = asyncio.Event()
    app.store.close()
    held(app, "async def", lambda _: go.wait()).enqueue_many([(n,) for n in range(5)])
    app.store.close()

    def count() -> int:
        with raw_connection(database_url) as other:
            said = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            return int(other.execute(said).fetchone()[0])

    before = count()
    with Running(app, concurrency=5) as running:
        running.wait_for(events.Started, count=5)
        assert 5 < count() - before <= 5 + 4
        running.worker._runtime._loop.call_soon_threadsafe(go.set)  # type: ignore[union-attr]
        running.wait_for(events.Completed, count=5)


def test_a_job_that_cannot_be_held_is_given_back(
    app: App, effects: Effects, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(holds, "AGAIN", 0.05)
    connect, tries = Holder._connect, []

    def refuse(self: Holder) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise psycopg.OperationalError("sorry, too many clients already")
        return connect(self)

    monkeypatch.setattr(Holder, "_connect", refuse)
    job = held(app, "def", lambda _: None).enqueue(1)
    running = drain(app)
    row = running.row(job)
    assert (row.state, row.attempt, row.failures, row.rescues) == ("completed", 1, 0, 0)
    assert running.worker.counts[events.Released] == 2
    assert "is not held but given back: OperationalError: sorry" in caplog.text


def test_a_claim_that_was_lost_before_its_lock_is_not_worked(
    app: App, way: str, effects: Effects, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    original, tries = HeldTransaction.open, []

    def late(self: HeldTransaction, lease: float | None = None) -> bool:
        tries.append(1)
        if len(tries) == 1:  # a rescue of a process that stood still for longer than its lease
            with raw_connection(database_url) as other:
                other.execute(
                    "UPDATE rowqueue_job SET state = 'available', lease = lease + 1, leased_until = NULL"
                )
        return original(self, lease)

    monkeypatch.setattr(HeldTransaction, "open", late)
    job = held(app, way, lambda _: None, retry=RetryPolicy.constant(0)).enqueue(1)
    with Running(app) as running:
        running.wait_for(events.Completed)
    assert running.worker.counts[events.Refused] == 1
    assert (running.row(job).attempt, effects()) == (2, [1])
