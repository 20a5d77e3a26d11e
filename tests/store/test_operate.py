"""A person's verbs: by key, guarded by the state, and taking the lease away from whoever holds it."""

import pytest

from rowqueue.core.states import UNFINISHED, State
from rowqueue.core.values import NewJob


async def enqueued(store, **options):
    return (await store.enqueue(NewJob(kind="k", **options))).job.id


@pytest.mark.parametrize("verb", ["skip", "cancel", "discard"])
async def test_a_waiting_job_is_ended_with_a_reason(store, verb):
    keys = [await enqueued(store), await enqueued(store, delay=60), await enqueued(store, pending=True)]
    state = {"skip": "skipped", "cancel": "cancelled", "discard": "discarded"}[verb]
    one = await getattr(store, verb)(keys[0], 'because "so"')
    assert (one.done, one.state, one.lease, one.key) == (True, state, 1, keys[0])
    answers = await getattr(store, f"{verb}_many")([keys[2], 999, keys[0], keys[1]])
    assert [(answer.key, answer.reason) for answer in answers] == [
        (keys[2], None),
        (999, "gone"),
        (keys[0], "wrong_state"),
        (keys[1], None),
    ]
    job = await store.get(keys[0])
    assert (job.state, job.lease, [entry.error for entry in job.errors]) == (state, 1, ['because "so"'])
    assert job.finalized_at is not None
    assert await store.claim(5) == []


async def test_cancelling_a_running_job_asks_its_worker(store):
    key = await enqueued(store)
    (claim,) = await store.claim()
    first = await store.cancel(key, "not wanted")
    assert (first.done, first.state, first.lease) == (True, "running", claim.lease)
    job = await store.get(key)
    assert (job.state, job.lease, job.finalized_at) == ("running", 1, None)
    assert job.cancel_requested_at is not None
    again = await store.cancel(key)
    assert again.done
    assert (await store.get(key)).cancel_requested_at == job.cancel_requested_at
    (told,) = await store.extend([claim])
    assert (told.done, told.cancel_requested) == (True, True)
    assert (await store.settled([claim]))[0].cancel_requested
    assert (await store.complete(claim)).state is State.COMPLETED


async def test_discarding_a_running_job_takes_it_from_its_worker(store):
    key = await enqueued(store)
    (claim,) = await store.claim()
    assert (await store.discard(key, "poison")).lease == 2
    assert (await store.complete(claim)).reason == "lost"
    job = await store.get(key)
    assert (job.state, job.leased_until, job.result) == ("discarded", None, None)


async def test_skipping_a_running_job_by_key_is_refused(store):
    key = await enqueued(store)
    (claim,) = await store.claim()
    refused = await store.skip(key)
    assert (refused.reason, refused.state, refused.lease) == ("wrong_state", "running", 1)
    assert await store.complete(claim)


@pytest.mark.parametrize("state", sorted(set(State) - {State.RUNNING}))
async def test_retry_starts_any_but_a_running_job_over(store, rows, state):
    key = await enqueued(store, max_attempts=2)
    finalized = "created_at" if state.is_final else "NULL"
    rows.execute(
        f"UPDATE rowqueue_job SET state = '{state}', finalized_at = {finalized}, attempt = 2, failures = 2, "
        f"cancel_requested_at = created_at, result = 'null'"
    )
    rows.pass_time(1000)
    before = await store.get(key)
    outcome = await store.retry(key)
    assert (outcome.done, outcome.state, outcome.lease) == (True, "available", 1)
    job = await store.get(key)
    assert (job.state, job.finalized_at, job.cancel_requested_at) == ("available", None, None)
    assert (job.attempt, job.max_attempts, job.failures) == (2, 3, 2)
    assert job.scheduled_at > before.scheduled_at
    (claim,) = await store.claim()
    assert claim.job.attempt == 3


async def test_retry_leaves_attempts_that_are_left_alone(store):
    key = await enqueued(store)
    (claim,) = await store.claim()
    assert (await store.retry(key)).reason == "wrong_state"
    await store.fail(claim, "x", delay=60)
    assert await store.retry(key)
    job = await store.get(key)
    assert (job.attempt, job.max_attempts) == (1, 25)


async def test_retry_answers_conflict_for_that_one_alone(store, rows):
    old = await enqueued(store, unique_key="u")
    (claim,) = await store.claim()
    await store.complete(claim)
    holder = await enqueued(store, unique_key="u", pending=True)
    twins = [await enqueued(store, unique_key="t"), 0]
    await store.cancel(twins[0])
    twins[1] = await enqueued(store, unique_key="t")
    await store.cancel(twins[1])
    free = await enqueued(store, unique_key="f")
    await store.discard(free)
    before = rows.row(old)
    answers = await store.retry_many([old, free, 999, holder, *twins])
    assert [(answer.reason, answer.conflict) for answer in answers] == [
        ("conflict", holder),
        (None, None),
        ("gone", None),
        (None, None),
        (None, None),
        ("conflict", twins[0]),
    ]
    assert rows.row(old) == before
    refused = await store.retry(old)
    assert (refused.reason, refused.conflict, refused.state) == ("conflict", holder, "completed")
    assert await store.cancel(holder)
    assert await store.retry(old)


async def test_retry_conflicts_in_the_wider_set_of_states(store):
    wide = UNFINISHED | {State.COMPLETED}
    old = await enqueued(store, unique_key="u", unique_states=wide)
    await store.cancel(old)
    await enqueued(store, unique_key="u", unique_states=wide)
    (claim,) = await store.claim()
    await store.complete(claim)
    assert (await store.retry(old)).conflict == claim.key
    assert await store.retry(claim.key)


async def test_promote_makes_waiting_jobs_ready_now(store):
    scheduled = await enqueued(store, delay=3600)
    parked = await enqueued(store, pending=True)
    ready = await enqueued(store)
    assert (await store.promote(scheduled)).state is State.AVAILABLE
    assert (await store.promote(parked)).state is State.AVAILABLE
    refused = await store.promote(ready)
    assert (refused.reason, refused.state) == ("wrong_state", "available")
    assert (await store.promote(999)).reason == "gone"
    job = await store.get(scheduled)
    assert job.scheduled_at < job.created_at.replace(year=job.created_at.year + 1)
    assert (job.scheduled_at - job.created_at).total_seconds() < 60
    assert len(await store.claim(5)) == 3


async def test_delete_removes_final_jobs_and_their_logs(store, rows):
    keys = [await enqueued(store) for _ in range(3)]
    claims = {claim.key: claim for claim in await store.claim(2)}
    done, running = claims.values()
    await store.add_log(done, "text")
    await store.add_log(running, "text")
    await store.complete(done)
    answers = await store.delete_many([running.key, done.key, keys[2], 999, done.key])
    assert [(answer.reason, answer.state) for answer in answers] == [
        ("wrong_state", "running"),
        (None, None),
        ("wrong_state", "available"),
        ("gone", None),
        (None, None),
    ]
    assert sorted(rows.all()) == sorted(set(keys) - {done.key})
    assert {row["job_id"] for row in rows.rows("SELECT job_id FROM rowqueue_log")} == {running.key}
    assert await store.get(done.key) is None
    assert await store.log(done.key) == []
    assert (await store.delete(done.key)).reason == "gone"


async def test_an_id_is_never_given_twice(store):
    keys = [await enqueued(store) for _ in range(3)]
    for key in keys:
        await store.cancel(key)
    await store.delete_many(keys)
    assert await enqueued(store) > max(keys)


async def test_one_key_several_times_is_written_once(store, rows):
    key = await enqueued(store)
    answers = await store.cancel_many([key, key], "twice")
    assert [answer.done for answer in answers] == [True, True]
    assert len((await store.get(key)).errors) == 1
    assert rows.row(key)["lease"] == 1
