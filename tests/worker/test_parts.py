"""Parts of the worker on their own."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from rowqueue import App, NewJob
from rowqueue.worker.attempt import Held
from rowqueue.worker.events import Events
from rowqueue.worker.lane import BATCH, Lane
from rowqueue.worker.options import WorkerOptions
from rowqueue.worker.patience import LONGEST, Patience, backoff
from rowqueue.worker.slots import Slots
from rowqueue.worker.threads import Threads
from rowqueue.worker.upkeep import Upkeep
from rowqueue.worker.wake import Wake
from tests.worker.harness import PATIENCE


def nothing() -> None: ...


def test_slots_are_shared_evenly_and_never_exceed_the_total():
    slots = Slots({"a": 10, "b": 10, "c": 1}, 8, nothing)
    assert slots.free() == {"a": 3, "b": 3, "c": 1}
    slots.take("c")
    assert slots.free() == {"a": 4, "b": 3}
    for _ in range(6):
        slots.take("a")
    assert slots.free() == {"a": 1}
    slots.rotate(1)
    assert slots.free() == {"b": 1}
    slots.take("b")
    assert slots.free() == {}
    slots.give("a")
    assert (slots.left, slots.busy) == (1, 7)


def test_slots_of_one_queue_are_all_its_own():
    assert Slots({"a": 10}, 10, nothing).free() == {"a": 10}
    assert Slots({"a": 3}, 10, nothing).free() == {"a": 3}


def test_fewer_slots_may_be_asked_for_than_are_free():
    assert Slots({"a": 10, "b": 10}, 10, nothing).free(most=4) == {"a": 2, "b": 2}
    assert Slots({"a": 3}, 10, nothing).free(most=4) == {"a": 3}


async def test_a_look_that_was_sent_before_a_job_was_put_off_does_not_hide_it(app: App):
    ready = asyncio.Event()
    options = WorkerOptions(
        queues={"default": 1}, concurrency=1, lease=60.0, renew=20.0, poll=60.0, grace=1.0
    )
    upkeep = Upkeep(
        options,
        [],
        app.async_store,
        Patience(Events()),
        lambda _: ready.set(),
        Events(),
        lambda: True,
    )
    app.store.enqueue(NewJob(kind="k", delay=0.05))
    upkeep.ask()
    upkeep.due_is(3600.0)  # what was seen before
    promoting = [asyncio.ensure_future(loop) for loop in upkeep.loops()]
    await asyncio.wait_for(ready.wait(), PATIENCE)
    for task in promoting:
        task.cancel()
    await asyncio.gather(*promoting, return_exceptions=True)
    await app.aclose()


async def test_a_lane_writes_one_item_at_once_and_what_comes_meanwhile_together():
    batches: list[list[int]] = []
    begun, go = asyncio.Event(), asyncio.Event()
    written = asyncio.Event()

    async def write(batch: list[int]) -> None:
        batches.append(batch)
        begun.set()
        await go.wait()

    def on_written() -> None:
        if not len(lane):
            written.set()

    lane: Lane[int] = Lane(write, on_written)
    task = asyncio.create_task(lane.run())
    lane.add(0)
    await asyncio.wait_for(begun.wait(), PATIENCE)
    for n in range(1, BATCH + 3):
        lane.add(n)
    assert len(lane) == BATCH + 3
    go.set()
    await asyncio.wait_for(written.wait(), PATIENCE)
    assert [len(batch) for batch in batches] == [1, BATCH, 2]
    assert [n for batch in batches for n in batch] == list(range(BATCH + 3))
    task.cancel()


async def test_a_lane_goes_on_after_a_batch_that_raised(caplog):
    seen, done = asyncio.Event(), asyncio.Event()

    async def write(batch: list[str]) -> None:
        if batch == ["bad"]:
            raise ValueError
        seen.set()

    lane: Lane[str] = Lane(write, done.set)
    task = asyncio.create_task(lane.run())
    lane.add("bad")
    await asyncio.wait_for(done.wait(), PATIENCE)
    lane.add("good")
    await asyncio.wait_for(seen.wait(), PATIENCE)
    assert "a batch of 1 was lost" in caplog.text
    task.cancel()


async def test_a_wake_up_before_the_sleep_is_not_lost():
    wake = Wake()
    wake.up()
    await asyncio.wait_for(wake.sleep(), PATIENCE)
    await wake.sleep(0.001)


@pytest.mark.parametrize("tries", [1, 2, 5, 50, 100_000])
def test_backoff_grows_to_its_limit(tries):
    assert 0 < backoff(tries) <= LONGEST
    assert backoff(50) >= LONGEST / 2


def test_threads_are_started_when_needed_and_end():
    threads = Threads(2, "test-threads")
    done = threading.Semaphore(0)
    names: list[str] = []

    def call() -> None:
        names.append(threading.current_thread().name)
        done.release()

    for _ in range(5):
        threads.run(call)
    for _ in range(5):
        assert done.acquire(timeout=PATIENCE)
    assert set(names) <= {"test-threads-1", "test-threads-2"}
    threads.close()
    for thread in threading.enumerate():
        if thread.name.startswith("test-threads"):
            thread.join(PATIENCE)


def test_held_forgets_only_the_attempt_that_is_dropped():
    def attempt() -> Any:
        return SimpleNamespace(claim=SimpleNamespace(key=1))

    held = Held()
    old, new = attempt(), attempt()
    assert held.add([old]) == []
    assert held.add([new]) == [old]
    held.drop([old])
    assert held.now() == [new]
    held.drop([new])
    assert held.now() == []
