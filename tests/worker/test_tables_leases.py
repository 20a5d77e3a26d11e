"""Who has a row of a user's table: leases, rescues, timeouts, cancels, stops."""

import asyncio
import threading

import pytest
import sqlalchemy as sa

from rowqueue import (
    App,
    Context,
    RetryPolicy,
)
from rowqueue.app.connections import SyncConnection
from rowqueue.worker import events
from tests.worker.harness import Running, drain
from tests.worker.uploads import Upload, Uploads


def test_a_timeout_fails_the_attempt(app: App, uploads: Uploads) -> None:
    @app.job(table="uploads", timeout=0.05, retry=RetryPolicy.constant(3600))
    async def work(upload: Upload) -> None:
        await asyncio.Event().wait()

    uploads.add(1)
    drain(app)
    assert "ran longer than its timeout" in uploads.column("message")[0]
    assert uploads.column("state") == ["queued"]


def test_a_running_row_is_cancelled(app: App, uploads: Uploads) -> None:
    @app.job(table="uploads")
    async def work(upload: Upload) -> None:
        await asyncio.Event().wait()

    uploads.add(1)
    with Running(app, lease=2, renew=0.05) as running:
        running.wait_for(events.Started)
        assert uploads.store.cancel(1)
        running.wait_for(events.Cancelled)
    assert uploads.column("state") == ["cancelled"]


def test_leases_are_renewed(app: App, uploads: Uploads) -> None:
    go = threading.Event()

    @app.job(table="uploads")
    def work(upload: Upload) -> None:
        go.wait(20)

    uploads.add(1)
    with Running(app, lease=2, renew=0.05) as running:
        running.wait_for(events.Started)
        first = uploads.column("leased_until")
        while uploads.column("leased_until") == first:
            assert not go.wait(0.02)
        go.set()
        running.wait_for(events.Completed)
    assert uploads.column("rescues") == [0]


def test_a_dead_workers_row_is_rescued_and_a_stale_write_refused(app: App, uploads: Uploads) -> None:
    go, starts = threading.Event(), []

    @app.job(table="uploads")
    def work(context: Context, upload: Upload) -> None:
        starts.append(context.job.lease)
        if len(starts) == 1:
            go.wait(20)

    uploads.add(1)
    with Running(app, tables={"uploads": 1}, lease=600, renew=60) as running:
        running.wait_for(events.Started)
        uploads.set(leased_until=uploads.past)
        with Running(app, renew=0.05) as other:
            other.wait_for(events.Completed)
        go.set()
        running.wait_for(events.Refused)
    assert uploads.column("rescues") == [1]
    assert uploads.column("state") == ["done"]
    assert starts[0] < starts[1]


@pytest.mark.parametrize("commits", [True, False])
def test_complete_in_commits_with_the_work(app: App, uploads: Uploads, commits: bool) -> None:
    @app.job(table="uploads")
    def work(context: Context, upload: Upload) -> None:
        with uploads.engine.connect() as connection:
            done: SyncConnection = connection
            connection.execute(sa.update(uploads.table).values(size=99))
            context.complete_in(done)
            if commits:
                connection.commit()

    uploads.add(1)
    drain(app)
    assert uploads.column("size") == [99 if commits else 1]
    assert uploads.column("state") == ["done" if commits else "bad"]
    assert uploads.column("failures") == [0 if commits else 3]


def test_a_stop_gives_back_what_does_not_end(app: App, uploads: Uploads) -> None:
    go = threading.Event()

    @app.job(table="uploads")
    def work(upload: Upload) -> None:
        go.wait(20)

    uploads.add(1)
    running = Running(app, grace=0)
    running._thread.start()
    running.wait_for(events.Started)
    running.worker.stop()
    assert running.join() == 1
    go.set()
    assert uploads.column("state") == ["queued"]
    assert uploads.column("attempt") == [0]


def test_old_rows_of_a_users_table_are_never_deleted(app: App, uploads: Uploads) -> None:
    uploads.add(1)
    uploads.set(
        state="done",
        finalized_at=sa.text("timestamp '2001-01-01 00:00:00'")
        if uploads.engine.dialect.name != "sqlite"
        else 1,
    )

    @app.job(table="uploads")
    def work(upload: Upload) -> None: ...

    @app.job(kind="plain")
    def plain() -> None: ...

    job = plain.enqueue()
    with Running(app) as running:
        running.wait_for(events.Completed, job)
    assert uploads.column("state") == ["done"]
