"""Jobs claimed ahead of a free slot: in order, with their leases kept, and given back unworked."""

import threading
from collections import Counter
from typing import Self

from rowqueue import App, NewJob, State
from rowqueue.worker import Worker, events
from tests.support.waiting import wait_until
from tests.worker.harness import PATIENCE, Running, drain, steal


class Blocked:
    """A worker with one slot, whose first job blocks; those after it wait in the buffer."""

    def __init__(self, app: App, count: int, **options) -> None:
        self.app = app
        self.go = threading.Event()
        self.order: list[int] = []

        @app.job(kind="numbered")
        def handler(n: int) -> None:
            self.order.append(n)
            self.go.wait(PATIENCE)

        self.jobs = handler.enqueue_many([(n,) for n in range(count)])
        self.running = Running(app, concurrency=1, **{"prefetch": 3, **options})

    def __enter__(self) -> Self:
        self.running.__enter__()
        try:
            self.running.wait_for(events.Started)
            wait_until(lambda: self.count(State.RUNNING) == 4, "three jobs in the buffer")
            assert len(self.running.said(events.Started)) == 1
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self.running.__exit__()

    def count(self, state: State) -> int:
        return self.app.store.stats().total(state)


def test_so_many_jobs_are_claimed_ahead_and_run_in_order(app: App):
    with Blocked(app, 12) as blocked:
        assert blocked.count(State.AVAILABLE) == 8
        blocked.go.set()
        blocked.running.wait_for(events.Completed, count=12)
    assert blocked.order == list(range(12))


def test_a_graceful_stop_gives_back_what_waits_uncharged(app: App):
    with Blocked(app, 4) as blocked:
        blocked.running.worker.stop()
        blocked.running.wait_for(events.Released, count=3)
        blocked.go.set()
        assert blocked.running.join() == 0
    rows = [blocked.running.row(job) for job in blocked.jobs]
    assert [(row.state, row.attempt) for row in rows] == [(State.COMPLETED, 1)] + [(State.AVAILABLE, 0)] * 3
    assert blocked.order == [0]


def test_a_cancelled_job_in_the_buffer_never_starts(app: App):
    with Blocked(app, 4, renew=0.05) as blocked:
        assert app.store.cancel(blocked.jobs[2].job.id).done
        blocked.running.wait_for(events.Cancelled, blocked.jobs[2])
        blocked.go.set()
        blocked.running.wait_for(events.Completed, count=3)
    assert blocked.order == [0, 1, 3]
    assert blocked.running.row(blocked.jobs[2]).state is State.CANCELLED


def test_a_job_in_the_buffer_whose_lease_is_lost_is_dropped(app: App, database_url: str):
    with Blocked(app, 4, renew=0.05) as blocked:
        steal(app, database_url, blocked.jobs[1])
        blocked.running.wait_for(events.LeaseLost, blocked.jobs[1])
        blocked.go.set()
        blocked.running.wait_for(events.Completed, count=4)
    assert Counter(blocked.order) == Counter(range(4))
    assert len(blocked.running.said(events.Refused)) == 0


def test_leases_in_the_buffer_are_kept(app: App):
    with Blocked(app, 4, lease=1.0, renew=0.2) as blocked:
        first = blocked.running.row(blocked.jobs[3]).leased_until
        wait_until(lambda: blocked.running.row(blocked.jobs[3]).leased_until > first, "a renewal")
        assert app.store.rescue() == []
        blocked.go.set()
        blocked.running.wait_for(events.Completed, count=4)


def test_each_queue_keeps_to_its_slots_when_jobs_start(app: App):
    inside: Counter[str] = Counter()
    most: Counter[str] = Counter()
    lock = threading.Lock()

    @app.job(kind="g")
    def handler(queue: str) -> None:
        with lock:
            inside[queue] += 1
            most[queue] = max(most[queue], inside[queue])
        threading.Event().wait(0.002)
        with lock:
            inside[queue] -= 1

    for queue in ("narrow", "wide"):
        handler.options(queue=queue).enqueue_many([(queue,)] * 30)
    running = drain(app, queues={"narrow": 1, "wide": 3}, prefetch=20)
    assert most["narrow"] == 1
    assert most["wide"] <= 3
    assert len(running.said(events.Completed)) == 60


def test_a_buffer_full_of_jobs_that_cannot_start_is_worked_off(app: App):
    @app.job(kind="picky", max_attempts=1)
    def handler(n: int) -> None: ...

    app.store.enqueue_many([NewJob(kind="picky", args={"wrong": n}, max_attempts=1) for n in range(1500)])
    drain(app, concurrency=1, prefetch=1500)
    assert app.store.stats().total(State.DISCARDED) == 1500


def test_without_it_nothing_is_claimed_ahead(app: App):
    assert Worker(app, queues=["default"]).options.prefetch == 0
