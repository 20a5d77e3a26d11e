"""Tables of users' worked in place by a worker: through an app, beside the default table, and by a store alone."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from rowqueue import (
    App,
    Cancel,
    Column,
    ConfigurationError,
    Context,
    Discard,
    JobTable,
    Retry,
    RetryPolicy,
    SchemaError,
    Skip,
    Snooze,
    Store,
)
from rowqueue.app.connections import SyncConnection
from rowqueue.worker import Worker, events
from tests.mapping.shapes import Shape, made
from tests.worker.harness import Running, drain

SHAPES = {
    "lease": Shape(),
    "claim time": Shape(fence="attempted_at", expiry="heartbeat_at", key="composite"),
    "sidecar": Shape(fence="none", expiry="none", key="text", optional=frozenset()),
    "view": Shape(view=True, key="uuid", retryable="errored"),
}


@dataclass
class Upload:
    id: int
    size: int
    state: str


class Uploads:
    """A table with a column for everything, made and read past the store."""

    def __init__(self, app: App, url: str) -> None:
        self.app = app
        self.engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
        moment = sa.DateTime(timezone=True) if url.startswith("postgresql") else sa.BigInteger()
        numbers = ("size", "lease", "attempt", "failures", "rescues", "snoozes")
        moments = ("leased_until", "scheduled_at", "finalized_at", "cancel_requested_at")
        self.table = sa.Table(
            "uploads",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("state", sa.Text, nullable=False),
            *(sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in numbers),
            *(sa.Column(name, moment) for name in moments),
            sa.Column("attempted_by", sa.Text),
            sa.Column("message", sa.Text),
        )
        self.table.metadata.create_all(self.engine)
        states = {"available": "queued", "running": "busy", "completed": "done", "discarded": "bad"}
        mapping = JobTable(
            "uploads",
            columns={"errors": Column("message", "message")},
            states={**states, "cancelled": "cancelled"},
            order_by=lambda t: t.c.id,
            record=lambda row: Upload(row["id"], row["size"], row["state"]),
        )
        self.store = app.table("uploads", mapping, retry=RetryPolicy.constant(0), max_failures=3)

    def add(self, *sizes: int) -> None:
        with self.engine.begin() as connection:
            for size in sizes:
                connection.execute(self.table.insert().values(state="queued", size=size))

    def column(self, name: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.scalars(sa.select(self.table.c[name]).order_by(self.table.c.id)))

    def set(self, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.update(self.table).values(**values))

    @property
    def past(self) -> Any:
        return sa.text("now() - interval '1 hour'" if self.engine.dialect.name == "postgresql" else "1")


@pytest.fixture
def uploads(app: App, database_url: str) -> Iterator[Uploads]:
    made = Uploads(app, database_url)
    yield made
    made.store.close()
    made.engine.dispose()


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
        finalized_at=sa.text("timestamp '2001-01-01'") if uploads.engine.dialect.name == "postgresql" else 1,
    )

    @app.job(table="uploads")
    def work(upload: Upload) -> None: ...

    @app.job(kind="plain")
    def plain() -> None: ...

    job = plain.enqueue()
    with Running(app) as running:
        running.wait_for(events.Completed, job)
    assert uploads.column("state") == ["done"]


def test_before_claim_adds_a_condition_that_follows_what_runs(app: App, uploads: Uploads) -> None:
    budget, running_now, most = 10, 0, 0
    lock = threading.Lock()

    def fits() -> Callable[[Any], Any]:
        with lock:
            left = budget - running_now
        return lambda t: t.c.size <= left

    @app.job(table="uploads", before_claim=fits)
    def work(upload: Upload) -> None:
        nonlocal running_now, most
        with lock:
            running_now += upload.size
            most = max(most, running_now)
        with lock:
            running_now -= upload.size

    uploads.add(6, 7, 8, 11)
    with Running(app, tables={"uploads": 1}, poll=60) as running:
        running.wait_for(events.Completed, count=3)
    assert uploads.column("state") == ["done", "done", "done", "queued"]
    assert most == 8


def test_a_table_with_a_budget_is_looked_at_again_when_a_row_ends(app: App, uploads: Uploads) -> None:
    go = threading.Event()

    @app.job(table="uploads", before_claim=lambda: None)
    def work(upload: Upload) -> None:
        go.wait(20)

    uploads.add(6)
    with Running(app, poll=60) as running:
        running.wait_for(events.Started)
        uploads.add(7)  # nobody tells the worker
        go.set()
        running.wait_for(events.Completed, count=2)


@pytest.mark.parametrize("awaited", [False, True])
def test_before_claim_skips_a_turn_and_a_drain_waits_for_it(
    app: App, uploads: Uploads, awaited: bool
) -> None:
    answers: list[Any] = [False, False, None]

    def answer() -> Any:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def later() -> Any:
        return answer()

    hook: Callable[[], Any | Awaitable[Any]] = later if awaited else answer

    @app.job(table="uploads", before_claim=hook)
    def work(upload: Upload) -> None:
        assert answers == [None]

    uploads.add(1)
    drain(app)
    assert uploads.column("state") == ["done"]


def test_a_hook_that_raises_is_asked_again(app: App, uploads: Uploads) -> None:
    tries = 0

    def hook() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError("no /proc")

    @app.job(table="uploads", before_claim=hook)
    def work(upload: Upload) -> None: ...

    uploads.add(1)
    running = drain(app)
    assert uploads.column("state") == ["done"]
    assert running.worker.counts[events.Reconnecting] == 2


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
