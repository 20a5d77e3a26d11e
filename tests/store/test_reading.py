"""What is only read: lists and their cursor, stats, logs, progress."""

import pytest

from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import State
from rowqueue.core.values import NewJob


async def ids(pages):
    return [job.id for page in pages for job in page.jobs]


async def pages_of(store, **options):
    pages = [await store.list(**options)]
    while pages[-1].next is not None:
        pages.append(await store.list(**options, after=pages[-1].next))
    return pages


@pytest.fixture
async def some(store):
    jobs = [
        NewJob(
            kind=f"k{n % 2}",
            queue=f"q{n % 3}",
            tags=("all", f"t{n % 4}", "it's %"),
            correlation_id=f"c{n % 5}",
            correlation_group="g" if n < 10 else None,
            pending=n % 6 == 0,
        )
        for n in range(20)
    ]
    return [answer.job for answer in await store.enqueue_many(jobs)]


FILTERS = {
    "all": ({}, lambda n: True),
    "queue": ({"queue": "q1"}, lambda n: n % 3 == 1),
    "kind": ({"kind": "k1"}, lambda n: n % 2 == 1),
    "state": ({"state": State.PENDING}, lambda n: n % 6 == 0),
    "state by its word": ({"state": "pending"}, lambda n: n % 6 == 0),
    "states": ({"state": [State.PENDING, State.RUNNING]}, lambda n: n % 6 == 0),
    "tag": ({"tags": ["t2"]}, lambda n: n % 4 == 2),
    "tags": ({"tags": ["t2", "all", "it's %"]}, lambda n: n % 4 == 2),
    "tag that none has": ({"tags": ["t"]}, lambda n: False),
    "correlation id": ({"correlation_id": "c3"}, lambda n: n % 5 == 3),
    "group": ({"correlation_group": "g"}, lambda n: n < 10),
    "together": ({"queue": "q1", "kind": "k1", "state": "available"}, lambda n: n % 6 == 1),
}


@pytest.mark.parametrize("name", FILTERS)
async def test_filters_and_pages_find_each_job_once_in_order(store, some, name):
    options, wanted = FILTERS[name]
    expected = [job.id for n, job in enumerate(some) if wanted(n)]
    assert await ids(await pages_of(store, **options)) == expected
    assert await ids(await pages_of(store, limit=3, **options)) == expected
    assert await ids(await pages_of(store, limit=3, newest_first=True, **options)) == expected[::-1]


async def test_jobs_in_a_page_are_whole(store, some):
    page = await store.list(limit=20)
    assert list(page.jobs) == some
    assert page.next is None


async def test_a_job_that_comes_or_goes_meanwhile_moves_nobody(store, some):
    first = await store.list(limit=5)
    await store.enqueue(NewJob(kind="new"))
    await store.cancel(some[2].id)
    await store.delete(some[2].id)
    second = await store.list(limit=5, after=first.next)
    assert [job.id for job in second.jobs] == [job.id for job in some[5:10]]


BAD = {
    "cursor": {"after": "x"},
    "cursor below 0": {"after": "-1"},
    "long cursor": {"after": "9" * 30},
    "limit 0": {"limit": 0},
    "limit": {"limit": 10_001},
    "state": {"state": "bogus"},
    "one tag as text": {"tags": "t"},
    "NUL": {"queue": "a\0"},
    "surrogate": {"kind": "\ud800"},
    "surrogate tag": {"tags": ["\ud800"]},
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_filters_are_refused_in_words(store, name):
    with pytest.raises(ConfigurationError):
        await store.list(**BAD[name])


async def test_get_of_no_row_is_none(store):
    assert await store.get(1) is None


async def test_stats_count_by_queue_and_state(store, rows):
    assert (await store.stats()).queues == ()
    await store.enqueue_many(
        [NewJob(kind="k", queue="a"), NewJob(kind="k", queue="a"), NewJob(kind="k", queue="b", delay=60)]
    )
    await store.claim(1, queues=["a"])
    rows.pass_time(100)
    await store.pause("c")
    stats = await store.stats()
    a, b, c = stats.queues
    assert (a.queue, a.counts, a.paused) == ("a", {State.RUNNING: 1, State.AVAILABLE: 1}, False)
    assert 99 < a.oldest_waiting < 130
    assert (b.queue, b.counts, b.oldest_waiting) == ("b", {State.SCHEDULED: 1}, None)
    assert (c.queue, c.counts, c.paused) == ("c", {}, True)
    assert (stats.total(State.AVAILABLE), stats.total(State.COMPLETED)) == (1, 0)
    assert stats.unclaimable == ()


async def test_the_log_keeps_entries_in_order_and_takes_corrections(store):
    await store.enqueue(NewJob(kind="k"))
    (claim,) = await store.claim()
    first = await store.add_log(claim, {"command": ["ls"], "exit": None})
    second = await store.add_log(claim, "second")
    assert isinstance(first, int)
    assert second > first
    outcome = await store.update_log(claim, first, {"command": ["ls"], "exit": 0})
    assert (outcome.done, outcome.state) == (True, "running")
    entries = await store.log(claim.key)
    assert [(entry.seq, entry.lease, entry.job, entry.entry) for entry in entries] == [
        (first, 1, claim.key, {"command": ["ls"], "exit": 0}),
        (second, 1, claim.key, "second"),
    ]
    assert entries[0].at <= entries[1].at
    await store.release(claim)
    (again,) = await store.claim()
    assert not await store.update_log(claim, first, "stale")
    assert not await store.update_log(again, first, "not mine")
    assert not await store.update_log(again, 999, "none")
    await store.add_log(again, 3)
    assert [entry.lease for entry in await store.log(claim.key)] == [1, 1, 2]


async def test_progress_is_a_fraction_and_a_line(store):
    await store.enqueue(NewJob(kind="k"))
    (claim,) = await store.claim()
    assert await store.progress(claim, 0.5, 'half "way"')
    progress = (await store.get(claim.key)).progress
    assert (progress.fraction, progress.message) == (0.5, 'half "way"')
    assert await store.progress(claim, 1, "NUL \0 and \ud800")
    assert (await store.get(claim.key)).progress.fraction == 1
    for bad in (-0.1, 1.1, float("nan"), float("inf"), "half", None, True):
        with pytest.raises(ConfigurationError, match="a fraction from 0 to 1"):
            await store.progress(claim, bad)
