"""gqs' verbs on a pulled job, its observer, its cleaner and its handlers, on its own table."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from rowqueue.core.errors import ConfigurationError, RowqueueError
from rowqueue.core.states import State
from rowqueue.profiles.gqs import (
    Backoff,
    ErrBadStatus,
    ErrCompleteFailed,
    ErrJobLost,
    ErrKill,
    ErrLockLost,
    Gqs,
    Job,
    Message,
    Status,
)
from tests.profiles.gqs_table import pulled, seconds_from_now

PENDING, PROCESSING, DONE, DEAD = Status.PENDING, Status.PROCESSING, Status.DONE, Status.DEAD


# ExtendLock, Complete, Return, Kill


def test_extend_lock_counts_from_now(queue):
    job = pulled(queue)
    longer = queue.puller.extend_lock(job, 500)
    assert seconds_from_now(longer.locked_until) == pytest.approx(500, abs=5)
    assert (longer.status, longer.attempts) == (PROCESSING, 1)
    assert longer.updated_at >= job.updated_at


def test_extend_lock_of_an_expired_lock_holds_while_nobody_pulled_it(queue, table):
    job = pulled(queue)
    table.expire(job.id)
    assert seconds_from_now(queue.puller.extend_lock(job, 60).locked_until) > 50
    assert queue.puller.pull() == []


def test_complete_ends_a_job(queue):
    job = pulled(queue)
    done = queue.puller.complete(job)
    assert (done.status, done.locked_until, done.attempts) == (DONE, None, 1)
    assert done.updated_at >= job.updated_at


def test_return_makes_it_pending_after_a_backoff_and_keeps_the_attempt(queue, table):
    job = pulled(queue)
    back = queue.puller.return_(job, 40)
    assert (back.status, back.locked_until, back.attempts) == (PENDING, None, 1)
    assert seconds_from_now(back.next_run_at) == pytest.approx(40, abs=5)
    assert queue.puller.pull() == []
    table.due(job.id)
    assert [each.attempts for each in queue.puller.pull()] == [2]


def test_kill_ends_a_processing_and_a_pending_job(queue):
    pending = queue.pusher.push(Message(), 60)
    for job in (pulled(queue), pending):
        dead = queue.puller.kill(job)
        assert (dead.status, dead.locked_until) == (DEAD, None)
    assert queue.puller.pull(10) == []


VERBS: dict[str, tuple[type[RowqueueError], Callable[[Gqs, Any, bool], Job]]] = {
    "extend_lock": (ErrLockLost, lambda q, job, unfenced: q.puller.extend_lock(job, 60, unfenced=unfenced)),
    "complete": (ErrCompleteFailed, lambda q, job, unfenced: q.puller.complete(job, unfenced=unfenced)),
    "return_": (ErrJobLost, lambda q, job, unfenced: q.puller.return_(job, 5, unfenced=unfenced)),
    "kill": (ErrJobLost, lambda q, job, unfenced: q.puller.kill(job, unfenced=unfenced)),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", [0, 3, 4])
def test_a_verb_refuses_a_job_in_another_status(queue, table, verb, status):
    error, do = VERBS[verb]
    job = pulled(queue)
    table.set(job.id, status=str(status))
    before = queue.observer.get(job.id)
    for target, unfenced in ((job, False), (job.id, True)):
        with pytest.raises(error, match=str(job.id)):
            do(queue, target, unfenced)
    assert queue.observer.get(job.id) == before


@pytest.mark.parametrize("verb", ["extend_lock", "complete", "return_"])
def test_only_kill_takes_a_pending_job(queue, verb):
    error, do = VERBS[verb]
    job = queue.pusher.push(Message())
    with pytest.raises(error):
        do(queue, job, False)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_refuses_a_job_that_is_gone(queue, verb):
    error, do = VERBS[verb]
    job = pulled(queue)
    queue.puller.complete(job)
    queue.cleaner.clean()
    for target, unfenced in ((job, False), (uuid4(), True)):
        with pytest.raises(error, match="gone"):
            do(queue, target, unfenced)


@pytest.mark.parametrize("verb", VERBS)
def test_a_late_worker_cannot_touch_a_job_that_was_pulled_again(queue, table, verb):
    error, do = VERBS[verb]
    late = pulled(queue)
    table.expire(late.id)
    (fresh,) = queue.puller.pull()
    with pytest.raises(error, match="after 2 pulls, and this one is the job after 1"):
        do(queue, late, False)
    assert queue.observer.get(late.id) == fresh
    assert queue.puller.complete(fresh).status is DONE


@pytest.mark.parametrize("verb", VERBS)
def test_a_late_worker_cannot_touch_a_job_that_was_returned_and_pulled_again(queue, verb):
    error, do = VERBS[verb]
    late = pulled(queue)
    queue.puller.return_(late)
    queue.puller.pull()
    with pytest.raises(error):
        do(queue, late, False)


@pytest.mark.parametrize("verb", VERBS)
def test_the_seeds_answer_lets_a_late_worker_have_its_way(make_queue, table, verb):
    queue = make_queue(seed_answers=True)
    late = pulled(queue)
    table.expire(late.id)
    queue.puller.pull()
    assert VERBS[verb][1](queue, late, False).attempts == 2


def test_kill_of_a_pending_job_that_was_pulled_meanwhile_is_refused(queue):
    seen = queue.pusher.push(Message())
    (job,) = queue.puller.pull()
    with pytest.raises(ErrJobLost):
        queue.puller.kill(seen)
    assert queue.puller.complete(job).status is DONE


@pytest.mark.parametrize("verb", VERBS)
def test_a_bare_id_must_say_that_it_is_unfenced(queue, verb):
    job = pulled(queue)
    with pytest.raises(ConfigurationError, match="unfenced"):
        VERBS[verb][1](queue, job.id, False)
    assert VERBS[verb][1](queue, job.id, True).id == job.id


# Observer


def test_get_of_an_unknown_id_is_none(queue):
    assert queue.observer.get(uuid4()) is None


def test_list_filters_by_status_and_limits(queue, table):
    for status in (1, 1, 1, 2, 3, 3, 4):
        table.insert(status=status)
    counts = {status: len(queue.observer.list(status)) for status in Status}
    assert counts == {Status.UNKNOWN: 7, PENDING: 3, PROCESSING: 1, DONE: 2, DEAD: 1}
    assert len(queue.observer.list(PENDING, 2)) == 2
    assert len(queue.observer.list(Status.UNKNOWN, -1)) == len(queue.observer.list(Status.UNKNOWN, 0)) == 7
    assert {job.status for job in queue.observer.list(DONE)} == {DONE}


# Cleaner


def test_clean_deletes_done_and_dead_jobs_only(queue, table):
    for status in (0, 1, 2, 3, 3, 4):
        table.insert(status=status)
    assert queue.cleaner.clean(DEAD) == 1
    assert queue.cleaner.clean(DONE) == 2
    table.insert(status=3)
    table.insert(status=4)
    assert queue.cleaner.clean() == 2
    assert {job.status for job in queue.observer.list()} == {Status.UNKNOWN, PENDING, PROCESSING}
    assert queue.cleaner.clean() == 0


@pytest.mark.parametrize("status", [PENDING, PROCESSING])
def test_clean_refuses_jobs_that_are_not_final(queue, status):
    with pytest.raises(ErrBadStatus):
        queue.cleaner.clean(status)


def test_clean_before_a_moment_goes_by_the_last_change(queue, table):
    old, new = pulled(queue), pulled(queue)
    for job in (old, new):
        queue.puller.complete(job)
    table.set(old.id, updated_at=table.moment(-3600))
    edge = queue.observer.get(old.id).updated_at
    assert queue.cleaner.clean(DONE, edge - timedelta(seconds=1)) == 0
    assert queue.cleaner.clean(DONE, edge) == 1
    assert [job.id for job in queue.observer.list()] == [new.id]
    with pytest.raises(ConfigurationError, match="naive"):
        queue.cleaner.clean(DONE, datetime.now())  # noqa: DTZ005 - a naive one is the point


def test_clean_deletes_more_than_one_transaction_holds(queue, table):
    table.insert(count=2500, status=3)
    assert queue.cleaner.clean() == 2500
    assert table.rows.count() == 0


# what gqs' worker does with a handler


def handler(error: BaseException | None = None) -> Callable[[Job], None]:
    def handle(job: Job) -> None:
        if error is not None:
            raise error

    return handle


def test_a_handler_that_returns_completes(queue):
    assert queue.puller.handle(pulled(queue), handler(), Backoff()).status is DONE


def test_a_handler_that_fails_is_returned_and_then_killed(queue, table):
    backoff = Backoff(initial=10, multiplier=2, max_interval=15, max_retries=2)
    job, delays = pulled(queue), []
    for _ in range(2):
        back = queue.puller.handle(job, handler(ValueError("x")), backoff)
        assert back.status is PENDING
        delays.append(seconds_from_now(back.next_run_at))
        table.due(job.id)
        (job,) = queue.puller.pull()
    assert delays == [pytest.approx(10, abs=3), pytest.approx(15, abs=3)]
    assert queue.puller.handle(job, handler(ValueError("x")), backoff).status is DEAD
    assert job.attempts == backoff.max_retries + 1


def test_a_handler_may_kill_its_job(queue):
    assert queue.puller.handle(pulled(queue), handler(ErrKill()), Backoff()).status is DEAD


def test_a_handler_that_lost_its_lock_writes_nothing(queue):
    job = pulled(queue)
    assert queue.puller.handle(job, handler(ErrLockLost()), Backoff()) is None
    assert queue.observer.get(job.id) == job


def test_the_backoff_grows_is_cut_and_then_spread():
    backoff = Backoff(initial=1, multiplier=3, max_interval=10, randomization=0.5)
    assert [backoff.next(attempts, random=0.5) for attempts in (1, 2, 3, 4, 1000)] == [1, 3, 9, 10, 10]
    assert backoff.next(9, random=1.0) == 15  # the spread may go past the longest interval
    assert backoff.next(1, random=0.0) == 0.5
    assert Backoff(max_interval=0).next(5, random=0.5) == 0
    assert Backoff(multiplier=0).next(2, random=0.5) == 0
    assert Backoff(max_retries=1).next(2, random=0.5) is None


# with every verb of rowqueue's, too


def test_the_same_table_is_a_store(queue, table):
    queue.pusher.push(Message(b"1", {"a": 1}))
    (claim,) = queue.store.claim(1, worker="me")
    assert (claim.record.payload, claim.job.meta, claim.job.attempt, claim.fence) == (b"1", {"a": 1}, 1, (1,))
    assert queue.store.fail(claim, "boom", delay=60).state is State.AVAILABLE
    assert queue.observer.get(claim.record.id).status is PENDING
    table.due(claim.record.id)
    (again,) = queue.store.claim()
    assert not queue.store.complete(claim)
    table.expire(claim.record.id)
    table.set(claim.record.id, attempts="25")
    assert [rescued.state for rescued in queue.store.rescue()] == [State.DISCARDED]
    assert not queue.store.complete(again)
    assert queue.observer.get(claim.record.id).status is DEAD


def test_the_pull_uses_the_index_on_a_hundred_thousand_jobs(make_queue, table):
    if table.rows.is_sqlite:
        pytest.skip("SQLite reads its moments by a function")
    table.insert(count=100_000, status=3)
    table.insert(count=50)
    table.rows.execute("ANALYZE jobs")
    queue = make_queue()
    sql = queue.store._statements["claim"]
    bound = sql.bind({"duration": 30.0, "worker": None, "limit": 10})
    plan = table.rows._connection.execute(f"EXPLAIN {sql.sql}", bound).fetchall()
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "jobs_status_" in text
    assert "Seq Scan on jobs" not in text
