"""claim and extend: the order, the limits, the fence, and what is passed over."""

from datetime import timedelta

import pytest

from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import State
from rowqueue.core.values import NewJob


async def test_a_claim_starts_an_attempt_under_a_new_lease(store, rows):
    job = (await store.enqueue(NewJob(kind="k", args={"a": 1}))).job
    (claim,) = await store.claim(worker="w-1", lease=timedelta(seconds=9))
    assert (claim.key, claim.lease) == (job.id, 1)
    assert (claim.job.state, claim.job.attempt, claim.job.lease, claim.job.args) == (
        "running",
        1,
        1,
        {"a": 1},
    )
    assert claim.job.attempted_by == "w-1"
    assert claim.job.leased_until - claim.job.attempted_at == timedelta(seconds=9)
    assert await store.get(job.id) == claim.job
    assert await store.claim(10) == []
    assert await store.release(claim)
    (again,) = await store.claim()
    assert (again.lease, again.job.attempt, again.job.attempted_by) == (2, 1, None)
    assert again.job.leased_until - again.job.attempted_at == timedelta(seconds=30)


async def test_nothing_to_claim_is_an_empty_list(store):
    assert await store.claim(5) == []
    assert await store.claim(5, queues=["none"]) == []
    assert await store.claim(5, queues={}) == []
    assert await store.claim(5, queues={"default": 0}) == []


async def test_jobs_come_in_order_of_priority_time_and_id(store, rows):
    jobs = [NewJob(kind="k", args={"n": n}, priority=1 + n * 7 % 4) for n in range(40)]
    await store.enqueue_many(jobs)
    rows.pass_time(60, 3, 13, 23, 33)
    expected = [
        row["id"]
        for row in sorted(
            rows.all().values(), key=lambda row: (row["priority"], row["scheduled_at"], row["id"])
        )
    ]
    claimed = []
    while batch := await store.claim(7, queues=["default"]):
        claimed += [claim.key for claim in batch]
    assert claimed == expected


async def test_the_limit_and_the_slots_of_queues_hold_together(store):
    await store.enqueue_many([NewJob(kind="k", queue=queue) for queue in ("a", "b", "c") for _ in range(5)])
    claims = await store.claim(4, queues={"a": 2, "b": 1, "none": 9})
    assert sorted(claim.job.queue for claim in claims) == ["a", "a", "b"]
    assert len(await store.claim(3, queues=["a", "b", "c"])) == 3
    assert len(await store.claim(4, queues={"a": 4, "b": 4})) == 4
    assert len(await store.claim(100)) == 5
    assert await store.claim(100) == []


async def test_claims_of_several_queues_come_back_in_claim_order(store):
    jobs = [NewJob(kind="k", queue="ab"[n % 2], priority=1 + n % 3) for n in range(12)]
    await store.enqueue_many(jobs)
    claims = await store.claim(12)
    order = [(claim.job.priority, claim.job.scheduled_at, claim.key) for claim in claims]
    assert order == sorted(order)
    assert len(order) == 12


async def test_kinds_and_conditions_choose(store):
    await store.enqueue_many(
        [NewJob(kind=kind, correlation_id=word) for kind in ("a", "b") for word in ("x", "y")]
    )
    (claim,) = await store.claim(9, kinds=["b"], where=lambda job: job.c.correlation_id == "y")
    assert (claim.job.kind, claim.job.correlation_id) == ("b", "y")
    assert [claim.job.kind for claim in await store.claim(9, kinds=["a", "none"])] == ["a", "a"]
    assert await store.claim(9, kinds=[]) == []
    assert await store.claim(9, kinds=["a"]) == []
    assert len(await store.claim(9)) == 1


async def test_conditions_bind_their_values_each_time(store):
    await store.enqueue_many([NewJob(kind="k", correlation_id=str(n)) for n in range(4)])
    for n in (2, 0, 3):
        (claim,) = await store.claim(9, where=lambda job, n=n: job.c.correlation_id == str(n))
        assert claim.job.correlation_id == str(n)


@pytest.mark.parametrize("state", sorted(set(State) - {State.AVAILABLE}))
async def test_only_available_jobs_are_claimed(store, rows, state):
    await store.enqueue(NewJob(kind="k"))
    finalized = "created_at" if state.is_final else "NULL"
    rows.execute(f"UPDATE rowqueue_job SET state = '{state}', finalized_at = {finalized}")
    assert await store.claim(5) == []
    assert await store.claim(5, queues=["default"], kinds=["k"]) == []


async def test_a_paused_queue_gives_nothing_until_it_is_resumed(store):
    await store.enqueue_many([NewJob(kind="k", queue=queue) for queue in ("a", "b")])
    assert await store.pause("a")
    assert not await store.pause("a")
    assert [claim.job.queue for claim in await store.claim(9, queues=["a", "b"])] == ["b"]
    assert await store.claim(9) == []
    paused = {info.name: info.paused_at is not None for info in await store.queues()}
    assert paused == {"a": True}
    assert await store.resume("a")
    assert not await store.resume("a")
    assert not await store.resume("never heard of")
    assert [claim.job.queue for claim in await store.claim(9)] == ["a"]


BAD = {
    "no limit": ({"limit": 0}, "limit must be a whole number"),
    "limit of text": ({"limit": "3"}, "limit"),
    "a queue as text": ({"queues": "mail"}, r"write \['mail'\]"),
    "slots below 0": ({"queues": {"a": -1}}, "slots"),
    "slots of text": ({"queues": {"a": "1"}}, "slots"),
    "NUL in a queue": ({"queues": ["a\0"]}, "NUL"),
    "surrogate in a kind": ({"kinds": ["a\ud800"]}, "surrogate"),
    "kinds as text": ({"kinds": "mail"}, r"write \['mail'\]"),
    "a short lease": ({"lease": 0.5}, "lease must be at least 1"),
    "no worker": ({"worker": ""}, "worker"),
    "no condition": ({"where": lambda job: True}, "SQLAlchemy condition"),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_input_is_refused_and_claims_nothing(store, rows, name):
    options, words = BAD[name]
    await store.enqueue(NewJob(kind="k"))
    before = rows.all()
    with pytest.raises(ConfigurationError, match=words):
        await store.claim(**options)
    assert rows.all() == before


async def test_extend_moves_the_lease_of_exactly_those_claims(store, rows):
    await store.enqueue_many([NewJob(kind="k") for _ in range(4)])
    claims = await store.claim(4)
    rows.pass_time(20)
    outcomes = await store.extend(claims[:2], lease=100)
    assert [(outcome.done, outcome.state, outcome.key) for outcome in outcomes] == [
        (True, "running", claims[0].key),
        (True, "running", claims[1].key),
    ]
    left = {key: row["left"] for key, row in ((row["id"], row) for row in rows.rows(_LEFT[rows.kind]))}
    assert [round(left[claim.key], -1) for claim in claims] == [100, 100, 10, 10]
    assert await store.extend([]) == []


_LEFT = {
    "sqlite": "SELECT id, (leased_until - unixepoch() * 1000000) / 1000000.0 AS left FROM rowqueue_job",
    "mariadb": 'SELECT id, timestampdiff(SECOND, utc_timestamp(), leased_until) AS "left" FROM rowqueue_job',
    "postgresql": "SELECT id, extract(epoch FROM leased_until - now())::float AS left FROM rowqueue_job",
}


async def test_extend_answers_each_claim_for_itself(store):
    await store.enqueue_many([NewJob(kind="k") for _ in range(6)])
    mine, stale, done, cancelled, gone, mixed = await store.claim(6)
    await store.release(stale)
    (fresh,) = await store.claim()
    await store.complete(done)
    await store.cancel(cancelled.key)
    await store.complete(gone)
    await store.delete(gone.key)
    await store.release(mixed)
    (remixed,) = await store.claim()
    answers = await store.extend([gone, done, mine, stale, cancelled, remixed, mixed, fresh])
    assert [answer.reason for answer in answers] == [
        "gone",
        "wrong_state",
        None,
        "lost",
        None,
        None,
        "lost",
        None,
    ]
    assert [answer.cancel_requested for answer in answers] == [False] * 4 + [True] + [False] * 3
    assert answers[3].lease == fresh.lease
