"""olivere/jobqueue's rules on its own table, in its own words, on SQLite and PostgreSQL."""

import contextlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from rowqueue.core.errors import ConfigurationError, InvalidArguments, UniqueConflict
from rowqueue.core.states import State
from rowqueue.profiles.olivere import (
    ErrNotFound,
    Job,
    ListRequest,
    StartupBehaviour,
    Stats,
    Store,
    exponential_backoff,
)
from rowqueue.profiles.olivere.table import jobs_table
from rowqueue.store.database import driver_dialect
from tests.profiles.olivere_bench import FAILED, SECOND, SUCCEEDED, WAITING, WORKING, Bench
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


# the table and its jobs


def test_a_job_comes_back_field_for_field(bench):
    job = Job(
        id="0b5e2f9c-8f1c-4c38-9d3a-000000000001",
        topic="greet",
        args=("hello", 2**53 + 1, 1.5, None, [True], {"ä": "😀"}),
        rank=-3,
        priority=-17,
        retry=2,
        max_retry=5,
        correlation_group="g",
        correlation_id="c",
        created=1_600_000_000_123_456_789,
    )
    created = bench.store.create(job)
    assert created == replace(job, updated=job.created)
    assert bench.store.lookup(job.id) == created
    with pytest.raises(UniqueConflict):
        bench.store.create(job)
    with pytest.raises(InvalidArguments, match="topic 'greet' are no JSON"):
        bench.store.create(Job(topic="greet", args=({1, 2},)))
    with pytest.raises(ErrNotFound, match="no job nope"):
        bench.store.lookup("nope")


def test_the_original_can_read_every_number(bench):
    for fields in ({}, {"max_retry": 1}):
        bench.add(**fields)
    bench.add("left")
    succeeded, retried = bench.store.claim(limit=2)
    assert bench.store.succeed(succeeded)
    assert bench.store.fail(retried, "no")
    numbers = ("rank", "priority", "retry", "max_retry", "created", "started", "completed", "last_mod")
    for row in bench.rows.rows("SELECT * FROM jobqueue_jobs"):
        assert all(isinstance(row[name], int) for name in numbers)  # Go cannot read NULL into an int64


@pytest.mark.parametrize("name", ["mysql", "postgresql", "sqlite"])
def test_the_table_is_worded_for_every_database(name):
    ddl = str(CreateTable(jobs_table()).compile(dialect=driver_dialect(name)))
    assert ("`rank`" if name == "mysql" else '"rank"') in ddl  # reserved since MySQL 8


def test_a_table_that_is_missing_is_named(database_url):
    with pytest.raises(ConfigurationError, match="no table or view 'jobqueue_jobs'"):
        Store(database_url)


# Next: rank, then priority


def test_next_takes_the_highest_rank_and_in_it_the_oldest(bench):
    jobs = [bench.add(rank=rank) for rank in (0, 5, 0, 5, -1)]
    order = []
    while job := bench.store.next():
        order.append(job.id)
    assert order == [jobs[index].id for index in (1, 3, 0, 2, 4)]


def test_next_claims_and_is_none_when_idle(bench):
    added = bench.add()
    job = bench.store.next()
    assert (job.id, job.state) == (added.id, WORKING)
    assert job.started > 0
    assert job.updated == bench.store.lookup(job.id).updated > added.updated
    assert bench.store.next() is None


def test_each_job_is_claimed_once_by_eight(bench):
    for _ in range(400):
        bench.add()
    stores = [bench.open() for _ in range(8)]

    def drain(store):
        claimed = []
        while jobs := store.claim({0: 7}):
            claimed += [job.id for job in jobs]
        return claimed

    with ThreadPoolExecutor(8) as threads:
        counted = Counter(id for ids in threads.map(drain, stores) for id in ids)
    assert len(counted) == 400
    assert set(counted.values()) == {1}


def test_a_budget_for_each_rank_so_that_none_blocks_another(bench):
    for rank in (9, 9, 9, 0, 0, 1):
        bench.add(rank=rank)
    claimed = bench.store.claim({9: 1, 0: 5, 1: 0})
    assert [job.rank for job in claimed] == [9, 0, 0]
    assert bench.store.claim({9: 0, 1: 0, 7: 3}) == []
    assert [job.rank for job in bench.store.claim({1: 1})] == [1]


# success, failure, retry


def test_success(bench):
    bench.add()
    job = bench.store.next()
    assert bench.store.succeed(job)
    done = bench.store.lookup(job.id)
    assert (done.state, done.retry) == (SUCCEEDED, 0)
    assert done.completed >= done.started > 0
    assert (
        done.updated > job.updated
    )  # or another manager, which compares it, would take the job for unchanged
    again = bench.store.succeed(job)
    assert (bool(again), again.reason) == (False, "wrong_state")


def test_failure_without_retries(bench):
    bench.add()
    assert bench.store.fail(bench.store.next(), ValueError("no"))
    (failed,) = bench.store.list(ListRequest(state="failed")).jobs
    assert failed.retry == 0
    assert failed.updated >= failed.completed > 0
    assert bench.store.next() is None


def test_a_job_runs_once_more_than_its_retries(bench):
    store = bench.open(backoff=lambda _retry: 0.0)
    id = bench.add(max_retry=2).id
    retries = []
    while job := store.next():
        retries.append(job.retry)
        assert store.fail(job, "no")
    assert retries == [0, 1, 2]
    assert (store.lookup(id).state, store.lookup(id).retry) == (FAILED, 2)


def test_the_default_backoff():
    assert [exponential_backoff(retry) for retry in range(6)] == [0, 0.01, 0.1, 1, 10, 100]
    assert exponential_backoff(400) == 86_400


def test_a_backoff_really_delays(bench):
    store = bench.open(backoff=lambda retry: 3600.0 if retry == 0 else 60.0)
    bench.add(max_retry=5)
    before = store.next()
    assert store.fail(before, "no")
    waiting = store.lookup(before.id)
    assert (waiting.state, waiting.retry, waiting.completed) == (WAITING, 1, 0)
    assert -waiting.priority == pytest.approx(before.started + 3600 * SECOND, abs=60 * SECOND)
    assert store.next() is None
    bench.pass_time(3601)
    assert store.fail(store.next(), "no")
    assert store.next() is None
    bench.pass_time(61)
    assert store.next().retry == 2


def test_a_priority_of_ones_own_is_kept_and_counts(bench):
    low, high = bench.add(due_now=False, priority=3), bench.add(due_now=False, priority=7)
    assert [bench.store.next().id for _ in range(2)] == [high.id, low.id]
    assert bench.store.lookup(low.id).priority == 3


# fence and crashes


def test_a_worker_that_lost_its_job_cannot_write_it(bench):
    bench.add(max_retry=9)
    old = bench.store.next()
    bench.expire()
    assert bench.store.rescue() == [old.id]
    new = bench.store.next()
    for verb in (bench.store.succeed, bench.store.release, lambda job: bench.store.fail(job, "late")):
        assert verb(old).reason == "lost"
    assert [outcome.reason for outcome in bench.store.extend([old, new])] == ["lost", None]
    assert bench.store.lookup(new.id) == replace(new, claim=None)
    with pytest.raises(ErrNotFound):
        bench.store.update(replace(new, state=SUCCEEDED, claim=old.claim))
    assert bench.store.succeed(new)


def test_a_job_that_crashes_its_workers_ends_failed_and_stays_so(bench):
    id = bench.add(max_retry=2).id
    for retry in range(3):
        assert bench.store.next().retry == retry
        bench.expire()
        assert bench.store.rescue() == [id]
    assert bench.store.lookup(id).state is FAILED
    assert bench.store.lookup(id).completed > 0
    assert bench.store.next() is None
    assert bench.store.rescue() == []


def test_a_living_lease_is_not_rescued_and_a_jobs_own_program_keeps_its_rows(bench):
    bench.add()
    bench.add()
    assert bench.store.next()
    bench.rows.execute(
        "UPDATE jobqueue_jobs SET state = 'working' WHERE state = 'waiting'"
    )  # the original's claim
    assert bench.store.rescue() == []
    assert bench.store.stats() == Stats(working=2)


# Start


@pytest.mark.parametrize("seed", [False, True])
def test_mark_as_failed_spares_the_living_unless_the_seeds_answer_is_asked_for(bench, seed):
    dead, alive = bench.add(), bench.add()
    assert bench.store.next().id == dead.id
    bench.expire()
    assert bench.store.next().id == alive.id
    other = bench.open(seed_answers=seed)
    assert other.start() == 0
    assert other.start(StartupBehaviour.NONE) == 0
    assert other.start(StartupBehaviour.MARK_AS_FAILED) == (2 if seed else 1)
    assert bench.store.lookup(dead.id).state is FAILED
    assert bench.store.lookup(dead.id).completed > 0
    assert bench.store.lookup(alive.id).state is (FAILED if seed else WORKING)


# Update and Delete


def test_update_writes_what_nobody_changed_meanwhile(bench):
    job = bench.add()
    written = bench.store.update(replace(job, topic="u", rank=4, correlation_id="c"))
    assert (written.topic, written.rank) == ("u", 4)
    assert written.updated > job.updated
    assert bench.store.lookup(job.id) == written
    with pytest.raises(ErrNotFound, match="written since"):
        bench.store.update(replace(job, topic="late"))
    with pytest.raises(ErrNotFound):
        bench.store.update(Job(id="nope"))
    assert bench.store.lookup(job.id) == written


def test_update_may_claim_as_the_original_does_and_is_fenced_then(bench):
    job = bench.add()
    seen = [bench.open(seed_answers=True).next() for _ in range(2)]  # two managers look at the same job
    first = bench.store.update(replace(seen[0], state=WORKING, started=5))
    assert first.claim is not None
    with pytest.raises(ErrNotFound):
        bench.store.update(replace(seen[1], state=WORKING))
    with pytest.raises(ErrNotFound):  # read while it was worked, by somebody who does not work it
        bench.store.update(replace(bench.store.lookup(job.id), state=FAILED))
    assert bench.store.update(replace(first, state=SUCCEEDED)).state is SUCCEEDED
    assert bench.store.succeed(first).reason == "wrong_state"


def test_update_with_the_seeds_answers_takes_a_job_from_its_worker(bench):
    bench.add()
    held = bench.store.next()
    seed = bench.open(seed_answers=True)
    assert seed.update(replace(seed.lookup(held.id), state=WAITING)).state is WAITING
    assert bench.store.succeed(held).reason == "wrong_state"


def test_delete_removes_any_job_but_one_that_is_worked(bench):
    waiting = bench.add()
    assert bench.store.delete(waiting)
    assert bench.store.delete(waiting).reason == "gone"
    bench.add()
    held = bench.store.next()
    assert bench.store.delete(held.id).reason == "wrong_state"
    assert bench.store.delete(replace(held, claim=None)).reason == "wrong_state"
    assert bench.store.delete(held)
    assert bench.rows.count() == 0


# Stats, Lookup, List


def test_stats_filter_by_topic_and_group(bench):
    for topic, group in (("a", "g"), ("a", "h"), ("b", "g"), ("b", "g")):
        bench.add(topic, correlation_group=group)
    first, second = bench.store.claim(limit=2)
    bench.store.succeed(first)
    bench.store.fail(second, "no")
    assert bench.store.stats() == Stats(waiting=2, succeeded=1, failed=1)
    assert bench.store.stats(topic="a") == Stats(succeeded=1, failed=1)
    assert bench.store.stats(correlation_group="g") == Stats(waiting=2, succeeded=1)
    assert bench.store.stats(topic="b", correlation_group="h") == Stats()


@pytest.mark.parametrize("seed", [False, True])
def test_a_correlation_id_finds_all_its_jobs(bench, seed):
    ids = [bench.add(correlation_id="c").id for _ in range(3)]
    bench.add(correlation_id="d")
    found = [job.id for job in bench.open(seed_answers=seed).lookup_by_correlation_id("c")]
    assert found == (ids[:1] if seed else ids)
    assert bench.store.lookup_by_correlation_id("none") == []


def test_list_filters_counts_and_pages(bench):
    jobs = [
        bench.add("ab"[n % 2], correlation_group="gh"[n % 2], correlation_id=f"c{n}", created=n + 1)
        for n in range(25)
    ]
    ids = [job.id for job in reversed(jobs)]  # last written first
    everything = bench.store.list()
    assert (everything.total, [job.id for job in everything.jobs]) == (25, ids[:10])
    page = bench.store.list(ListRequest(limit=10, offset=20))
    assert (page.total, [job.id for job in page.jobs]) == (25, ids[20:])
    assert bench.store.list(ListRequest(limit=-1)) == replace(everything, jobs=())
    assert bench.store.list(ListRequest(topic="a")).total == 13
    assert bench.store.list(ListRequest(correlation_group="h", limit=3)).total == 12
    assert [job.id for job in bench.store.list(ListRequest(correlation_id="c7")).jobs] == [jobs[7].id]
    bench.store.next()
    assert bench.store.list(ListRequest(state="working")).total == 1
    assert bench.store.list(ListRequest(state="waiting", topic="b", correlation_group="g")).total == 0


def test_old_jobs_are_pruned(bench):
    bench.add()
    bench.store.succeed(bench.store.next())
    bench.add()
    assert bench.store.rows.prune() == 0
    assert bench.store.rows.prune(ages={State.COMPLETED: 0, State.DISCARDED: 0}) == 1
    assert bench.store.stats() == Stats(waiting=1)


def test_rows_can_be_conditions_and_orders_of_ones_own(bench):
    bench.add(correlation_group="g")
    wanted = bench.add(correlation_group="h")
    (claim,) = bench.store.rows.claim(9, where=lambda t: t.c.correlation_group == sa.literal("h"))
    assert claim.key == wanted.id
    assert claim.record.correlation_group == "h"
