"""How much is claimed, in which order, and when."""

import asyncio
import threading
import time
from collections import Counter

import pytest

import rowqueue
from rowqueue import App, ConfigurationError, NewJob, State
from rowqueue.worker import Worker, events
from rowqueue.worker.options import checked_options
from tests.worker.harness import PATIENCE, Running, drain

pytestmark = pytest.mark.every_database


class Gauge:
    """How many are inside at once, and the most that ever were."""

    def __init__(self) -> None:
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, name: str) -> None:
        with self._lock:
            for key in (name, "all"):
                self.inside[key] += 1
                self.most[key] = max(self.most[key], self.inside[key])

    def leave(self, name: str) -> None:
        with self._lock:
            for key in (name, "all"):
                self.inside[key] -= 1


def test_no_more_than_its_number_of_each_queue_runs_at_once(app: App):
    gauge = Gauge()
    full = threading.Barrier(5)

    @app.job(kind="g")
    def handler(queue: str, meets: bool) -> None:
        gauge.enter(queue)
        if meets:
            full.wait(PATIENCE)  # all of both queues' slots are taken at this moment
        gauge.leave(queue)

    for queue, slots in (("narrow", 2), ("wide", 3)):
        handler.options(queue=queue).enqueue_many([(queue, index < slots) for index in range(12)])
    running = drain(app, queues={"narrow": 2, "wide": 3})
    assert gauge.most == {"narrow": 2, "wide": 3, "all": 5}
    assert len(running.said(events.Completed)) == 24


def test_all_queues_together_keep_to_the_concurrency_and_none_starves(app: App):
    gauge = Gauge()
    order: list[str] = []

    @app.job(kind="g")
    async def handler(queue: str) -> None:
        gauge.enter(queue)
        order.append(queue)
        await asyncio.sleep(0)
        gauge.leave(queue)

    for queue in ("a", "b"):
        handler.options(queue=queue).enqueue_many([(queue,)] * 20)
    drain(app, queues=["a", "b"], concurrency=3)
    assert gauge.most["all"] == 3
    assert order.index("b") < 10, "the first queue took every slot"


def test_claimed_jobs_never_exceed_what_can_start(app: App):
    """No prefetch: what is claimed starts at once, so no lease runs while a job waits for a slot."""
    go = threading.Event()

    @app.job(kind="g")
    def handler() -> None:
        go.wait(PATIENCE)

    handler.enqueue_many([()] * 6)
    with Running(app, concurrency=2) as running:
        running.wait_for(events.Started, count=2)
        stats = app.store.stats()
        assert (stats.total(State.RUNNING), stats.total(State.AVAILABLE)) == (2, 4)
        go.set()
        running.wait_for(events.Completed, count=6)


def test_a_queue_that_is_full_leaves_the_other_slots_to_others(app: App):
    go = threading.Event()

    @app.job(kind="narrow", queue="narrow")
    def narrow() -> None:
        go.wait(PATIENCE)

    @app.job(kind="wide", queue="wide")
    async def wide() -> None: ...

    narrow.enqueue_many([()] * 6)
    with Running(app, queues={"narrow": 2, "wide": 10}, concurrency=10) as running:
        running.wait_for(events.Started, count=2)
        for _ in range(3):
            running.wait_for(events.Completed, wide.enqueue())
        counts = {queue.queue: queue.counts for queue in app.store.stats().queues}
        assert counts["narrow"] == {State.RUNNING: 2, State.AVAILABLE: 4}
        go.set()
        running.wait_for(events.Completed, count=9)


def test_priority_order_with_one_slot(app: App):
    order: list[int] = []

    @app.job(kind="p")
    async def handler(priority: int) -> None:
        order.append(priority)

    for priority in (3, 1, 4, 2, 1):
        handler.options(priority=priority).enqueue(priority)
    drain(app, concurrency=1)
    assert order == [1, 1, 2, 3, 4]


def test_a_slot_that_gets_free_is_filled_at_once_however_long_the_poll(app: App):
    @app.job(kind="q")
    async def handler() -> None: ...

    handler.enqueue_many([()] * 7)
    with Running(app, concurrency=2, poll=3600) as running:
        running.wait_for(events.Completed, count=7)


def test_a_job_that_is_due_later_runs_when_it_is_due_however_long_the_poll(app: App):
    @app.job(kind="q")
    async def handler() -> None: ...

    job = handler.options(delay=0.3).enqueue()
    with Running(app, poll=3600) as running:
        running.wait_for(events.Completed, job)
    row = running.row(job)
    assert row.attempted_at is not None
    assert row.attempted_at >= row.scheduled_at
    snoozed = None

    @app.job(kind="z")
    async def snoozes(context: rowqueue.Context) -> None:
        if not context.job.snoozes:
            raise rowqueue.Snooze(0.1)

    snoozed = snoozes.enqueue()
    with Running(app, poll=3600) as running:
        running.wait_for(events.Completed, snoozed)


def test_new_jobs_are_found_by_polling(app: App):
    @app.job(kind="q")
    async def handler() -> None: ...

    with Running(app, poll=0.02) as running:
        for _ in range(3):
            running.wait_for(events.Completed, handler.enqueue())


def test_only_its_own_queues_and_none_that_are_paused(app: App):
    @app.job(kind="q", queue="mine")
    async def handler() -> None: ...

    mine, other = handler.enqueue(), handler.options(queue="other").enqueue()
    app.store.pause("mine")
    running = drain(app)
    assert {running.row(each).state for each in (mine, other)} == {State.AVAILABLE}
    app.store.resume("mine")
    drain(app)
    assert (running.row(mine).state, running.row(other).state) == (State.COMPLETED, State.AVAILABLE)


def test_draining_runs_what_is_due_and_what_that_makes_but_not_what_is_due_later(app: App):
    @app.job(kind="chain")
    async def chain(left: int) -> None:
        if left:
            await chain.enqueue_async(left - 1)

    @app.job(kind="fails", max_attempts=3)
    async def fails() -> None:
        raise ValueError

    chain.enqueue(3)
    failing = fails.enqueue()
    (due,) = app.store.enqueue_many([NewJob(kind="chain", args={"left": 0}, delay=0.01)])
    later = chain.options(delay=3600).enqueue(0)
    while (app.store.next_due() or 0) > 0:
        time.sleep(0.001)
    running = drain(app)
    assert running.row(due).state is State.COMPLETED
    assert running.row(failing).state is State.DISCARDED
    assert running.row(later).state is State.SCHEDULED
    assert app.store.stats().total(State.COMPLETED) == 5


def test_many_jobs_each_run_once(app: App):
    runs: Counter[int] = Counter()

    @app.job(kind="m")
    async def handler(n: int) -> None:
        runs[n] += 1

    handler.enqueue_many([(n,) for n in range(3000)])
    running = drain(app, concurrency=100)
    assert set(runs.values()) == {1}
    assert len(runs) == 3000
    assert running.worker.counts[events.Completed] == 3000


@pytest.mark.parametrize(
    "options, message",
    [
        ({"queues": "mail"}, "queues must be names"),
        ({"queues": {"mail": 0}}, "from 1 to"),
        ({"queues": []}, "no queue to work"),
        ({"concurrency": 0}, "concurrency must be a whole number"),
        ({"concurrency": True}, "concurrency must be a whole number"),
        ({"lease": 0.5}, "lease must be at least 1 s"),
        ({"renew": 20}, "at most half of the lease"),
        ({"poll": 0}, "poll must be at least"),
        ({"grace": -1}, "grace must be at least 0"),
        ({"worker_id": ""}, "worker_id must have"),
    ],
)
def test_wrong_options_are_refused_when_the_worker_is_made(sqlite_url, options, message):
    app = App(sqlite_url)

    @app.job(kind="q")
    async def handler() -> None: ...

    with pytest.raises(ConfigurationError, match=message):
        Worker(app, **options)


def test_an_app_without_jobs_has_nothing_to_work(sqlite_url):
    with pytest.raises(ConfigurationError, match=r"register a job with @app\.job"):
        Worker(App(sqlite_url))


def test_what_options_default_to():
    given = {"lease": 30, "renew": None, "poll": 1, "grace": 30, "worker_id": None, "drain": False}
    options = checked_options(["b", "a", "b"], queues=None, concurrency=None, **given)
    assert (options.queues, options.concurrency, options.renew) == ({"a": 10, "b": 10}, 10, 10)
    options = checked_options([], queues={"mail": 20, "x": 2}, concurrency=None, **given)
    assert options.concurrency == 22
    assert options.worker_id != checked_options(["a"], queues=None, concurrency=None, **given).worker_id
