"""gqs' rules, on its own table, in its own words, on PostgreSQL and SQLite."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from rowqueue.core.errors import ConfigurationError, InvalidArguments, RowqueueError, UniqueConflict
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
    init_db,
    parse_status,
)
from tests.support.stores import Raw, raw

PENDING, PROCESSING, DONE, DEAD = Status.PENDING, Status.PROCESSING, Status.DONE, Status.DEAD


class Table:
    """gqs' rows past rowqueue: what a Go process would see and write."""

    def __init__(self, rows: Raw) -> None:
        self.rows = rows

    def moment(self, seconds: float) -> str:
        """Now and so many seconds, as SQL text for what gqs itself stores."""
        if self.rows.is_sqlite:
            return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '{seconds} seconds') || '+00:00'"
        return f"now() + interval '1 second' * ({seconds})"

    def set(self, id_: UUID, **columns: str) -> None:
        changes = ", ".join(f"{name} = {value}" for name, value in columns.items())
        self.rows.execute(f"UPDATE jobs SET {changes} WHERE id = '{id_}'")

    def expire(self, id_: UUID) -> None:
        self.set(id_, locked_until=self.moment(-1))

    def due(self, id_: UUID) -> None:
        self.set(id_, next_run_at=self.moment(-1))

    def insert(self, *, count: int = 1, status: int = 1, payload: str = "", metadata: str = "{}") -> None:
        """As Go's pusher inserts."""
        now = self.moment(0)
        given = (
            "hex(randomblob(4)) || '-' || hex(randomblob(6))" if self.rows.is_sqlite else "gen_random_uuid()"
        )
        numbers = (
            f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n)"
            if self.rows.is_sqlite
            else f"(SELECT generate_series(1, {count}))"
        )
        if self.rows.is_sqlite:
            text = "lower(hex(randomblob(16)))"
            given = (
                f"(SELECT substr(x, 1, 8) || '-' || substr(x, 9, 4) || '-' || substr(x, 13, 4) || '-' ||"
                f" substr(x, 17, 4) || '-' || substr(x, 21) FROM (SELECT {text} AS x WHERE n.i > 0))"
            )
        names = "id, created_at, updated_at, status, attempts, next_run_at, metadata, payload"
        blob = f"x'{payload}'" if self.rows.is_sqlite else f"'\\x{payload}'::bytea"
        self.rows.execute(
            f"INSERT INTO jobs ({names}) SELECT {given}, {now}, {now}, {status}, 0, {now}, '{metadata}', {blob}"
            f" FROM {numbers} AS n(i)"
            if not self.rows.is_sqlite
            else f"INSERT INTO jobs ({names}) SELECT {given}, {now}, {now}, {status}, 0, {now}, '{metadata}', {blob}"
            f" FROM {numbers} AS n"
        )


@pytest.fixture
def url(database_url: str) -> str:
    init_db(database_url)
    return database_url


@pytest.fixture
def make(url: str) -> Iterator[Callable[..., Gqs]]:
    made: list[Gqs] = []

    def one(**options: Any) -> Gqs:
        made.append(Gqs(url, **options))
        return made[-1]

    yield one
    for queue in made:
        queue.close()


@pytest.fixture
def queue(make: Callable[..., Gqs]) -> Gqs:
    return make()


@pytest.fixture
def table(url: str) -> Iterator[Table]:
    with raw(url, "jobs") as rows:
        yield Table(rows)


def pulled(queue: Gqs, **message: Any) -> Job:
    queue.pusher.push(Message(**message))
    (job,) = queue.puller.pull(1, 30)
    return job


def seconds_from_now(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - datetime.now(UTC)).total_seconds()


# InitDB and the model


def test_init_db_may_be_called_again_and_loses_nothing(url, queue, table):
    queue.pusher.push(Message())
    init_db(url)
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


def test_the_table_has_gqs_columns_types_and_indexes(url, table):
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


def test_a_push_in_the_callers_transaction_exists_when_that_commits(queue, table, url):
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


def test_each_job_is_pulled_once_by_eight_pullers(make, table):
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

    threads = [threading.Thread(target=pull, args=(make(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert errors == []
    assert Counter(Counter(seen).values()) == {1: 2000}
    assert table.rows.count("attempts = 1 AND status = 2") == 2000


def test_expired_locks_are_pulled_once_by_eight_pullers(make, table):
    table.insert(count=200, status=2)
    table.rows.execute(f"UPDATE jobs SET attempts = 1, locked_until = {table.moment(-1)}")
    seen: list[UUID] = []

    def pull(queue: Gqs) -> None:
        while jobs := queue.puller.pull(3, 300):
            seen.extend(job.id for job in jobs)

    threads = [threading.Thread(target=pull, args=(make(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert Counter(Counter(seen).values()) == {1: 200}
    assert table.rows.count("attempts = 2") == 200


def test_a_crash_loop_ends_dead_and_stays_dead(make, table):
    queue = make(max_attempts=3)
    id_ = pulled(queue).id
    for attempts in (2, 3):
        table.expire(id_)
        assert [job.attempts for job in queue.puller.pull()] == [attempts]
    table.expire(id_)
    for _ in range(3):
        assert queue.puller.pull() == []
    job = queue.observer.get(id_)
    assert (job.status, job.attempts, job.locked_until) == (DEAD, 3, None)


def test_a_job_that_is_returned_is_not_judged_by_its_attempts(make):
    queue = make(max_attempts=2)
    job = pulled(queue)
    for attempts in range(2, 6):
        queue.puller.return_(job)
        (job,) = queue.puller.pull()
        assert job.attempts == attempts


def test_the_seeds_answer_to_a_crash_loop_is_to_go_on(make, table):
    queue = make(seed_answers=True, max_attempts=2)
    id_ = pulled(queue).id
    for attempts in range(2, 8):
        table.expire(id_)
        assert [job.attempts for job in queue.puller.pull()] == [attempts]


def test_a_batch_of_nothing_is_refused_and_everything_by_the_seeds_answer(make):
    queue = make()
    for _ in range(3):
        queue.pusher.push(Message())
    for batch in (0, -1):
        with pytest.raises(ConfigurationError, match="limit"):
            queue.puller.pull(batch)
    assert len(make(seed_answers=True).puller.pull(0)) == 3


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
def test_the_seeds_answer_lets_a_late_worker_have_its_way(make, table, verb):
    queue = make(seed_answers=True)
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


def test_the_pull_uses_the_index_on_a_hundred_thousand_jobs(make, table):
    if table.rows.is_sqlite:
        pytest.skip("SQLite reads its moments by a function")
    table.insert(count=100_000, status=3)
    table.insert(count=50)
    table.rows.execute("ANALYZE jobs")
    queue = make()
    sql = queue.store._statements["claim"]
    bound = sql.bind({"duration": 30.0, "worker": None, "limit": 10})
    plan = table.rows._connection.execute(f"EXPLAIN {sql.sql}", bound).fetchall()
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "jobs_status_" in text
    assert "Seq Scan on jobs" not in text
