"""Held claims: work and completion commit together, or the work is undone and the failure is kept."""

import asyncio

import pytest
from sqlalchemy import exc

from rowqueue.core import control
from rowqueue.core.errors import ConfigurationError, InvalidArguments, StoreError
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.values import NewJob
from tests.support.holding import execute, hold


@pytest.fixture(autouse=True)
def _effects(rows):
    """A table of the user's own in the same database."""
    rows.execute("DROP TABLE IF EXISTS effect")
    rows.execute("CREATE TABLE effect (n integer)")


def effects(rows):
    return [row["n"] for row in rows.rows("SELECT n FROM effect ORDER BY n")]


async def enqueued(store, count=1, **options):
    answers = await store.enqueue_many([NewJob(kind="k", **options) for _ in range(count)])
    return [answer.job.id for answer in answers]


async def test_work_and_completion_commit_together(store, rows):
    (key,) = await enqueued(store)
    async with hold(store, worker="w-1") as held:
        await execute(held, "INSERT INTO effect VALUES (1)")
        held.complete({"rows": 1})
        seen = rows.row(key)
        assert (seen["state"], seen["attempt"], seen["attempted_by"]) == ("running", 1, "w-1"), (
            "counted already"
        )
        assert effects(rows) == []
    assert effects(rows) == [1]
    job = await store.get(key)
    assert (job.state, job.result, job.leased_until, job.failures) == ("completed", {"rows": 1}, None, 0)
    assert held.outcome.done
    assert held.job.id == held.claim.key == key


async def test_nothing_to_claim_gives_none(store):
    await enqueued(store, queue="other")
    async with hold(store, queues=["mine"]) as held:
        assert held is None
    async with hold(store, kinds=["strange"]) as held:
        assert held is None
    async with hold(store, where=lambda job: job.c.priority == 4) as held:
        assert held is None
    async with hold(store, queues=["other"], kinds=["k"], where=lambda job: job.c.priority == 2) as held:
        assert held.job.queue == "other"


async def test_an_error_undoes_the_work_keeps_the_failure_and_is_raised(make_store, rows):
    store = make_store(retry=RetryPolicy.constant(60))
    (key,) = await enqueued(store, max_attempts=2)
    with pytest.raises(ZeroDivisionError):
        async with hold(store) as held:
            await execute(held, "INSERT INTO effect VALUES (1)")
            held.complete("never")
            raise ZeroDivisionError("too bad")
    job = await store.get(key)
    assert (job.state, job.failures, job.attempt, job.result) == ("retryable", 1, 1, None)
    assert job.errors[0].error == "ZeroDivisionError: too bad"
    assert "test_held.py" in job.errors[0].trace
    assert held.outcome.state == "retryable"
    assert effects(rows) == []
    await store.promote(key)
    with pytest.raises(ValueError, match="again"):
        async with hold(store):
            raise ValueError("again")
    assert (await store.get(key)).state == "discarded"


async def test_a_worker_may_give_the_policy_of_the_kind(make_store):
    store = make_store(retry=RetryPolicy.constant(60))
    (key,) = await enqueued(store)
    with pytest.raises(ValueError, match="x"):
        async with hold(store) as held:
            held.retry = RetryPolicy.constant(0)
            raise ValueError("x")
    assert (await store.get(key)).state == "available"


@pytest.mark.parametrize(
    "ending, state, attempt, failures",
    [
        (control.Snooze(60), "scheduled", 0, 0),
        (control.Skip("nothing new"), "skipped", 1, 0),
        (control.Cancel("not wanted"), "cancelled", 1, 0),
        (control.Discard("never"), "discarded", 1, 0),
        (control.Retry(after=60), "retryable", 1, 1),
        (control.Retry(after=0), "available", 1, 1),
    ],
)
async def test_control_exceptions_choose_the_ending_and_are_not_raised(
    store, rows, ending, state, attempt, failures
):
    (key,) = await enqueued(store)
    async with hold(store) as held:
        await execute(held, "INSERT INTO effect VALUES (1)")
        raise ending
    job = await store.get(key)
    assert (job.state, job.attempt, job.failures) == (state, attempt, failures)
    assert held.outcome.done
    assert effects(rows) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, asyncio.CancelledError])
async def test_an_interruption_gives_the_attempt_back(store, rows, interruption):
    (key,) = await enqueued(store)
    with pytest.raises(interruption):
        async with hold(store) as held:
            await execute(held, "INSERT INTO effect VALUES (1)")
            raise interruption
    job = await store.get(key)
    assert (job.state, job.attempt, job.failures, job.rescues) == ("available", 0, 0, 0)
    assert effects(rows) == []


async def test_a_handler_that_exits_again_and_again_is_no_endless_loop(make_store):
    store = make_store(retry=RetryPolicy.constant(0))
    (key,) = await enqueued(store, max_attempts=2)
    for _ in range(2):
        with pytest.raises(SystemExit):
            async with hold(store):
                raise SystemExit(3)
    assert (await store.get(key)).state == "discarded"


async def test_a_result_that_cannot_be_stored_is_a_failure(store, rows):
    (key,) = await enqueued(store)
    with pytest.raises(InvalidArguments, match="the result"):
        async with hold(store) as held:
            await execute(held, "INSERT INTO effect VALUES (1)")
            held.complete(object())
    assert (await store.get(key)).failures == 1
    assert effects(rows) == []


@pytest.mark.parametrize("tables_url", ["postgres"], indirect=True)
async def test_a_constraint_that_is_checked_at_commit_is_a_failure(store, rows):
    rows.execute("DROP TABLE IF EXISTS child")
    rows.execute("DROP TABLE IF EXISTS parent")
    rows.execute("CREATE TABLE parent (id integer PRIMARY KEY)")
    rows.execute("CREATE TABLE child (p integer REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)")
    (key,) = await enqueued(store)
    with pytest.raises(StoreError, match="foreign key"):
        async with hold(store) as held:
            await execute(held, "INSERT INTO child VALUES (1)")
    job = await store.get(key)
    assert (job.state, job.failures) == ("retryable", 1)
    assert rows.rows("SELECT * FROM child") == []


@pytest.mark.parametrize("tables_url", ["postgres"], indirect=True)
async def test_an_error_of_a_statement_that_was_swallowed_is_a_failure(store, rows):
    (key,) = await enqueued(store)
    with pytest.raises(StoreError, match="transaction is aborted"):
        async with hold(store) as held:
            await execute(held, "INSERT INTO effect VALUES (1)")
            with pytest.raises(exc.DBAPIError):
                await execute(held, "SELECT nonsense")
    assert (await store.get(key)).failures == 1
    assert effects(rows) == []


@pytest.mark.parametrize("word", ["commit", "rollback"])
async def test_the_transaction_is_the_blocks_to_end(store, rows, word):
    (key,) = await enqueued(store)
    with pytest.raises(ConfigurationError, match="leave commit and rollback of held"):
        async with hold(store) as held:
            await execute(held, "INSERT INTO effect VALUES (1)")
            answer = getattr(held.connection, word)()
            if answer is not None:
                await answer
            with pytest.raises(exc.InvalidRequestError):  # it would commit alone
                await execute(held, "INSERT INTO effect VALUES (2)")
    assert (await store.get(key)).failures == 1
    assert effects(rows) == ([1] if word == "commit" else [])


async def test_a_row_that_was_ended_inside_stays_as_it_was_ended(store, rows):
    key, second = await enqueued(store, 2)
    async with hold(store) as held:
        await execute(held, f"DELETE FROM rowqueue_job WHERE id = {key}")
    assert (held.outcome.reason, await store.get(key)) == ("gone", None)
    async with hold(store) as held:
        bound = store.on(held.connection)
        answer = bound.complete(held.claim, "inside")
        assert (await answer if asyncio.iscoroutine(answer) else answer).done
    assert (await store.get(second)).result == "inside"


async def test_jobs_enqueued_through_the_held_connection_exist_when_it_commits(store, rows):
    await enqueued(store, 2)
    for fails in (True, False):

        async def work(fails=fails):
            async with hold(store) as held:
                answer = store.on(held.connection).enqueue(NewJob(kind="follow-up"))
                assert (await answer if asyncio.iscoroutine(answer) else answer).inserted
                if fails:
                    raise control.Discard

        await work()
        assert rows.count("kind = 'follow-up'") == (0 if fails else 1)
