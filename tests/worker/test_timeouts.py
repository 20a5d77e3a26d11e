"""An attempt that runs longer than its timeout fails, whatever its handler then does."""

import asyncio
import threading
import time

import pytest

from rowqueue import App, Context, Skip, State
from rowqueue.worker import events
from tests.worker.harness import PATIENCE, Running, drain

SAID = "HandlerTimeout: ran longer than its timeout of 0.05 s"


def test_an_async_handler_is_cancelled_at_its_timeout(app: App):
    @app.job(kind="t", timeout=0.05, max_attempts=1)
    async def handler() -> None:
        await asyncio.Event().wait()

    job = handler.enqueue()
    running = drain(app)
    row = running.row(job)
    assert (row.state, row.failures, row.errors[0].error) == (State.DISCARDED, 1, SAID)
    assert running.said(events.TimedOut)[0].timeout == 0.05


def test_the_jobs_own_timeout_goes_before_its_kinds(app: App):
    @app.job(kind="t", timeout=3600, max_attempts=1)
    async def handler() -> None:
        await asyncio.Event().wait()

    job = handler.options(timeout=0.05).enqueue()
    assert drain(app).row(job).errors[0].error == SAID


def test_a_thread_is_flagged_at_its_timeout_keeps_its_slot_and_fails_when_it_returns(app: App):
    go = threading.Event()
    seen: list[tuple[bool, bool]] = []

    @app.job(kind="t", timeout=0.05, max_attempts=1)
    def handler(context: Context) -> str:
        before = context.cancelled
        assert context.deadline is not None
        assert 0 < context.deadline - time.monotonic() <= 0.05
        go.wait(PATIENCE)
        seen.append((before, context.cancelled))
        return "finished all the same"

    @app.job(kind="other")
    async def other() -> None: ...

    with Running(app, concurrency=1) as running:
        job = handler.enqueue()
        running.wait_for(events.TimedOut, job)
        waiting = other.enqueue()
        assert running.row(waiting).state is State.AVAILABLE
        assert running.row(job).state is State.RUNNING
        go.set()
        running.wait_for(events.Failed, job)
        running.wait_for(events.Completed, waiting)
    row = running.row(job)
    assert (row.state, row.result, row.errors[0].error) == (State.DISCARDED, None, SAID)
    assert seen == [(False, True)]


@pytest.mark.parametrize("end", ["returns", "raises", "skips"])
def test_what_a_handler_does_after_its_timeout(app: App, end):
    @app.job(kind="t", timeout=0.05, max_attempts=1)
    async def handler() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if end == "raises":
                raise OSError("closing failed") from None
            if end == "skips":
                raise Skip("given up") from None
        return "late"

    job = handler.enqueue()
    row = drain(app).row(job)
    if end == "skips":  # an instruction is followed
        assert row.state is State.SKIPPED
        return
    assert (row.state, row.errors[0].error) == (State.DISCARDED, SAID)
    assert ("closing failed" in row.errors[0].trace) is (end == "raises")


def test_a_handler_that_cancels_itself_has_failed(app: App):
    @app.job(kind="t", max_attempts=1)
    async def handler() -> None:
        raise asyncio.CancelledError

    job = handler.enqueue()
    row = drain(app).row(job)
    assert (row.state, row.errors[0].error) == (State.DISCARDED, "CancelledError")


def test_a_timeout_within_a_handler_is_its_own_business(app: App):
    @app.job(kind="t", timeout=PATIENCE)
    async def handler() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return "caught"
        return "no"

    job = handler.enqueue()
    assert drain(app).row(job).result == "caught"
