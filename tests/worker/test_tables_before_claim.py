"""``before_claim``: what may be claimed now, asked each time."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rowqueue import (
    App,
)
from rowqueue.worker import events
from tests.worker.harness import Running, drain
from tests.worker.uploads import Upload, Uploads


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
