"""What any process does for all: promote what is due, rescue what was left, prune what is old; and workers."""

from datetime import timedelta

import pytest

from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import FINAL, State
from rowqueue.core.values import NewJob


async def test_promote_due_takes_exactly_what_is_due(store, rows):
    jobs = [NewJob(kind="k", queue="ab"[n % 2], delay=60) for n in range(5)] + [NewJob(kind="k", delay=600)]
    keys = [answer.job.id for answer in await store.enqueue_many(jobs)]
    assert await store.promote_due() == {}
    rows.pass_time(61)
    assert await store.promote_due(limit=2) == {"a": 1, "b": 1}
    assert await store.promote_due() == {"a": 2, "b": 1}
    assert await store.promote_due() == {}
    states = {key: row["state"] for key, row in rows.all().items()}
    assert [states[key] for key in keys] == ["available"] * 5 + ["scheduled"]
    job = await store.get(keys[0])
    assert (job.attempt, job.lease) == (0, 0)
    with pytest.raises(ConfigurationError, match="limit"):
        await store.promote_due(limit=0)


async def test_promote_due_brings_failed_jobs_back(store, rows):
    await store.enqueue(NewJob(kind="k"))
    (claim,) = await store.claim()
    await store.fail(claim, "x", delay=60)
    await store.enqueue(NewJob(kind="parked", pending=True))
    rows.pass_time(100)
    assert await store.promote_due() == {"default": 1}
    (again,) = await store.claim(5)
    assert (again.key, again.job.attempt) == (claim.key, 2)


async def test_next_due_is_the_time_until_the_first(store, rows):
    assert await store.next_due() is None
    await store.enqueue_many([NewJob(kind="k"), NewJob(kind="k", pending=True)])
    assert await store.next_due() is None
    await store.enqueue_many([NewJob(kind="k", delay=500), NewJob(kind="k", delay=100)])
    assert 90 < await store.next_due() <= 100
    rows.pass_time(130)
    assert -60 < await store.next_due() <= -30
    assert await store.promote_due() == {"default": 1}
    assert 350 < await store.next_due() <= 370


async def test_rescue_takes_what_was_left_and_says_why(store, rows):
    await store.enqueue_many([NewJob(kind="k", queue="q") for _ in range(3)])
    left, healthy, anonymous = (
        await store.claim(1, worker="w-1") + await store.claim(1, worker="w-2") + await store.claim(1)
    )
    assert await store.rescue() == []
    rows.pass_time(40, left.key, anonymous.key)
    rescued = {found.key: found for found in await store.rescue()}
    assert set(rescued) == {left.key, anonymous.key}
    found = rescued[left.key]
    assert (found.kind, found.queue, found.state, found.lease, found.worker) == (
        "k",
        "q",
        "available",
        2,
        "w-1",
    )
    job = await store.get(left.key)
    assert (job.state, job.lease, job.attempt, job.rescues, job.failures) == ("available", 2, 1, 1, 0)
    assert (job.leased_until, job.finalized_at) == (None, None)
    (entry,) = job.errors
    assert (entry.attempt, entry.lease) == (1, 1)
    assert entry.error == "the lease ran out: w-1 stopped renewing it"
    assert "?" in (await store.get(anonymous.key)).errors[0].error
    assert (await store.complete(left)).reason == "lost"
    assert await store.complete(healthy)
    assert await store.rescue() == []


async def test_a_worker_of_any_name_can_be_named(store, rows):
    name = 'w "quoted" \\ % {} $1\n\''
    await store.enqueue(NewJob(kind="k"))
    await store.claim(worker=name)
    rows.pass_time(40)
    (found,) = await store.rescue()
    assert found.worker == name
    assert name in (await store.get(found.key)).errors[0].error


async def test_rescue_goes_by_the_limit_oldest_first(store, rows):
    await store.enqueue_many([NewJob(kind="k") for _ in range(4)])
    claims = await store.claim(4)
    for age, claim in zip((100, 400, 200, 300), claims, strict=True):
        rows.pass_time(age, claim.key)
    assert {found.key for found in await store.rescue(limit=2)} == {claims[1].key, claims[3].key}
    assert len(await store.rescue(limit=2)) == 2


async def test_a_renewed_lease_is_never_rescued(store, rows):
    await store.enqueue(NewJob(kind="k"))
    (claim,) = await store.claim(lease=30)
    rows.pass_time(29)
    assert await store.rescue() == []
    assert (await store.extend([claim], lease=60))[0]
    rows.pass_time(50)
    assert await store.rescue() == []
    rows.pass_time(20)
    assert len(await store.rescue()) == 1


async def test_a_job_that_crashes_its_worker_ends_at_max_rescues(make_store, rows):
    store = make_store(max_rescues=2)
    key = (await store.enqueue(NewJob(kind="poison"))).job.id
    for expected in ("available", "discarded"):
        await store.claim()
        rows.pass_time(40)
        (found,) = await store.rescue()
        assert found.state == expected
    job = await store.get(key)
    assert (job.state, job.attempt, job.rescues, len(job.errors)) == ("discarded", 2, 2, 2)
    assert job.finalized_at is not None
    assert await store.claim(5) == []


async def test_a_job_that_crashes_its_worker_ends_at_max_attempts(store, rows):
    key = (await store.enqueue(NewJob(kind="poison", max_attempts=1))).job.id
    await store.claim()
    rows.pass_time(40)
    (found,) = await store.rescue()
    assert found.state is State.DISCARDED
    assert (await store.get(key)).rescues == 1


async def test_a_left_job_that_somebody_asked_to_cancel_is_cancelled(store, rows):
    key = (await store.enqueue(NewJob(kind="k"))).job.id
    await store.claim()
    await store.cancel(key, "not wanted")
    rows.pass_time(40)
    (found,) = await store.rescue()
    assert found.state is State.CANCELLED
    assert (await store.get(key)).finalized_at is not None


async def test_prune_goes_by_state_and_age_and_takes_the_logs_along(store, rows):
    jobs = await store.enqueue_many([NewJob(kind="k") for _ in range(6)])
    claims = await store.claim(4)
    for claim in claims:
        await store.add_log(claim, "x")
    await store.complete(claims[0])
    await store.discard(claims[1])
    await store.skip(claims[2])
    await store.cancel(jobs[4].job.id)
    assert await store.prune() == 0
    rows.pass_time(25 * 3600)
    assert await store.prune() == 3
    left = {key: row["state"] for key, row in rows.all().items()}
    assert sorted(left.values()) == ["available", "discarded", "running"]
    assert {row["job_id"] for row in rows.rows("SELECT job_id FROM rowqueue_log")} == {
        claims[1].key,
        claims[3].key,
    }
    rows.pass_time(14 * 24 * 3600)
    assert await store.prune() == 1
    assert await store.prune(ages=dict.fromkeys(FINAL, 0)) == 0
    assert rows.count() == 2


async def test_prune_keeps_to_its_limit_its_queue_and_its_ages(store, rows):
    await store.enqueue_many([NewJob(kind="k", queue="ab"[n % 2]) for n in range(6)])
    await store.complete_many(await store.claim(6))
    rows.pass_time(100)
    ages = {State.COMPLETED: timedelta(seconds=50)}
    assert await store.prune(ages={State.COMPLETED: 200}) == 0
    assert await store.prune(ages={State.DISCARDED: 0}) == 0
    assert await store.prune(ages={}) == 0
    assert await store.prune(ages=ages, queue="none") == 0
    assert await store.prune(ages=ages, queue="a", limit=2) == 2
    assert await store.prune(ages=ages, queue="a") == 1
    assert rows.count("queue = 'b'") == 3
    assert await store.prune(ages={State.SKIPPED: 0, State.COMPLETED: 0}, limit=1) == 1
    assert await store.prune(ages=ages) == 2
    with pytest.raises(ConfigurationError, match="only final jobs are pruned"):
        await store.prune(ages={State.RUNNING: 0})


async def test_workers_say_that_they_live_until_they_stop(store, rows):
    assert await store.workers() == []
    await store.heartbeat("w-1", queues={"mail": 5}, kinds=["b", "a"], idle=False)
    await store.heartbeat("w-2", queues={}, kinds=[], idle=True)
    rows.execute(f"UPDATE rowqueue_worker SET seen_at = seen_at - 600 * {rows.second}")
    await store.heartbeat("w-1", queues={"mail": 5}, kinds=["b", "a"], idle=True)
    one, two = await store.workers()
    assert (one.id, one.idle, one.queues, one.kinds) == ("w-1", True, {"mail": 5}, ("a", "b"))
    assert 0 <= one.silent < 10
    assert 590 < two.silent < 700
    assert one.seen_at >= one.started_at
    await store.forget_silent_workers(timedelta(minutes=5))
    assert [worker.id for worker in await store.workers()] == ["w-1"]
    await store.forget_worker("w-1")
    assert await store.workers() == []
