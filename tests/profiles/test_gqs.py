"""gqs' rules, on its own table, in its own words, on PostgreSQL and SQLite: push, pull, and the claim's verbs."""

import threading
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest

from rowqueue.core.errors import ConfigurationError, InvalidArguments, UniqueConflict
from rowqueue.profiles.gqs import (
    Gqs,
    Message,
    Status,
    init_db,
    parse_status,
)
from tests.profiles.gqs_table import pulled, seconds_from_now

PENDING, PROCESSING, DONE, DEAD = Status.PENDING, Status.PROCESSING, Status.DONE, Status.DEAD


# InitDB and the model


def test_init_db_may_be_called_again_and_loses_nothing(gqs_url, queue, table):
    queue.pusher.push(Message())
    init_db(gqs_url)
    assert table.rows.count() == 1


def test_init_db_by_many_at_once_makes_one_table(database_url):
    errors: list[BaseException] = []

    def create() -> None:
        try:
            init_db(database_url)
        except BaseException as error:  # noqa: BLE001 - it is what the test looks for
            errors.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []


def test_the_table_has_gqs_columns_types_and_indexes(gqs_url, table):
    if table.rows.is_sqlite:
        found = {row["name"]: row["type"].lower() for row in table.rows.rows("PRAGMA table_info(jobs)")}
        indexes = {row["name"] for row in table.rows.rows("PRAGMA index_list(jobs)")}
        assert (found["id"], found["metadata"], found["payload"]) == ("uuid", "jsonb", "blob")
    else:
        columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'jobs'"
        found = {row["column_name"]: row["data_type"] for row in table.rows.rows(columns)}
        indexes = {row["indexname"] for row in table.rows.rows("SELECT indexname FROM pg_indexes")}
        assert (found["id"], found["metadata"], found["payload"]) == ("uuid", "jsonb", "bytea")
    assert set(found) == {
        "id", "created_at", "updated_at", "status", "attempts", "locked_until", "next_run_at", "metadata", "payload",
    }  # fmt: skip
    assert {
        f"jobs_status_{column}_idx" for column in ("next_run_at", "locked_until", "updated_at")
    } <= indexes


def test_a_queue_without_its_table_says_so(database_url):
    with pytest.raises(ConfigurationError, match="jobs"):
        Gqs(database_url)


def test_statuses_have_gqs_numbers_and_names():
    assert [(int(status), str(status)) for status in Status] == [
        (0, "Unknown"), (1, "Pending"), (2, "Processing"), (3, "Done"), (4, "Dead"),
    ]  # fmt: skip
    assert parse_status("Dead") is DEAD
    for wrong in ("Unknown", "dead", "Running", ""):
        with pytest.raises(ConfigurationError):
            parse_status(wrong)


# Push


def test_push_makes_a_pending_job_with_its_message(queue):
    message = Message(b"\x00\xff'; --", {"a": [1, "ü"], "big": 2**60})
    pushed = queue.pusher.push(message)
    assert queue.observer.get(message.id) == pushed
    assert (pushed.id, pushed.payload, pushed.metadata) == (message.id, message.payload, message.metadata)
    assert (pushed.status, pushed.attempts, pushed.locked_until) == (PENDING, 0, None)
    assert pushed.created_at == pushed.updated_at == pushed.next_run_at
    assert abs(seconds_from_now(pushed.created_at)) < 5


def test_a_delayed_push_waits_and_a_negative_one_goes_first(queue, table):
    late = queue.pusher.push(Message(), timedelta(hours=1))
    now = queue.pusher.push(Message())
    early = queue.pusher.push(Message(), -60)
    assert seconds_from_now(late.next_run_at) == pytest.approx(3600, abs=5)
    assert [job.id for job in queue.puller.pull(10)] == [early.id, now.id]
    table.due(late.id)
    assert [job.id for job in queue.puller.pull(10)] == [late.id]


def test_an_id_is_pushed_once(queue):
    message = Message(b"first")
    queue.pusher.push(message)
    with pytest.raises(UniqueConflict):
        queue.pusher.push(Message(b"second", id=message.id))
    assert queue.observer.get(message.id).payload == b"first"


def test_a_message_that_cannot_be_stored_is_refused(queue):
    for message in (Message("text"), Message(metadata={"a": b"bytes"}), Message(metadata={1: 2})):  # type: ignore[arg-type,dict-item]
        with pytest.raises((ConfigurationError, InvalidArguments)):
            queue.pusher.push(message)
    assert queue.observer.list() == []


def test_a_push_in_the_callers_transaction_exists_when_that_commits(queue, table, gqs_url):
    connection = table.rows._connection
    connection.execute("BEGIN")
    queue.on(connection).push(Message(b"undone"))
    connection.execute("ROLLBACK")
    connection.execute("BEGIN")
    kept = queue.on(connection).push(Message(b"kept"))
    connection.execute("COMMIT")
    assert [job.id for job in queue.observer.list()] == [kept.id]


# Pull


def test_pull_takes_due_pending_jobs_and_locks_them(queue, table):
    queue.pusher.push(Message(b"x", {"k": "v"}))
    (job,) = queue.puller.pull(5, 90)
    assert (job.status, job.attempts, job.payload, job.metadata) == (PROCESSING, 1, b"x", {"k": "v"})
    assert seconds_from_now(job.locked_until) == pytest.approx(90, abs=5)
    assert job.updated_at >= job.created_at
    assert queue.observer.get(job.id) == job
    assert queue.puller.pull(5) == []


def test_pull_takes_a_batch_in_order_of_next_run_at(queue, table):
    jobs = [queue.pusher.push(Message()) for _ in range(5)]
    for index, job in enumerate(jobs):
        table.set(job.id, next_run_at=table.moment(-10 + (index * 3) % 5))
    order = [jobs[index].id for index in (0, 2, 4, 1, 3)]
    assert [job.id for job in queue.puller.pull(3)] == order[:3]
    assert [job.id for job in queue.puller.pull(3)] == order[3:]


def test_pull_takes_rows_that_a_go_process_pushed(queue, table):
    table.insert(payload="00ff41", metadata='{"from": "go"}')
    (job,) = queue.puller.pull()
    assert (job.payload, job.metadata, job.attempts) == (b"\x00\xffA", {"from": "go"}, 1)
    queue.puller.complete(job)
    (row,) = table.rows.rows("SELECT status, locked_until FROM jobs")
    assert (row["status"], row["locked_until"]) == (3, None)


def test_done_and_dead_jobs_are_never_pulled(queue, table):
    table.insert(status=3)
    table.insert(status=4)
    table.insert(status=0)
    assert queue.puller.pull(10) == []


def test_an_expired_lock_is_pulled_again_and_counted(queue, table):
    first = pulled(queue)
    assert queue.puller.pull() == []
    table.expire(first.id)
    (second,) = queue.puller.pull()
    assert (second.id, second.attempts, second.status) == (first.id, 2, PROCESSING)


def test_an_expired_lock_competes_by_its_old_next_run_at(queue, table):
    old, new = pulled(queue), queue.pusher.push(Message())
    table.expire(old.id)
    table.set(old.id, next_run_at=table.moment(-60))
    assert [job.id for job in queue.puller.pull(1)] == [old.id]
    assert [job.id for job in queue.puller.pull(1)] == [new.id]


def test_an_expired_lock_of_a_job_that_is_not_due_waits(queue, table):
    job = pulled(queue)
    table.expire(job.id)
    table.set(job.id, next_run_at=table.moment(60))
    assert queue.puller.pull() == []


def test_each_job_is_pulled_once_by_eight_pullers(make_queue, table):
    table.insert(count=2000)
    seen: list[UUID] = []
    errors: list[BaseException] = []
    start = threading.Barrier(8)

    def pull(queue: Gqs) -> None:
        try:
            start.wait(30)
            while jobs := queue.puller.pull(7, 300):
                seen.extend(job.id for job in jobs)
        except BaseException as error:  # noqa: BLE001 - it is what the test looks for
            errors.append(error)

    threads = [threading.Thread(target=pull, args=(make_queue(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert errors == []
    assert Counter(Counter(seen).values()) == {1: 2000}
    assert table.rows.count("attempts = 1 AND status = 2") == 2000


def test_expired_locks_are_pulled_once_by_eight_pullers(make_queue, table):
    table.insert(count=200, status=2)
    table.rows.execute(f"UPDATE jobs SET attempts = 1, locked_until = {table.moment(-1)}")
    seen: list[UUID] = []

    def pull(queue: Gqs) -> None:
        while jobs := queue.puller.pull(3, 300):
            seen.extend(job.id for job in jobs)

    threads = [threading.Thread(target=pull, args=(make_queue(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert Counter(Counter(seen).values()) == {1: 200}
    assert table.rows.count("attempts = 2") == 200


def test_a_crash_loop_ends_dead_and_stays_dead(make_queue, table):
    queue = make_queue(max_attempts=3)
    id_ = pulled(queue).id
    for attempts in (2, 3):
        table.expire(id_)
        assert [job.attempts for job in queue.puller.pull()] == [attempts]
    table.expire(id_)
    for _ in range(3):
        assert queue.puller.pull() == []
    job = queue.observer.get(id_)
    assert (job.status, job.attempts, job.locked_until) == (DEAD, 3, None)


def test_a_job_that_is_returned_is_not_judged_by_its_attempts(make_queue):
    queue = make_queue(max_attempts=2)
    job = pulled(queue)
    for attempts in range(2, 6):
        queue.puller.return_(job)
        (job,) = queue.puller.pull()
        assert job.attempts == attempts


def test_the_seeds_answer_to_a_crash_loop_is_to_go_on(make_queue, table):
    queue = make_queue(seed_answers=True, max_attempts=2)
    id_ = pulled(queue).id
    for attempts in range(2, 8):
        table.expire(id_)
        assert [job.attempts for job in queue.puller.pull()] == [attempts]


def test_a_batch_of_nothing_is_refused_and_everything_by_the_seeds_answer(make_queue):
    queue = make_queue()
    for _ in range(3):
        queue.pusher.push(Message())
    for batch in (0, -1):
        with pytest.raises(ConfigurationError, match="limit"):
            queue.puller.pull(batch)
    assert len(make_queue(seed_answers=True).puller.pull(0)) == 3
