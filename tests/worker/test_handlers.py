"""What handlers may do, and what becomes of their jobs."""

import asyncio
import contextvars
import copy
import logging
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

import rowqueue
from rowqueue import App, Context, NewJob, RetryPolicy, State
from rowqueue.worker import events
from tests.worker.harness import Running, drain


def test_async_handlers_run_in_the_loop_and_others_in_threads(app: App):
    where = {}

    @app.job(kind="a")
    async def in_loop(name: str) -> str:
        await asyncio.sleep(0)
        where[name] = (threading.get_ident(), asyncio.get_running_loop() is not None)
        return name.upper()

    @app.job(kind="b")
    def in_thread(name: str) -> dict[str, Any]:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        where[name] = (threading.get_ident(), False)
        return {"name": name, "tuple": (1, 2)}

    one, two = in_loop.enqueue("one"), in_thread.enqueue(name="two")
    running = drain(app)
    assert running.row(one).state is State.COMPLETED
    assert running.row(one).result == "ONE"
    assert running.row(two).result == {"name": "two", "tuple": [1, 2]}
    assert where["one"][0] == threading.get_ident() != where["two"][0]
    assert [
        type(event)
        for event in running.seen
        if isinstance(event, events.JobEvent) and event.job.id == one.job.id
    ] == [
        events.Claimed,
        events.Started,
        events.Completed,
    ]


def test_a_thread_handler_has_a_copy_of_the_context_variables(app: App):
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="untouched")

    @app.job(kind="v")
    def handler() -> str:
        before = variable.get()
        variable.set("mine")
        return before

    jobs = [handler.enqueue() for _ in range(3)]
    running = drain(app, concurrency=1)
    assert [running.row(job).result for job in jobs] == ["untouched"] * 3


@pytest.mark.parametrize("flavour", ["async", "thread"])
@pytest.mark.parametrize(
    "control, state, failures, attempt, error",
    [
        (rowqueue.Skip("nothing to do"), State.SKIPPED, 0, 1, "nothing to do"),
        (rowqueue.Cancel("not wanted"), State.CANCELLED, 0, 1, "not wanted"),
        (rowqueue.Discard("hopeless"), State.DISCARDED, 0, 1, "hopeless"),
        (rowqueue.Snooze(3600), State.SCHEDULED, 0, 0, None),
        (rowqueue.Retry(after=timedelta(hours=1), reason="later"), State.RETRYABLE, 1, 1, "later"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_control_exceptions(app: App, flavour, control, state, failures, attempt, error):

    @app.job(kind="async c")
    async def in_loop() -> None:
        raise control

    @app.job(kind="c")
    def in_thread() -> None:
        raise control

    handler = in_loop if flavour == "async" else in_thread
    job = handler.enqueue()
    row = drain(app).row(job)
    assert (row.state, row.failures, row.attempt) == (state, failures, attempt)
    assert [each.error for each in row.errors] == ([error] if error else [])
    assert all(not each.trace for each in row.errors)
    if state in {State.SCHEDULED, State.RETRYABLE}:
        assert row.attempted_at is not None
        assert 3500 < (row.scheduled_at - row.attempted_at).total_seconds() < 3700


@pytest.mark.parametrize(
    "error", [ValueError("bad\x00 \ud800 value"), SystemExit(3), KeyboardInterrupt(), StopIteration()]
)
@pytest.mark.parametrize("flavour", ["async", "thread"])
def test_anything_else_is_a_failed_attempt_with_its_traceback(app: App, flavour, error):
    def fails() -> None:
        raise copy.copy(error)

    @app.job(kind="async f", max_attempts=1)
    async def in_loop() -> None:
        fails()

    @app.job(kind="f", max_attempts=1)
    def in_thread() -> None:
        fails()

    handler = in_loop if flavour == "async" else in_thread
    job = handler.enqueue()
    running = drain(app)
    row = running.row(job)
    assert (row.state, row.failures) == (State.DISCARDED, 1)
    (entry,) = row.errors
    if not (
        isinstance(error, StopIteration) and flavour == "async"
    ):  # a coroutine turns that into a RuntimeError
        assert entry.error.startswith(type(error).__name__)
    assert "in fails" in entry.trace
    assert "execute.py" not in entry.trace
    assert running.said(events.Failed)[0].state is State.DISCARDED


def test_a_failing_job_is_retried_by_its_policy_until_it_is_discarded(app: App):
    @app.job(kind="r", max_attempts=3, retry=RetryPolicy.schedule([0.05, 0]))
    async def handler(context: Context) -> None:
        raise ValueError(f"attempt {context.attempt}")

    job = handler.enqueue()
    with Running(app, poll=30) as running:  # only exact wake-ups can make this fast
        running.wait_for(events.Failed, job, lambda event: event.state is State.DISCARDED)
    row = running.row(job)
    assert (row.state, row.attempt, row.failures) == (State.DISCARDED, 3, 3)
    assert [each.error for each in row.errors] == [f"ValueError: attempt {number}" for number in (1, 2, 3)]
    assert [event.state for event in running.said(events.Failed)] == [
        State.RETRYABLE,
        State.AVAILABLE,
        State.DISCARDED,
    ]


def test_a_policy_that_raises_does_not_keep_the_job_running(app: App):
    def broken(attempt: int) -> float:
        raise ZeroDivisionError

    @app.job(kind="p", retry=RetryPolicy.custom(broken))
    async def handler() -> None:
        raise ValueError("no")

    job = handler.enqueue()
    row = drain(app).row(job)
    assert row.state is State.RETRYABLE
    assert "its retry policy failed: ZeroDivisionError" in row.errors[0].error


def test_an_exception_whose_text_cannot_be_made_is_a_failed_attempt(app: App):
    class Nasty(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @app.job(kind="n", max_attempts=1)
    def handler() -> None:
        raise Nasty

    job = handler.enqueue()
    assert drain(app).row(job).state is State.DISCARDED


def test_an_unknown_kind_is_put_off_uncharged_and_warned_about_once(app: App, caplog):
    @app.job(kind="known")
    async def handler() -> None: ...

    jobs = app.store.enqueue_many([NewJob(kind="os.system", args={"command": "true"}) for _ in range(3)])
    known = handler.enqueue()
    with caplog.at_level(logging.WARNING, "rowqueue"):
        running = drain(app, concurrency=1)
    assert running.row(known).state is State.COMPLETED
    for job in jobs:
        row = running.row(job)
        assert (row.state, row.attempt, row.errors) == (State.SCHEDULED, 0, ())
        assert 55 < (row.scheduled_at - row.created_at).total_seconds() < 90
    (kind,) = app.store.stats().unclaimable
    assert (kind.kind, kind.count) == ("os.system", 3)
    assert sum("'os.system'" in record.message for record in caplog.records) == 1


def test_an_alias_runs_jobs_of_the_old_name(app: App):
    @app.job(kind="new", aliases=["old"])
    async def handler(x: int) -> int:
        return x

    (job,) = app.store.enqueue_many([NewJob(kind="old", args={"x": 7})])
    assert drain(app).row(job).result == 7


def test_arguments_that_do_not_decode_are_a_failed_attempt(app: App):
    called = []

    @app.job(kind="d", max_attempts=2)
    async def handler(x: int) -> None:
        called.append(x)

    (job,) = app.store.enqueue_many([NewJob(kind="d", args={"x": "secret"}, max_attempts=2)])
    row = drain(app).row(job)
    assert (row.state, row.failures, called) == (State.DISCARDED, 2, [])
    assert row.errors[0].error.startswith("InvalidArguments: d was stored with a 'x'")
    assert "secret" not in str(row.errors)


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    "value, stored",
    [(Point(3), {"x": 3}), ({1: 2}, {"1": 2}), ({3}, [3]), (0, 0), ("", ""), (False, False)],
)
def test_results_are_stored_as_json(app: App, value, stored):
    @app.job(kind="v")
    async def handler() -> Any:
        return value

    job = handler.enqueue()
    row = drain(app).row(job)
    assert row.result == stored
    assert type(row.result) is type(stored)


@pytest.mark.parametrize("value", [float("nan"), object(), "\ud800", "x" * 2_000_000, b"\xff", lambda: 1])
def test_a_result_that_cannot_be_stored_does_not_keep_the_job_from_completing(app: App, value, caplog):
    @app.job(kind="v")
    async def handler() -> Any:
        return value

    job = handler.enqueue()
    with caplog.at_level(logging.WARNING, "rowqueue"):
        running = drain(app)
    row = running.row(job)
    if type(value) is not bytes and value == value and type(value) is not float:  # noqa: PLR0124
        assert row.result is None
    assert (row.state, row.errors) == (State.COMPLETED, ())


def test_a_dropped_result_is_told(app: App, caplog):
    @app.job(kind="v")
    def handler() -> Any:
        return object()

    job = handler.enqueue()
    with caplog.at_level(logging.WARNING, "rowqueue"):
        running = drain(app)
    assert running.said(events.ResultDropped)[0].job.id == job.job.id
    assert any(f"id={job.job.id}" in record.message for record in caplog.records)


def test_text_that_the_database_refuses_is_written_without(app: App):
    @app.job(kind="v")
    def handler() -> Any:
        return {"nul": "\x00"}

    jobs = [handler.enqueue() for _ in range(2)]
    running = drain(app)
    assert [running.row(job).state for job in jobs] == [State.COMPLETED] * 2


def test_a_def_that_returns_a_coroutine_has_not_done_its_work(app: App):
    async def work() -> None: ...

    @app.job(kind="v", max_attempts=1)
    def handler() -> Any:
        return work()

    job = handler.enqueue()
    assert "make it async def" in drain(app).row(job).errors[0].error


def test_handlers_enqueue_log_and_show_progress(app: App):
    @app.job(kind="child")
    async def child(n: int) -> None: ...

    @app.job(kind="parent")
    def parent(context: Context) -> int:
        context.log({"step": 1})
        context.progress(0.5, "halfway")
        return child.enqueue(1).job.id

    @app.job(kind="async_parent")
    async def async_parent(context: Context) -> int:
        await context.log_async("step")
        await context.progress_async(1)
        return (await child.enqueue_async(2)).job.id

    job, other = parent.enqueue(), async_parent.enqueue()
    running = drain(app)
    row = running.row(job)
    assert row.progress is not None
    assert row.progress.message == "halfway"
    assert [entry.entry for entry in app.store.log(job.job.id)] == [{"step": 1}]
    for parent_row in (row, running.row(other)):
        child_row = app.store.get(parent_row.result)
        assert child_row is not None
        assert child_row.state is State.COMPLETED


def test_logs_name_the_job_and_never_its_arguments(app: App, caplog):
    @app.job(kind="quiet")
    async def handler(password: str) -> None: ...

    job = handler.enqueue("hunter2")
    with caplog.at_level(logging.DEBUG, "rowqueue"):
        drain(app)
    text = "\n".join(record.getMessage() + repr(vars(record)) for record in caplog.records)
    assert f"Completed kind=quiet queue=default id={job.job.id} attempt=1" in text
    assert "hunter2" not in text


def test_a_listener_that_raises_harms_nobody(app: App, caplog):
    @app.job(kind="v")
    async def handler() -> None: ...

    job = handler.enqueue()
    running = Running(app, drain=True)

    def broken(_event: events.Event) -> None:
        raise ValueError

    running.worker.on(broken, events.Completed)
    running._run()
    assert running.row(job).state is State.COMPLETED
    assert "a listener of Completed failed" in caplog.text
