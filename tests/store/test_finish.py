"""A worker's verbs: where they lead, what they write, and that batches answer each claim for itself."""

from datetime import UTC, datetime, timedelta

import pytest

from rowqueue.core.errors import ConfigurationError, InvalidArguments, LeaseLost, NotDone
from rowqueue.core.finish import Finish
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.states import State, Verb
from rowqueue.core.values import NewJob


async def claimed(store, count=1, **options):
    await store.enqueue_many([NewJob(kind="k", **options) for _ in range(count)])
    claims = await store.claim(count)
    assert len(claims) == count
    return claims


async def test_complete_keeps_the_result(store):
    (claim,) = await claimed(store)
    outcome = await store.complete(claim, {"rows": [1, 2]})
    assert (outcome.done, outcome.state, outcome.lease, outcome.key) == (True, "completed", 1, claim.key)
    job = await store.get(claim.key)
    assert (job.state, job.result, job.attempt, job.failures) == ("completed", {"rows": [1, 2]}, 1, 0)
    assert job.leased_until is None
    assert job.finalized_at >= job.attempted_at
    assert job.errors == ()


@pytest.mark.parametrize("result", [None, 0, "", False, [], {"a": None}, "text", 2**70])
async def test_results_of_every_kind_come_back(store, result):
    (claim,) = await claimed(store)
    await store.complete(claim, result)
    assert (await store.get(claim.key)).result == result


async def test_a_result_that_cannot_be_stored_changes_nothing(store, rows):
    claims = await claimed(store, 2)
    before = rows.all()
    for bad in (object(), float("nan"), b"x"):
        with pytest.raises(InvalidArguments, match="the result"):
            await store.complete_many(claims, ["good", bad])
    with pytest.raises(ConfigurationError, match="2 claims need as many results, not 1"):
        await store.complete_many(claims, ["one"])
    assert rows.all() == before


async def test_fail_follows_the_policy_to_its_end(make_store):
    store = make_store(retry=RetryPolicy.schedule([60, 0]))
    (claim,) = await claimed(store, max_attempts=3)
    assert (await store.fail(claim, ValueError("first"), trace="Traceback…")).state is State.RETRYABLE
    job = await store.get(claim.key)
    assert timedelta(seconds=59) < job.scheduled_at - job.attempted_at < timedelta(seconds=70)
    assert (job.failures, job.attempt, job.finalized_at) == (1, 1, None)
    assert await store.promote(claim.key)
    (claim,) = await store.claim()
    assert (await store.fail(claim, "second")).state is State.AVAILABLE
    (claim,) = await store.claim()
    assert claim.job.attempt == 3
    assert (await store.fail(claim, RuntimeError())).state is State.DISCARDED
    job = await store.get(claim.key)
    assert (job.state, job.failures, job.attempt, job.lease) == ("discarded", 3, 3, claim.lease)
    assert job.finalized_at is not None
    assert [(entry.attempt, entry.error, entry.trace) for entry in job.errors] == [
        (1, "ValueError: first", "Traceback…"),
        (2, "second", ""),
        (3, "RuntimeError", ""),
    ]
    assert [entry.lease for entry in job.errors] == [1, 3, 4]
    now = datetime.now(UTC)
    for entry in job.errors:
        assert entry.at.utcoffset() == timedelta()
        assert now - timedelta(minutes=1) < entry.at < now + timedelta(seconds=5)


async def test_the_caller_can_force_where_a_failure_leads(store):
    claims = await claimed(store, 5)
    assert (await store.fail(claims[0], "x", state=State.DISCARDED)).state is State.DISCARDED
    assert (await store.fail(claims[1], "x", state=State.AVAILABLE)).state is State.AVAILABLE
    assert (await store.fail(claims[2], "x", delay=0)).state is State.AVAILABLE
    assert (await store.fail(claims[3], "x", delay=timedelta(hours=1))).state is State.RETRYABLE
    job = await store.get(claims[3].key)
    assert timedelta(minutes=59) < job.scheduled_at - job.attempted_at < timedelta(minutes=61)
    with pytest.raises(ConfigurationError, match="retryable, available or discarded"):
        await store.fail(claims[4], "x", state=State.COMPLETED)
    with pytest.raises(ConfigurationError, match="1 claims need as many errors, not 2"):
        await store.fail_many(claims[4:], ["x", "y"])


AWKWARD = [
    "quote ' \" \\ and % :a {} $1 ?",
    "lines\nand\ttabs\r",
    "NUL \0 inside",
    "a lone \ud800 surrogate",
    "ü 漢 🎉",
    "]}]",
    "x" * 5000,
    "",
]


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
async def test_no_error_text_blocks_a_state_change(store, text):
    claims = await claimed(store, 4)
    assert await store.fail(claims[0], text, trace=text, delay=1)
    assert await store.fail(claims[1], ValueError(text))
    assert await store.discard(claims[2], text)
    assert await store.skip(claims[3], text)
    for claim in claims:
        job = await store.get(claim.key)
        assert len(job.errors) == (1 if text or claim in claims[:2] else 0)
        for entry in job.errors:
            assert len(entry.error) <= 1000
            assert "\0" not in entry.error
    if "\0" not in text and "\ud800" not in text and 0 < len(text) < 1000:
        assert (await store.get(claims[0].key)).errors[0].error == text


async def test_an_exception_without_a_message_of_its_own_is_stored(store):
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    (claim,) = await claimed(store)
    assert await store.fail(claim, Broken())
    assert (await store.get(claim.key)).errors[0].error.startswith("Broken: ")


async def test_a_long_history_starts_afresh_and_stays_writable(make_store, rows):
    store = make_store(retry=RetryPolicy.constant(0))
    await store.enqueue(NewJob(kind="k", max_attempts=1000))
    (claim,) = await store.claim()
    assert await store.fail(claim, "x")
    long = '[{"at":"2026-01-01T00:00:00Z","attempt":1,"lease":1,"error":"%s"}]' % ("y" * 262_200)
    rows.execute(f"UPDATE rowqueue_job SET errors = '{long}'")
    (claim,) = await store.claim()
    assert await store.fail(claim, "fresh")
    assert [entry.error for entry in (await store.get(claim.key)).errors] == ["fresh"]


async def test_snooze_gives_the_attempt_back_and_takes_a_new_lease_next(store):
    (claim,) = await claimed(store)
    assert (await store.snooze(claim, timedelta(minutes=1))).state is State.SCHEDULED
    job = await store.get(claim.key)
    assert (job.attempt, job.snoozes, job.failures, job.rescues, job.errors) == (0, 1, 0, 0, ())
    assert timedelta(seconds=59) < job.scheduled_at - job.attempted_at < timedelta(seconds=65)
    await store.promote(claim.key)
    (again,) = await store.claim()
    assert again.job.attempt == 1
    assert again.lease > claim.lease
    assert (await store.complete(claim)).reason == "lost"


async def test_release_gives_the_attempt_back_and_the_place_in_the_queue(store):
    first, second = await claimed(store, 2)
    assert (await store.release(second)).state is State.AVAILABLE
    assert (await store.release(first)).state is State.AVAILABLE
    job = await store.get(first.key)
    assert (job.attempt, job.snoozes, job.failures, job.scheduled_at) == (0, 0, 0, first.job.scheduled_at)
    assert [claim.key for claim in await store.claim(2)] == [first.key, second.key]


@pytest.mark.parametrize("verb", ["skip", "cancel", "discard"])
async def test_a_worker_ends_its_job_with_a_reason_or_without(store, verb):
    one, two, *many = await claimed(store, 4)
    state = {"skip": "skipped", "cancel": "cancelled", "discard": "discarded"}[verb]
    assert (await getattr(store, verb)(one, 'not "needed"')).state == state
    assert (await getattr(store, verb)(two)).state == state
    answers = await getattr(store, f"{verb}_many")(many, "all of them")
    assert [(answer.done, answer.state) for answer in answers] == [(True, state)] * 2
    job = await store.get(one.key)
    assert (job.state, job.attempt, job.failures, job.lease) == (state, 1, 0, 1)
    assert job.finalized_at is not None
    assert [entry.error for entry in job.errors] == ['not "needed"']
    assert (await store.get(two.key)).errors == ()
    assert (await store.get(many[1].key)).errors[0].error == "all of them"
    with pytest.raises(ConfigurationError, match="claims or keys, not both"):
        await getattr(store, f"{verb}_many")([one, two.key])


async def test_the_counters_are_kept_apart(make_store, rows):
    store = make_store(retry=RetryPolicy.constant(0))
    await store.enqueue(NewJob(kind="k"))

    async def start():
        (claim,) = await store.claim()
        return claim

    assert await store.fail(await start(), "x")
    assert await store.snooze(await start(), 0)
    assert await store.promote_due() == {"default": 1}
    assert await store.release(await start())
    claim = await start()
    rows.pass_time(100)
    (rescued,) = await store.rescue()
    assert (await store.complete(claim)).reason == "lost"
    claim = await start()
    assert await store.complete(claim)
    job = await store.get(claim.key)
    assert (job.attempt, job.failures, job.snoozes, job.rescues) == (3, 1, 1, 1)
    assert (job.lease, rescued.lease) == (6, 5)


async def test_somebody_asked_to_cancel_so_every_ending_but_success_is_cancelled(store):
    claims = await claimed(store, 8)
    endings = {
        "complete": (store.complete, (), "completed"),
        "fail": (store.fail, ("x",), "cancelled"),
        "snooze": (store.snooze, (60,), "cancelled"),
        "release": (store.release, (), "cancelled"),
        "skip": (store.skip, (), "cancelled"),
        "cancel": (store.cancel, (), "cancelled"),
        "discard": (store.discard, (), "cancelled"),
    }
    for claim in claims:
        asked = await store.cancel(claim.key, "not wanted")
        assert (asked.done, asked.state, asked.lease) == (True, "running", claim.lease)
    for claim, (verb, arguments, state) in zip(claims, endings.values(), strict=False):
        assert (await verb(claim, *arguments)).state == state
        job = await store.get(claim.key)
        assert (job.state, job.finalized_at is not None) == (state, True)
        assert job.cancel_requested_at is not None
        assert job.errors[0].error == "not wanted"
    (outcome,) = await store.extend(claims[7:])
    assert outcome.cancel_requested


async def test_batches_do_as_one_by_one_and_keep_the_order_of_the_answers(store):
    claims = await claimed(store, 12)
    assert [o.state for o in await store.complete_many(claims[:2], [{"n": 0}, None])] == ["completed"] * 2
    assert (await store.get(claims[0].key)).result == {"n": 0}
    answers = await store.fail_many(claims[2:4], ["one", ValueError("two")], delay=9)
    assert [answer.state for answer in answers] == ["retryable"] * 2
    assert (await store.get(claims[3].key)).errors[0].error == "ValueError: two"
    assert [o.state for o in await store.snooze_many(claims[4:6], 60)] == ["scheduled"] * 2
    answers = await store.release_many([claims[7], claims[6]])
    assert [answer.key for answer in answers] == [claims[7].key, claims[6].key]
    finishes = [
        Finish(claims[11], Verb.COMPLETE, result='{"x":1}'),
        Finish(claims[8], Verb.FAIL, state=State.RETRYABLE, delay=5, error="e", trace="t"),
        Finish(claims[10], Verb.SNOOZE, delay=5),
        Finish(claims[9], Verb.DISCARD, error="gone bad"),
    ]
    answers = await store.finish(finishes)
    assert [(answer.key, answer.state) for answer in answers] == [
        (claims[11].key, "completed"),
        (claims[8].key, "retryable"),
        (claims[10].key, "scheduled"),
        (claims[9].key, "discarded"),
    ]
    assert (await store.get(claims[11].key)).result == {"x": 1}
    assert await store.finish([]) == []
    for many in (store.complete_many, store.release_many, store.skip_many, store.cancel_many):
        assert await many([]) == []


async def test_a_stale_claim_in_a_batch_is_refused_beside_the_right_one(store, rows):
    (old,) = await claimed(store)
    await store.release(old)
    (new,) = await store.claim()
    answers = await store.complete_many([old, new], ["old", "new"])
    assert [(answer.done, answer.reason) for answer in answers] == [(False, "lost"), (True, None)]
    assert (await store.get(new.key)).result == "new"


async def test_a_claim_given_twice_is_done_once(store):
    (claim, other) = await claimed(store, 2)
    answers = await store.finish(
        [Finish(claim, Verb.COMPLETE), Finish(other, Verb.COMPLETE), Finish(claim, Verb.COMPLETE)]
    )
    assert [(answer.reason, answer.state) for answer in answers] == [
        (None, "completed"),
        (None, "completed"),
        ("wrong_state", "completed"),
    ]


async def test_refusals_say_why_and_change_nothing(store, rows):
    lost, done, gone = await claimed(store, 3)
    await store.release(lost)
    await store.claim()
    await store.complete(done)
    await store.complete(gone)
    await store.delete(gone.key)
    before = rows.all()
    for answers in (
        await store.complete_many([lost, done, gone]),
        await store.fail_many([lost, done, gone], ["x", "y", "z"]),
        await store.snooze_many([lost, done, gone], 5),
        await store.release_many([lost, done, gone]),
        await store.skip_many([lost, done, gone], "r"),
        await store.cancel_many([lost, done, gone], "r"),
        await store.discard_many([lost, done, gone], "r"),
        [await store.progress(claim, 0.5) for claim in (lost, done, gone)],
        [await store.add_log(claim, "x") for claim in (lost, done, gone)],
        [await store.update_log(claim, 1, "x") for claim in (lost, done, gone)],
    ):
        assert [(a.reason, a.state, a.lease) for a in answers] == [
            ("lost", "running", 2),
            ("wrong_state", "completed", 1),
            ("gone", None, None),
        ]
        assert not any(answers)
    assert rows.all() == before
    with pytest.raises(LeaseLost, match="lost"):
        (await store.complete(lost)).or_raise()
    with pytest.raises(NotDone, match="wrong_state"):
        (await store.complete(done)).or_raise()


async def test_settled_tells_how_claims_stand_after_a_lost_reply(store):
    running, finished, failed, taken, gone = await claimed(store, 5)
    await store.complete(finished)
    await store.fail(failed, "x", delay=60)
    await store.release(taken)
    (other,) = await store.claim()
    await store.complete(gone)
    await store.delete(gone.key)
    answers = await store.settled([running, finished, failed, taken, gone])
    assert [(answer.reason, answer.state) for answer in answers] == [
        (None, "running"),
        (None, "completed"),
        (None, "retryable"),
        ("lost", "running"),
        ("gone", None),
    ]
    assert answers[3].lease == other.lease
    assert await store.settled([]) == []


async def test_unknown_kinds_are_snoozed_free_of_charge_and_counted(store):
    await store.enqueue_many([NewJob(kind=kind) for kind in ("a", "b", "a")])
    claims = await store.claim(3)
    answers = await store.snooze_unknown(claims, 60)
    assert [answer.state for answer in answers] == ["scheduled"] * 3
    assert (await store.get(claims[0].key)).attempt == 0
    for claim in claims:
        await store.promote(claim.key)
    await store.snooze_unknown(await store.claim(1, kinds=["b"]))
    counts = {found.kind: found.count for found in (await store.stats()).unclaimable}
    assert counts == {"a": 2, "b": 2}
    await store.heartbeat("w", queues={"default": 1}, kinds=["b", "c"])
    assert [found.kind for found in (await store.stats()).unclaimable] == ["a"]
