"""olivere/jobqueue's Manager: topics, workers by rank, start and stop."""

import contextlib
import threading

import pytest

from rowqueue.core.errors import ConfigurationError
from rowqueue.profiles.olivere import (
    Job,
    Manager,
    StartupBehaviour,
)
from tests.profiles.olivere_bench import FAILED, SUCCEEDED, WAITING, WORKING, Bench
from tests.support.databases import URLS, url_of

pytestmark = pytest.mark.every_database


@pytest.fixture(params=list(URLS))
def database_url(request):
    """The original lives on MySQL and PostgreSQL."""
    return url_of(request)


@pytest.fixture
def bench(database_url):
    with contextlib.ExitStack() as stack:
        yield Bench(database_url, stack)


def test_defaults_and_registration(bench):
    manager = bench.manager()
    assert (manager.concurrency, manager.startup) == ({0: 5}, StartupBehaviour.NONE)
    manager.register("t", print)
    with pytest.raises(ConfigurationError, match="'t' is registered already"):
        manager.register("t", print)
    with pytest.raises(ConfigurationError, match="topic must have"):
        manager.add(Job())
    assert manager.add(Job(topic="anything")).state is WAITING  # a producer need not run it
    with pytest.raises(ConfigurationError, match="'other' is not registered"):
        Manager(bench.open(seed_answers=True)).add(Job(topic="other"))


def test_add_sets_what_the_original_sets(bench):
    job = bench.manager().add(Job(id="x", topic="t", state=FAILED, retry=3, priority=99, rank=2, completed=5))
    assert (job.state, job.retry, job.rank, job.completed) == (WAITING, 0, 2, 0)
    assert job.id != "x"
    assert -job.priority == job.created == job.updated


def test_a_manager_runs_jobs_to_success_and_failure(bench):
    manager = bench.manager()
    ran = []
    manager.register("greet", lambda *args: ran.append(args))
    manager.register("fail", lambda: 1 // 0)
    jobs = [manager.add(Job(topic="greet", args=("hello", 7))), manager.add(Job(topic="fail"))]
    run_until(manager, lambda: not manager.stats().waiting)
    assert [manager.lookup(job.id).state for job in jobs] == [SUCCEEDED, FAILED]
    assert ran == [("hello", 7)]
    assert manager.lookup_by_correlation_id("none") == []
    assert manager.list().total == 2


def run_until(manager, condition):
    """Start a manager, close it once a condition holds; closing waits for the jobs that run."""
    met = threading.Event()
    original = manager._ended

    def ended(future):
        original(future)
        if condition():
            met.set()

    manager._ended = ended
    manager.start()
    assert met.wait(20)
    manager.close()


def test_a_job_succeeds_after_a_retry(bench):
    manager = bench.manager()
    runs = []

    def flaky():
        runs.append(1)
        if len(runs) < 3:
            raise ValueError

    manager.register("flaky", flaky)
    job = manager.add(Job(topic="flaky", max_retry=5))
    run_until(manager, lambda: len(runs) == 3)
    assert (manager.lookup(job.id).state, manager.lookup(job.id).retry) == (SUCCEEDED, 2)


def test_a_topic_that_nobody_here_knows_is_left_to_who_does(bench):
    manager, other = bench.manager(), bench.manager()
    manager.register("known", lambda: None)
    other.register("unknown", lambda: None)
    unknown, known = manager.add(Job(topic="unknown", rank=0)), manager.add(Job(topic="known"))
    run_until(manager, lambda: True)
    assert manager.lookup(known.id).state is SUCCEEDED
    assert manager.lookup(unknown.id) == unknown
    run_until(other, lambda: True)
    assert manager.lookup(unknown.id).state is SUCCEEDED


def test_a_busy_rank_and_one_without_workers_block_no_other(bench):
    manager = bench.manager(concurrency={0: 2, 9: 1})
    running, go_on, fast = threading.Event(), threading.Event(), threading.Event()

    def slow():
        running.set()
        assert go_on.wait(20)

    manager.register("slow", slow)
    manager.register("fast", fast.set)
    slow_ones = [manager.add(Job(topic="slow", rank=9)) for _ in range(2)]
    orphan = manager.add(Job(topic="fast", rank=77))
    manager.start()
    assert running.wait(20)
    manager.add(Job(topic="fast"))
    assert fast.wait(20)  # though rank 9 is full, and rank 77 has no worker
    assert sorted(manager.lookup(job.id).state for job in slow_ones) == [WAITING, WORKING]
    go_on.set()
    manager.close()
    assert manager.lookup(orphan.id).state is WAITING


def test_closing_waits_may_time_out_and_can_be_done_twice(bench):
    manager = bench.manager()
    running, go_on = threading.Event(), threading.Event()

    def slow():
        running.set()
        assert go_on.wait(20)

    manager.register("slow", slow)
    job = manager.add(Job(topic="slow"))
    manager.close()  # not started
    manager.start()
    with pytest.raises(ConfigurationError, match="running already"):
        manager.start()
    assert running.wait(20)
    scheduler = manager._scheduler
    with pytest.raises(TimeoutError, match="leases are kept"):
        manager.close_with_timeout(0.01)
    manager.close()
    go_on.set()
    scheduler.join(20)
    assert manager.lookup(job.id).state is SUCCEEDED
    manager.start()
    manager.stop()


def test_a_manager_marks_what_was_left_behind_at_its_start(bench):
    bench.add()
    left = bench.store.next()
    bench.expire()
    manager = bench.manager(startup=StartupBehaviour.MARK_AS_FAILED)
    manager.start()
    manager.close()
    assert manager.lookup(left.id).state is FAILED
