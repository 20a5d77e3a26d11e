"""A disk that is full for a while (reliability #17): enqueues are refused, nothing acknowledged is lost, work goes on."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rowqueue import App, RetryPolicy
from rowqueue.core.errors import StoreFull
from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from rowqueue.worker import events
from tests.checker import Event
from tests.faults.scene import scene
from tests.support.places import PlaceUnavailable, SmallDisk, small_disk
from tests.support.postgres import PrivatePostgres
from tests.support.waiting import wait_until
from tests.worker.harness import Running

NAME = "the disk is full and freed"
KB = 1024


def test_postgres_on_a_disk_that_is_full_for_a_while(
    new_private_postgres: Callable[..., PrivatePostgres], tmp_path: Path, publish: Any, long: bool
) -> None:
    try:
        with contextlib.ExitStack() as places:
            disk = places.enter_context(small_disk(128))
            server = new_private_postgres(directory=disk.path, max_wal_size="32MB", min_wal_size="32MB")
            places.callback(server.stop, "immediate")  # before its disk goes
            with scene(server.url, tmp_path, lease=20.0) as stage:
                stage.hire(1)
                producer = stage.produce(10**9, pause=0.02, pad=50 * KB)
                rounds = 10 if long else 1
                for _ in range(rounds):
                    wait_until(lambda: producer.answered > 100, "the first jobs")
                    full_and_freed(disk, server, lambda: producer.refused)
                producer.stopped.set()
                stage.drain()
                assert stage.stop() == [0]
                verdict = stage.judge()
                refused = [event for event in producer.history if event.answer == "fail"]
                producer.history = [
                    Event("enqueue", event.key) if event in refused else event for event in producer.history
                ]
                believed = stage.judge()
    except PlaceUnavailable as problem:
        publish.cannot_run("#17", f"{NAME} (PostgreSQL)", str(problem), promise=1)
    publish(
        "#17",
        NAME,
        f"{producer.answered} jobs acknowledged, {len(refused)} refused by StoreFull: violations "
        f"{len(verdict.faults())} ({verdict})",
        value=len(verdict.faults()),
        bound="violations = 0",
        promise=1,
        control=f"refusals taken for acknowledgements: lost {len(believed.report.lost)}",
        on="PostgreSQL",
    )
    assert refused
    assert believed.report.lost, "the control did not fail"


def full_and_freed(disk: SmallDisk, server: PrivatePostgres, refusals: Callable[[], int]) -> None:
    """Leave a little, wait until somebody is refused, and free it; a server that gave up is started again."""
    before = refusals()
    disk.fill(leave=2 * KB * KB)
    wait_until(lambda: refusals() > before or not server.running, "a refusal", 30)
    threading.Event().wait(0.5)  # so that workers meet it, too
    disk.relieve()
    if not server.running:
        server.stop()
        server.start()


def test_sqlite_on_a_disk_that_is_full_for_a_while(publish: Any, long: bool) -> None:
    rounds = 50 if long else 3
    try:
        with small_disk(8) as disk:
            came = sqlite_full_and_freed(disk, disk.path / "jobs.db", rounds)
    except PlaceUnavailable as problem:
        publish.cannot_run("#17", f"{NAME} (SQLite)", str(problem), promise=1)
    lost, phantom = len(came.acknowledged - came.completed), len(came.completed - came.acknowledged)
    publish(
        "#17",
        NAME,
        f"{rounds} times full, {len(came.acknowledged)} jobs acknowledged, {came.refused} refused by StoreFull: lost or "
        f"unfinished {lost}, phantom {phantom}, integrity_check {came.sound}; works again after {came.waited:.2f} s at most",
        value=lost + phantom + (came.sound != {"ok"}),
        bound="violations = 0",
        promise=1,
        control=f"refusals taken for acknowledgements: lost {len(came.acknowledged) + came.refused - len(came.completed)}",
        on=f"SQLite {sqlite3.sqlite_version}",
    )
    assert came.refused >= rounds
    assert came.waited < 3


@dataclass(slots=True)
class Came:
    """What came of it: the ids that were acknowledged, those that were completed; the longest wait afterwards (seconds)."""

    acknowledged: set[int] = field(default_factory=set)
    completed: set[int] = field(default_factory=set)
    sound: set[str] = field(default_factory=set)
    refused: int = 0
    waited: float = 0.0


def cleared(path: Path, came: Came) -> None:
    """Look into the file, and make it as small as at first, or every round would need more room than the last."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as file:
        came.sound |= {row[0] for row in file.execute("PRAGMA integrity_check")}
        query = "DELETE FROM rowqueue_job WHERE state = 'completed' RETURNING id"
        came.completed |= {row[0] for row in file.execute(query)}
        file.execute("VACUUM")
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def counts_open(queue: Any) -> int:
    """Jobs of a queue that are not completed."""
    return sum(count for state, count in queue.counts.items() if state != "completed")


def sqlite_full_and_freed(disk: SmallDisk, path: Path, rounds: int) -> Came:
    """Fill the disk so often under a worker."""
    app, came = App(f"sqlite:///{path}", retry=RetryPolicy.constant(0)), Came()
    app.init()
    go = threading.Event()

    @app.job(kind="k")
    def handler(pad: str = "") -> str:
        go.wait(20)
        return pad

    with Store(f"sqlite:///{path}") as store, Running(app, poll=0.2, concurrency=2) as running:
        for _ in range(rounds):
            go.clear()
            first = handler.enqueue("x" * 200 * KB)
            came.acknowledged.add(first.job.id)
            running.wait_for(events.Started, first)
            disk.fill(leave=100 * KB)
            with pytest.raises(StoreFull):
                while True:
                    came.acknowledged.add(store.enqueue(NewJob(kind="k", args={"pad": "x" * 30 * KB})).job.id)
            came.refused += 1
            go.set()
            before = len(running.said(events.Reconnecting))
            running.wait_for(
                events.Reconnecting, count=before + 1, such=lambda event: "StoreFull" in event.error
            )
            done = len(running.said(events.Completed))
            disk.relieve()
            began = time.monotonic()
            running.wait_for(events.Completed, count=done + 1)
            came.waited = max(came.waited, time.monotonic() - began)
            wait_until(lambda: not any(map(counts_open, store.stats().queues)), "all jobs")
            cleared(path, came)
    app.close()
    return came
