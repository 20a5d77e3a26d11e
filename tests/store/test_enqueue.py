"""enqueue: what goes in is what stands there, refused before anything is written, unique where asked."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from rowqueue.core.errors import ConfigurationError, InvalidArguments, PayloadTooLarge
from rowqueue.core.states import FINAL, UNFINISHED, State
from rowqueue.core.values import NewJob
from rowqueue.operations.enqueue import Alike

FULL = NewJob(
    kind="mail.send",
    args={"to": [1, 2.5, None, True, "ü"], "nested": {"a": {}}},
    queue="mail",
    priority=1,
    max_attempts=7,
    timeout=timedelta(seconds=90),
    unique_key="user-7",
    unique_states=UNFINISHED | {State.COMPLETED},
    tags=("eu", "big one"),
    correlation_id="request-1",
    correlation_group="tenant-1",
    meta={"by": "test"},
)


async def test_a_plain_job_has_the_defaults(store):
    before = datetime.now(UTC)
    done = await store.enqueue(NewJob(kind="k"))
    job = done.job
    assert done.inserted
    assert (job.kind, job.queue, job.state, job.priority, job.args) == ("k", "default", "available", 2, {})
    assert (job.attempt, job.max_attempts, job.failures, job.rescues, job.snoozes, job.lease) == (
        0,
        25,
        0,
        0,
        0,
        0,
    )
    assert (job.tags, job.meta, job.errors, job.result, job.progress) == ((), {}, (), None, None)
    assert job.created_at == job.scheduled_at
    assert before - timedelta(seconds=1) < job.created_at < datetime.now(UTC) + timedelta(seconds=1)


@pytest.mark.parametrize("many", [False, True])
async def test_what_enqueue_returns_is_what_stands_there(store, many):
    jobs = [
        FULL,
        dataclasses.replace(FULL, unique_key="other", delay=60),
        NewJob(kind="k", pending=True),
        NewJob(kind="k"),
    ]
    answers = await store.enqueue_many(jobs) if many else [await store.enqueue(job) for job in jobs]
    assert [answer.inserted for answer in answers] == [True] * 4
    for answer in answers:
        assert await store.get(answer.job.id) == answer.job
    full = answers[0].job
    assert (full.args, full.tags, full.timeout, full.meta) == (FULL.args, FULL.tags, 90.0, FULL.meta)
    assert full.unique_states == UNFINISHED | {State.COMPLETED}
    assert (full.correlation_id, full.correlation_group) == ("request-1", "tenant-1")
    assert [answer.job.state for answer in answers] == ["available", "scheduled", "pending", "available"]


async def test_many_come_back_in_the_order_given_with_rising_ids(store):
    answers = await store.enqueue_many(
        [NewJob(kind="k", args={"n": n}, priority=1 + n % 4) for n in range(200)]
    )
    assert [answer.job.args["n"] for answer in answers] == list(range(200))
    ids = [answer.job.id for answer in answers]
    assert ids == sorted(set(ids))
    for answer in answers[::50]:
        assert (await store.get(answer.job.id)).args == answer.job.args
    assert await store.enqueue_many([]) == []


ALIKE = {
    "plain": {},
    "due later": {"delay": 3600},
    "parked": {"pending": True},
    "full": {
        "tags": ("eu", "big one"),
        "meta": {"by": "test"},
        "timeout": 90.0,
        "correlation_id": "request-1",
        "priority": 4,
    },
}


@pytest.mark.parametrize("options", ALIKE.values(), ids=ALIKE)
async def test_many_that_differ_in_their_arguments_only_are_what_stands_there(store, options):
    arguments = [{"n": n, "text": ['ü\n\\"', None]} for n in range(300)]
    given = Alike(NewJob(kind="k", **options), arguments)
    as_list = [NewJob(kind="k", args=each, **options) for each in arguments]
    assert list(given) == as_list
    assert list(given[10:12]) == as_list[10:12]
    for jobs in (given, as_list):
        made = await store.enqueue_many(jobs)
        assert all(each.inserted for each in made)
        assert [each.job.args for each in made] == arguments
        ids = [each.job.id for each in made]
        assert ids == sorted(set(ids))
        assert [await store.get(ids[n]) for n in (0, 150, 299)] == [made[n].job for n in (0, 150, 299)]
    assert await store.enqueue_many(given[:0]) == []
    assert [each.job.args for each in await store.enqueue_many(given[:1])] == arguments[:1]


async def test_many_that_are_alike_down_to_their_unique_key_are_one(store, rows):
    made = await store.enqueue_many(Alike(NewJob(kind="k", unique_key="u"), [{"n": n} for n in range(3)]))
    assert [each.inserted for each in made] == [True, False, False]
    assert {each.job.id for each in made} == {made[0].job.id}
    assert rows.count() == 1


async def test_of_many_that_are_alike_one_that_cannot_be_stored_refuses_all(store, rows):
    with pytest.raises(InvalidArguments):
        await store.enqueue_many(Alike(NewJob(kind="k"), [{"n": 1}, {"n": float("nan")}]))
    assert rows.count() == 0


async def test_a_delay_and_a_moment_schedule_by_the_clock_of_the_database(store):
    soon = (await store.enqueue(NewJob(kind="k", delay=timedelta(minutes=5)))).job
    assert soon.state is State.SCHEDULED
    assert soon.scheduled_at - soon.created_at == timedelta(minutes=5)
    moment = datetime(2100, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
    later = (await store.enqueue(NewJob(kind="k", at=moment))).job
    assert (later.state, later.scheduled_at) == (State.SCHEDULED, moment)
    past = (await store.enqueue(NewJob(kind="k", at=datetime(2000, 1, 1, tzinfo=UTC)))).job
    assert (past.state, past.scheduled_at) == (State.AVAILABLE, datetime(2000, 1, 1, tzinfo=UTC))
    now = (await store.enqueue(NewJob(kind="k", delay=0))).job
    assert now.state is State.AVAILABLE
    parked = (await store.enqueue(NewJob(kind="k", delay=60, pending=True))).job
    assert parked.state is State.PENDING


BAD = {
    "no kind": ({"kind": ""}, "1 to 200 characters"),
    "long kind": ({"kind": "k" * 201}, "1 to 200 characters"),
    "kind not text": ({"kind": 7}, "must be text"),
    "NUL in queue": ({"queue": "a\0b"}, "NUL"),
    "surrogate in queue": ({"queue": "a\ud800"}, "surrogate"),
    "priority 0": ({"priority": 0}, "priority must be a whole number from 1 to 4"),
    "priority True": ({"priority": True}, "priority"),
    "priority 1.5": ({"priority": 1.5}, "priority"),
    "delay and at": ({"delay": 1, "at": datetime.now(UTC)}, "delay or at, not both"),
    "naive at": ({"at": datetime(2030, 1, 1)}, "naive"),  # noqa: DTZ001 - that is the point
    "at as text": ({"at": "2030-01-01"}, "must be a datetime"),
    "negative delay": ({"delay": -1}, "delay must be at least 0"),
    "endless delay": ({"delay": float("inf")}, "finite"),
    "NaN delay": ({"delay": float("nan")}, "finite"),
    "no attempts": ({"max_attempts": 0}, "max_attempts"),
    "no timeout": ({"timeout": 0}, "timeout"),
    "empty unique key": ({"unique_key": ""}, "unique_key"),
    "states without key": ({"unique_states": UNFINISHED}, "without a unique_key"),
    "narrow states": ({"unique_key": "u", "unique_states": frozenset({State.RUNNING})}, "lacks available"),
    "one tag": ({"tags": "one"}, "tags must be a sequence"),
    "many tags": ({"tags": tuple(map(str, range(51)))}, "at most 50"),
    "NUL in tag": ({"tags": ("a\0",)}, "NUL"),
    "args a list": ({"args": [1]}, "must be a dict"),
    "args NaN": ({"args": {"a": float("nan")}}, "JSON has no word"),
    "args infinite": ({"args": {"a": [float("-inf")]}}, "JSON has no word"),
    "args bytes": ({"args": {"a": b"x"}}, "base64"),
    "args object": ({"args": {"a": object()}}, "hold a object"),
    "args keys": ({"args": {1: "a"}}, "JSON keys are text"),
    "args surrogate": ({"args": {"a": "\ud800"}}, "lone surrogate"),
    "args surrogate key": ({"args": {"\udfff": 1}}, "lone surrogate"),
    "meta surrogate": ({"meta": {"a": "\ud800"}}, "lone surrogate"),
    "args deep": ({"args": {"a": eval("[" * 70 + "]" * 70)}}, "deeper than 64"),
    "args huge number": ({"args": {"a": 10**5000}}, "digits"),
    "args long": ({"args": {"a": "x" * 1024 * 1024}}, "the limit is 1,048,576"),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_input_is_refused_in_words_and_writes_nothing(store, rows, name):
    options, words = BAD[name]
    bad = NewJob(**({"kind": "k"} | options))
    for attempt in (store.enqueue(bad), store.enqueue_many([NewJob(kind="good"), bad])):
        with pytest.raises((ConfigurationError, InvalidArguments), match=words) as refused:
            await attempt
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 300
    assert rows.count() == 0


async def test_the_payload_limit_counts_bytes_and_is_the_stores(make_store):
    store = make_store(payload_limit=100)
    assert (await store.enqueue(NewJob(kind="k", args={"a": "x" * 92}))).inserted
    with pytest.raises(PayloadTooLarge, match="101 bytes, the limit is 100"):
        await store.enqueue(NewJob(kind="k", args={"a": "x" * 93}))
    with pytest.raises(PayloadTooLarge):
        await store.enqueue(NewJob(kind="k", args={"a": "ü" * 47}))
    (claim,) = await store.claim()
    with pytest.raises(PayloadTooLarge):
        await store.complete(claim, "x" * 100)
    assert await store.complete(claim, "x" * 98)


async def test_a_taken_unique_key_answers_with_the_row_that_has_it(store, rows):
    first = await store.enqueue(NewJob(kind="k", unique_key="u", args={"n": 1}))
    second = await store.enqueue(NewJob(kind="other", unique_key="u", args={"n": 2}))
    assert (first.inserted, second.inserted) == (True, False)
    assert second.job == first.job
    assert rows.count() == 1


async def test_a_unique_key_is_held_in_every_unfinished_state_and_free_after(store, rows):
    steps = {
        State.AVAILABLE: lambda _key: None,
        State.PENDING: lambda key: rows.execute(
            f"UPDATE rowqueue_job SET state = 'pending' WHERE id = {key}"
        ),
        State.SCHEDULED: lambda key: rows.execute(
            f"UPDATE rowqueue_job SET state = 'scheduled' WHERE id = {key}"
        ),
        State.RETRYABLE: lambda key: rows.execute(
            f"UPDATE rowqueue_job SET state = 'retryable' WHERE id = {key}"
        ),
        State.RUNNING: lambda key: rows.execute(
            f"UPDATE rowqueue_job SET state = 'running' WHERE id = {key}"
        ),
    }
    assert set(steps) == UNFINISHED
    key = (await store.enqueue(NewJob(kind="k", unique_key="u"))).job.id
    for step in steps.values():
        step(key)
        again = await store.enqueue(NewJob(kind="k", unique_key="u"))
        assert (again.inserted, again.job.id) == (False, key)
    for finish in ("cancel", "discard", "skip"):
        rows.execute("UPDATE rowqueue_job SET state = 'available' WHERE finalized_at IS NULL")
        assert await getattr(store, finish)(key)
        fresh = await store.enqueue(NewJob(kind="k", unique_key="u"))
        assert fresh.inserted
        key = fresh.job.id


@pytest.mark.parametrize("state", sorted(FINAL))
async def test_a_wider_set_of_states_holds_the_key_after_the_end(store, rows, state):
    wide = UNFINISHED | {state}
    key = (await store.enqueue(NewJob(kind="k", unique_key="u", unique_states=wide))).job.id
    now = rows.rows(f"SELECT created_at AS at FROM rowqueue_job WHERE id = {key}")[0]["at"]
    for final in sorted(FINAL):
        rows.execute(f"UPDATE rowqueue_job SET state = '{final}', finalized_at = created_at WHERE id = {key}")
        again = await store.enqueue(NewJob(kind="k", unique_key="u", pending=True))
        assert again.inserted is (final is not state), (final, now)
        if again.inserted:
            rows.execute(f"DELETE FROM rowqueue_job WHERE id = {again.job.id}")
        else:
            assert again.job.id == key


async def test_a_batch_mixes_new_taken_and_repeated_keys(store, rows):
    held = await store.enqueue(NewJob(kind="k", unique_key="held"))
    jobs = [
        NewJob(kind="a"),
        NewJob(kind="b", unique_key="held"),
        NewJob(kind="c", unique_key="new"),
        NewJob(kind="d"),
        NewJob(kind="e", unique_key="new"),
        NewJob(kind="f", unique_key="held"),
    ]
    answers = await store.enqueue_many(jobs)
    assert [answer.inserted for answer in answers] == [True, False, True, True, False, False]
    assert [answer.job.kind for answer in answers] == ["a", "k", "c", "d", "c", "k"]
    assert answers[1].job == held.job
    assert answers[4].job.id == answers[2].job.id
    assert rows.count() == 4


async def test_unique_keys_are_compared_as_they_are(store):
    keys = ["u", "U", "u ", "ü", "u\u0308", "%", "_", "'", '"', "\\", "\n", "$1", "{}", ":a", "?"]
    answers = await store.enqueue_many([NewJob(kind="k", unique_key=key) for key in keys])
    assert all(answer.inserted for answer in answers)
    again = await store.enqueue_many([NewJob(kind="k", unique_key=key) for key in reversed(keys)])
    assert [answer.job.id for answer in again] == [answer.job.id for answer in reversed(answers)]
