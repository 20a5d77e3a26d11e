"""Leases: kept while a handler runs, told to it when lost, and never written over."""

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from rowqueue import App, AsyncStore, Cancel, Context, State
from rowqueue.worker import events
from tests.support.waiting import wait_until
from tests.worker.harness import PATIENCE, Running, raw_connection, steal

pytestmark = pytest.mark.every_database


def test_a_handler_that_blocks_the_loop_longer_than_the_lease_keeps_it(app: App):
    release = threading.Event()

    @app.job(kind="blocks")
    async def blocks() -> str:
        assert release.wait(PATIENCE)  # on purpose: the loop stands still
        return "done"

    job = blocks.enqueue()

    def renewed() -> Any:
        assert app.store.rescue() == []
        row = running.row(job)
        assert row.state is State.RUNNING
        return row.leased_until

    with Running(app, lease=2, renew=0.1) as running:
        running.wait_for(events.Started, job)
        beyond = renewed() + timedelta(seconds=2.5)
        wait_until(lambda: renewed() > beyond, "more than the lease to pass")
        release.set()
        running.wait_for(events.Completed, job)
    assert (running.row(job).attempt, running.row(job).rescues) == (1, 0)


def test_a_healthy_job_that_runs_longer_than_its_lease_is_left_alone(app: App):
    release = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    @app.job(kind="long")
    async def long() -> str:
        loops.append(asyncio.get_running_loop())
        await release.wait()
        return "done"

    @app.job(kind="short")
    async def short() -> None: ...

    job = long.enqueue()
    with Running(app, lease=2, renew=0.1) as running:
        running.wait_for(events.Started, job)
        runs_until = running.row(job).created_at + timedelta(seconds=4.5)

        def beyond() -> bool:
            running.wait_for(events.Completed, short.enqueue())
            return (running.row(job).leased_until or runs_until) >= runs_until

        wait_until(beyond, "more than the lease to pass")
        loops[0].call_soon_threadsafe(release.set)
        running.wait_for(events.Completed, job)
    assert (
        running.said(events.Fenced) == running.said(events.LeaseLost) == running.said(events.RescuedJob) == []
    )


@pytest.mark.parametrize("flavour", ["async", "thread"])
def test_a_lost_lease_is_told_to_the_handler_and_nothing_is_written(
    app: App, database_url, flavour, monkeypatch
):
    seen: list[str] = []
    written: list[int] = []
    finish = AsyncStore.finish

    async def noted(self: AsyncStore, finishes: Any) -> Any:
        written.extend(each.claim.lease for each in finishes)
        return await finish(self, finishes)

    monkeypatch.setattr(AsyncStore, "finish", noted)
    again = threading.Event()

    @app.job(kind="async stolen")
    async def in_loop(context: Context) -> str:
        if context.attempt > 1:
            await asyncio.to_thread(again.wait, PATIENCE)
            return "second"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("told" if context.cancelled else "not told")
        return "first"

    @app.job(kind="stolen")
    def in_thread(context: Context) -> str:
        if context.attempt > 1:
            again.wait(PATIENCE)
            return "second"
        while not context.cancelled:
            time.sleep(0.005)
        seen.append("told")
        return "first"

    handler = in_loop if flavour == "async" else in_thread
    job = handler.enqueue()
    with Running(app, lease=5, renew=0.1) as running:
        running.wait_for(events.Started, job)
        steal(app, database_url, job)
        refused = running.wait_for(events.Refused, job)
        running.wait_for(events.Started, job, count=2)
        assert running.row(job).state is State.RUNNING
        again.set()
        running.wait_for(events.Completed, job)
    assert refused.reason == "lost"
    assert seen == ["told"]
    assert running.said(events.LeaseLost)[0].job.lease == 1
    assert written == [3]  # the rescue took lease 2
    row = running.row(job)
    assert (row.result, row.rescues, row.failures) == ("second", 1, 0)
    assert running.worker.counts[events.Refused] == 1


def test_a_handler_that_does_not_listen_has_its_stale_write_refused(app: App, database_url):
    go, again = threading.Event(), threading.Event()

    @app.job(kind="deaf")
    def handler(context: Context) -> str:
        (again if context.attempt > 1 else go).wait(PATIENCE)
        return f"attempt {context.attempt}"

    job = handler.enqueue()
    with Running(app, lease=30) as running:  # the first renewal is 10 s away: only the fence stands there
        running.wait_for(events.Started, job)
        app.store.pause("default")  # a new claim by the same worker would tell it, too
        steal(app, database_url, job)
        go.set()
        assert running.wait_for(events.Refused, job).reason == "lost"
        assert running.said(events.LeaseLost) == []
        app.store.resume("default")
        again.set()
        running.wait_for(events.Completed, job)
    assert running.row(job).result == "attempt 2"


def test_a_deleted_row_is_a_lost_lease(app: App, database_url):
    @app.job(kind="gone")
    async def handler() -> None:
        await asyncio.Event().wait()

    job = handler.enqueue()
    with Running(app, renew=0.1) as running:
        running.wait_for(events.Started, job)
        with raw_connection(database_url) as connection:
            connection.execute("DELETE FROM rowqueue_job")
        assert running.wait_for(events.LeaseLost, job).reason == "gone"
        running.wait_for(events.Refused, job)


@pytest.mark.parametrize("flavour", ["async", "thread"])
def test_a_lease_that_cannot_be_renewed_is_told_before_it_ends(app: App, database_url, flavour):
    """The table is locked for as long as it takes: no renewal, no finish, no rescue gets through."""
    told = threading.Event()

    @app.job(kind="async fenced")
    async def in_loop(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            told.set()

    @app.job(kind="fenced")
    def in_thread(context: Context) -> str:
        while not context.cancelled:
            time.sleep(0.005)
        told.set()
        raise RuntimeError("stopped")

    handler = in_loop if flavour == "async" else in_thread
    job = handler.enqueue()
    with Running(app, lease=3, renew=0.5) as running, raw_connection(database_url) as connection:
        running.wait_for(events.Started, job)
        if database_url.startswith("sqlite"):
            connection.execute("BEGIN IMMEDIATE")
        elif database_url.startswith("mariadb"):
            connection.execute("LOCK TABLES rowqueue_job WRITE")
        else:
            connection.execute("BEGIN")
            connection.execute("LOCK TABLE rowqueue_job IN ACCESS EXCLUSIVE MODE")
        locked = time.monotonic()
        assert told.wait(PATIENCE)
        assert time.monotonic() - locked < 3, "it was told after the end of its lease"
        running.wait_for(events.Fenced, job)
        running.worker.stop()  # so that it does not claim the job again
        connection.execute("UNLOCK TABLES" if database_url.startswith("mariadb") else "ROLLBACK")
        running.join()
    row = running.row(job)
    # Its release was written under the fence, or a rescue was faster: either way it is charged no failure.
    assert (row.state, row.failures) == (State.AVAILABLE, 0)


@pytest.mark.parametrize("flavour", ["async", "thread"])
def test_a_running_job_that_is_cancelled_is_told_and_ends_cancelled(app: App, flavour):

    @app.job(kind="async c")
    async def in_loop() -> None:
        await asyncio.Event().wait()

    @app.job(kind="c")
    def in_thread(context: Context) -> None:
        while not context.cancelled:
            time.sleep(0.005)
        raise ValueError("stopping in the middle")

    handler = in_loop if flavour == "async" else in_thread
    job = handler.enqueue()
    with Running(app, renew=0.1) as running:
        running.wait_for(events.Started, job)
        assert app.store.cancel(job.job.id)
        running.wait_for(events.CancelRequested, job)
        running.wait_for(events.Cancelled, job)
    row = running.row(job)
    assert row.state is State.CANCELLED
    assert row.errors[0].error == "cancelled while it ran, as somebody asked"


def test_a_job_that_completes_despite_a_cancel_request_is_completed(app: App):
    @app.job(kind="c")
    async def handler(context: Context) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert context.cancelled
        return "too late"

    job = handler.enqueue()
    with Running(app, renew=0.1) as running:
        running.wait_for(events.Started, job)
        app.store.cancel(job.job.id)
        running.wait_for(events.Completed, job)
    assert running.row(job).result == "too late"


@pytest.mark.parametrize("end", [ValueError("x"), Cancel("y")])
def test_a_cancel_request_that_nobody_saw_in_time_still_wins_over_a_failure(app: App, end):
    go = threading.Event()

    @app.job(kind="c")
    def handler() -> None:
        go.wait(PATIENCE)
        raise end

    job = handler.enqueue()
    with Running(app) as running:
        running.wait_for(events.Started, job)
        app.store.cancel(job.job.id)
        go.set()
        assert running.wait_for(events.Finished, job).state is State.CANCELLED


def test_the_worker_rescues_what_a_dead_worker_left(app: App):
    @app.job(kind="left")
    async def handler() -> None: ...

    job = handler.enqueue()
    assert app.store.claim(worker="the dead one", lease=1)
    with Running(app, lease=1, renew=0.1) as running:
        rescued = running.wait_for(events.RescuedJob).rescued
        running.wait_for(events.Completed, job)
    assert (rescued.key, rescued.worker) == (job.job.id, "the dead one")
    row = running.row(job)
    assert (row.attempt, row.rescues) == (2, 1)


def test_a_worker_says_that_it_lives_and_is_forgotten_when_it_stops(app: App):
    @app.job(kind="known", queue="mail")
    async def handler() -> None: ...

    with Running(app, queues={"mail": 3}, worker_id="me") as running:
        handler.enqueue()
        running.wait_for(events.Completed)
        running.wait_for(events.WorkerStarted)
        seen = []
        ends = time.monotonic() + PATIENCE
        while not seen and time.monotonic() < ends:
            seen = list(app.store.workers())
        (worker,) = seen
        assert (worker.id, worker.queues, worker.kinds) == ("me", {"mail": 3}, ("known",))
        assert app.store.list().jobs[0].attempted_by == "me"
    assert list(app.store.workers()) == []
