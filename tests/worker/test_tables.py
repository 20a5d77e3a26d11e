"""Tables of users' worked in place by a worker: through an app, beside the default table, and by a store alone."""

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from rowqueue import (
    App,
    Cancel,
    ConfigurationError,
    Context,
    Discard,
    Retry,
    SchemaError,
    Skip,
    Snooze,
    Store,
)
from rowqueue.worker import Worker, events
from tests.mapping.shapes import Shape, made
from tests.worker.harness import Running, drain
from tests.worker.uploads import Upload, Uploads

pytestmark = pytest.mark.every_database

SHAPES = {
    "lease": Shape(),
    "claim time": Shape(fence="attempted_at", expiry="heartbeat_at", key="composite"),
    "sidecar": Shape(fence="none", expiry="none", key="text", optional=frozenset()),
    "view": Shape(view=True, key="uuid", retryable="errored"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_store_of_any_shape_is_worked_without_an_app(database_url: str, name: str) -> None:
    with made(database_url, SHAPES[name], rows=25) as there:
        seen: Counter[str] = Counter()

        def work(record: dict[str, Any]) -> None:
            seen[record["note"]] += 1
            if seen[record["note"]] == 1 and record["note"].endswith("7"):
                raise ValueError

        there_now = Running(there.store, handler=work, drain=True, concurrency=3)  # type: ignore[arg-type]
        there_now._run()
        words = Counter(row["state"] for row in there.rows().values())
        failed = there_now.worker.counts[events.Failed]
        assert there_now.exit_code == 0
        assert failed == 2
        if there.shape.has("scheduled_at"):  # the failed ones wait for their time
            assert words["completed"] == 23
            assert set(seen.values()) == {1}
        else:
            assert words == {"completed": 25}
            assert sorted(seen.values())[-3:] == [1, 2, 2]
        assert len(seen) == 25
        assert there.is_untouched()


def test_a_handler_gets_the_record_and_its_context(app: App, uploads: Uploads) -> None:
    uploads.add(10, 20)
    seen = []

    @app.job(table="uploads")
    def work(context: Context, upload: Upload) -> None:
        seen.append((context.job.id, context.job.kind, context.attempt, context.record, upload.size))

    drain(app)
    upload = Upload(1, 10, "busy")
    assert seen[0] == (1, "uploads", 1, upload, 10)
    assert uploads.column("state") == ["done", "done"]
    assert app.table_jobs["uploads"].kind == "uploads"


def test_async_handlers_run_in_the_loop(app: App, uploads: Uploads) -> None:
    uploads.add(*range(20))
    together, most = 0, 0

    @app.job(table="uploads")
    async def work(upload: Upload) -> None:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(0)
        together -= 1

    drain(app, tables={"uploads": 4})
    assert uploads.column("state") == ["done"] * 20
    assert 1 < most <= 4


def test_the_default_table_and_a_table_of_the_users_share_a_worker(app: App, uploads: Uploads) -> None:
    both = threading.Barrier(2, timeout=20)

    @app.job(kind="plain")
    def plain() -> None:
        both.wait()

    @app.job(table="uploads")
    def work(upload: Upload) -> None:
        both.wait()

    uploads.add(1)
    job = plain.enqueue()
    with Running(app, concurrency=1) as running:
        running.wait_for(events.Completed, count=2)
        assert running.said(events.WorkerStarted)[0].queues == {"default": 1, "uploads": 1}
    assert running.row(job).state == "completed"
    assert uploads.column("state") == ["done"]


def test_a_drain_waits_for_rows_that_other_jobs_add(app: App, uploads: Uploads) -> None:
    @app.job(kind="plain")
    def plain() -> None:
        uploads.add(1)

    @app.job(table="uploads")
    def work(upload: Upload) -> None:
        if upload.size < 3:
            uploads.add(upload.size + 1)

    plain.enqueue()
    drain(app, poll=20)  # nothing is found by polling
    assert uploads.column("size") == [1, 2, 3]
    assert uploads.column("state") == ["done"] * 3


ENDS: list[tuple[Exception, str, str | None, int]] = [
    (ValueError("wrong"), "bad", "ValueError: wrong", 3),
    (Retry(after=0), "bad", None, 3),
    (Discard("never"), "bad", "never", 1),
    (Cancel("not now"), "cancelled", "not now", 1),
    (Skip("no need"), "bad", "no need: ", 1),  # the table has no state for skipped, and says so
]


@pytest.mark.parametrize("error, state, message, starts", ENDS, ids=lambda value: type(value).__name__)
def test_how_handlers_end(
    app: App, uploads: Uploads, error: Exception, state: str, message: str | None, starts: int
) -> None:
    calls = 0

    @app.job(table="uploads")
    def work(upload: Upload) -> None:
        nonlocal calls
        calls += 1
        raise error

    uploads.add(1)
    drain(app)
    assert uploads.column("state") == [state]
    assert calls == starts
    if message is not None:
        assert message in uploads.column("message")[0]


def test_a_snoozed_row_runs_when_it_is_due(app: App, uploads: Uploads) -> None:
    attempts = []

    @app.job(table="uploads")
    def work(context: Context, upload: Upload) -> None:
        attempts.append(context.attempt)
        if len(attempts) == 1:
            raise Snooze(0.3)

    uploads.add(1)
    with Running(app, poll=60) as running:  # the due time wakes it, not the poll
        running.wait_for(events.Completed)
    assert attempts == [1, 1]


def test_the_table_is_looked_at_once_when_its_store_opens(
    app: App, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.job(table="uploads")(lambda upload: None)
    looked: list[Any] = []
    monkeypatch.setattr("rowqueue.store.base.layout_of", lambda *given: looked.append(given))
    uploads.add(1)
    drain(app)
    assert uploads.column("state") == ["done"]
    assert looked == []


def test_a_missing_sidecar_is_said_at_the_start(database_url: str) -> None:
    with made(database_url, SHAPES["sidecar"]) as there:
        with there.engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE rowqueue_lease_uploads"))
        with pytest.raises(SchemaError):
            Worker(there.store, lambda record: None, drain=True).run()


def test_what_does_not_fit_is_refused_when_it_is_made(app: App, uploads: Uploads, database_url: str) -> None:
    def refused(says: str) -> Any:
        return pytest.raises(ConfigurationError, match=says)

    with refused("no table 'other'"):
        app.job(table="other")(lambda record: None)
    with refused("must take"):
        app.job(table="uploads")(lambda: None)
    with refused("must take"):

        @app.job(table="uploads")
        def two(context: Context) -> None: ...

    with refused("takes timeout, retry, claim and before_claim"):
        app.job(table="uploads", queue="mail")  # type: ignore[call-overload]
    with refused("for tables of yours"):
        app.job(before_claim=lambda: None)  # type: ignore[call-overload]
    app.job(table="uploads")(lambda record: None)
    with refused("has a handler already"):
        app.job(table="uploads")(lambda record: None)
    with refused("has no handler"):
        Worker(app, tables=["other"])
    with refused("no queue to work"):
        Worker(app, tables=())
    with refused("needs a handler"):
        Worker(uploads.store)  # type: ignore[call-overload]
    with refused("no table of yours"):
        Worker(Store(database_url), lambda record: None)
    with refused("at most half of the lease"):
        Worker(app, renew=20)
