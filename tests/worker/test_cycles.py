"""A worker that is started and stopped again and again leaves nothing behind."""

import asyncio
import gc
import os
import threading
import time
from types import ModuleType

import psutil
import pytest

from rowqueue import App
from rowqueue.worker import Worker, events
from tests.worker.harness import raw_connection

CYCLES = int(os.environ.get("ROWQUEUE_CYCLES", "100"))
KINDS = ("in the loop", "in a thread")

CONNECTIONS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}


def standing(app: App, url: str, foreign: set[threading.Thread]) -> dict[str, int]:
    """What this process has open, but for the threads of tests before this one."""
    app.close()  # the app's own connections are no worker's
    me = psutil.Process()
    path = url.removeprefix("sqlite:///")
    found = {
        "threads": sum(
            each.name.startswith("rowqueue") for each in threading.enumerate() if each not in foreign
        ),
        "children": len(me.children()),
        "descriptors": me.num_fds(),
        "files of the database": sum(each.path.startswith(path) for each in me.open_files()),
    }
    query = next((query for name, query in CONNECTIONS.items() if url.startswith(name)), None)
    if query is not None:
        with raw_connection(url) as connection:
            found["connections"] = connection.execute(query).fetchone()[0]
    return found


def settled(
    app: App, url: str, foreign: set[threading.Thread], expected: dict[str, int] | None = None
) -> dict[str, int]:
    """The same; a server takes a moment to see that a connection was closed."""
    ends = time.monotonic() + 10
    while (found := standing(app, url, foreign)) != expected and time.monotonic() < ends:
        if expected is None and not found.get("connections"):
            break
    return found


async def cycle(app: App, kinds: tuple[str, ...]) -> None:
    """Start a worker, let it run a job of each kind, and stop it."""
    worker = Worker(app, poll=0.05, concurrency=2)
    left = set(kinds)

    def stop_when_done(event: events.Event) -> None:
        if isinstance(event, events.Completed):
            left.discard(event.job.kind)
        if not left:
            worker.stop()

    worker.on(stop_when_done, events.WorkerStarted, events.Completed)
    for kind in kinds:
        app.jobs[kind].enqueue()
    assert await worker.run_async() == 0


@pytest.mark.slow
def test_nothing_is_left_after_many_cycles(yard: ModuleType, database_url: str, publish):
    app: App = yard.app

    @app.job(kind=KINDS[0])
    async def in_the_loop() -> None: ...

    @app.job(kind=KINDS[1])
    def in_a_thread() -> None: ...

    async def cycles(count: int) -> None:
        for number in range(count):
            await cycle(app, KINDS if number % 2 else ())
        await cycle(app, (*KINDS, yard.nothing.kind))  # a child, once: it takes half a second to start

    foreign = set(threading.enumerate())
    asyncio.run(cycles(2))
    gc.collect()  # what other tests of this process left to be collected is not to vanish in between
    before = settled(app, database_url, foreign)
    began = time.monotonic()
    asyncio.run(cycles(CYCLES))
    took = time.monotonic() - began
    after = settled(app, database_url, foreign, before)
    publish(
        "#33",
        "a worker is started and stopped again and again",
        f"{CYCLES} cycles, {1000 * took / CYCLES:.1f} ms each; before: {before}; after: {after}",
        value=sum(after.values()) - sum(before.values()),
        bound="left over = 0",
    )
    assert after == before
    assert before["threads"] == before["files of the database"] == before.get("connections", 0) == 0
    assert list(app.store.workers()) == []
