"""River's rules, on its own table, in its own words: the state machine, and what Go would read."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from rowqueue.core.errors import ConfigurationError, LeaseLost, UniqueConflict
from rowqueue.core.states import State
from rowqueue.core.values import Claim
from rowqueue.profiles.river import (
    Client,
    ErrJobRunning,
    ErrNotFound,
    ErrUniqueConflict,
    InsertManyParams,
    InsertOpts,
    Job,
    JobCancelError,
    JobListParams,
    JobSnoozeError,
    JobState,
)
from rowqueue.profiles.river.table import RETRY
from tests.profiles.river_schema import RIVER_DDL, River

S = JobState


@pytest.fixture
def river(postgres_database: str) -> Iterator[River]:
    other = River(postgres_database)
    other.connection.execute(RIVER_DDL)
    yield other
    other.close()


@pytest.fixture
def make(river: River) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def one(**options: Any) -> Client:
        made.append(Client(river.url, **({"id": "py"} | options)))
        return made[-1]

    yield one
    for client in made:
        client.close()


@pytest.fixture
def client(make: Callable[..., Client]) -> Client:
    return make()


@pytest.fixture
def seed(make: Callable[..., Client]) -> Client:
    return make(seed_answers=True)


def fetched(client: Client, river: River, **columns: Any) -> Job:
    """A job that a River client inserted and that we run."""
    river.insert(**columns)
    (job,) = client.job_get_available(1)
    return job


def pretend_running(river: River, id_: int) -> None:
    """River's rescuer and another Go worker have taken the job since."""
    river.update(id_, state="'running'", attempt="attempt + 1", attempted_at="now() + interval '1 second'",
                 attempted_by="array_append(attempted_by, 'go')")  # fmt: skip


def raising(error: BaseException) -> Callable[[Job], None]:
    def worker(job: Job) -> None:
        raise error

    return worker


# what Go writes is read, and what we write Go reads


def test_a_row_is_read_field_for_field(client, river):
    id_ = river.insert(
        state="'discarded'", attempt="3", max_attempts="3", priority="4", kind="'report'", queue="'slow'",
        attempted_at="'2024-05-01 10:00:00.123456Z'", created_at="'2024-05-01Z'", scheduled_at="'2024-05-02Z'",
        finalized_at="'2024-05-03Z'", attempted_by="'{one,two}'", tags="'{a-b,urgent}'",
        args="'{\"n\": 12345678901234567890, \"x\": 1.50}'", metadata="'{\"k\": [1]}'",
        unique_key="'\\xff00'", unique_states="B'11110101'",
        errors="""ARRAY['{"at": "2024-05-01T10:00:00.123456789Z", "attempt": 1, "error": "boom", "trace": ""}',
                  '{"at": "2024-05-01T12:00:00+02:00", "attempt": 2, "error": "panic", "trace": "main.go:7"}']::jsonb[]""",
    )  # fmt: skip
    row = client.job_get(id_)
    assert (row.id, row.state, row.attempt, row.max_attempts, row.priority) == (id_, S.DISCARDED, 3, 3, 4)
    assert (row.kind, row.queue, row.tags, row.attempted_by) == (
        "report",
        "slow",
        ("a-b", "urgent"),
        ("one", "two"),
    )
    assert row.attempted_at == datetime(2024, 5, 1, 10, 0, 0, 123456, UTC)
    assert (row.created_at, row.scheduled_at, row.finalized_at) == tuple(
        datetime(2024, 5, day, tzinfo=UTC) for day in (1, 2, 3)
    )
    assert json.loads(row.encoded_args) == {"n": 12345678901234567890, "x": 1.5}
    assert b"1.50" in row.encoded_args
    assert (row.metadata, row.unique_key) == ({"k": [1]}, b"\xff\x00")
    assert set(row.unique_states) == set(S) - {S.CANCELLED, S.DISCARDED}
    assert [(error.attempt, error.error, error.trace) for error in row.errors] == [
        (1, "boom", ""), (2, "panic", "main.go:7"),
    ]  # fmt: skip
    assert row.errors[0].at == datetime(2024, 5, 1, 10, 0, 0, 123456, UTC)
    assert row.errors[1].at == datetime(2024, 5, 1, 10, tzinfo=UTC)


def test_a_job_that_go_inserted_is_worked(client, river):
    id_ = river.insert(kind="'email'", args="""'{"to": 7}'""", queue="'mail'")
    (job,) = client.job_get_available(10)
    assert (job.id, job.kind, job.queue, job.args, job.attempt) == (id_, "email", "mail", {"to": 7}, 1)
    assert (job.state, job.attempted_by) == (S.RUNNING, ("py",))
    assert client.work(job, lambda job: job.args)
    row = river.row(id_)
    assert (row["state"], row["attempt"], row["errors"]) == ("completed", 1, None)
    assert row["finalized_at"] is not None
    assert row["metadata"] == {"output": {"to": 7}}


def test_an_error_is_written_as_river_writes_it(client, river):
    job = fetched(client, river)
    client.work(job, raising(ValueError("no 'such' \"thing\"\nhere")))
    (entry,) = river.row(job.id)["errors"]
    assert set(entry) == {"at", "attempt", "error", "trace"}
    assert (entry["attempt"], entry["error"]) == (1, "ValueError: no 'such' \"thing\" here")
    assert "Traceback" in entry["trace"]
    assert abs((datetime.fromisoformat(entry["at"]) - datetime.now(UTC)).total_seconds()) < 30


def test_an_error_without_a_trace_has_an_empty_one(client, river):
    job = fetched(client, river)
    client.job_error(job, "boom")
    assert river.row(job.id)["errors"][0]["trace"] == ""


def test_errors_are_added_to_those_of_go(client, river):
    entry = '{"at": "2024-05-01T10:00:00Z", "attempt": 1, "error": "go", "trace": ""}'
    job = fetched(client, river, attempt="1", errors=f"ARRAY['{entry}']::jsonb[]")
    client.job_error(job, "py")
    assert [(each["attempt"], each["error"]) for each in river.row(job.id)["errors"]] == [
        (1, "go"),
        (2, "py"),
    ]


def test_metadata_of_others_is_kept_and_ours_goes(client, river):
    job = fetched(client, river, metadata='\'{"trace_id": "abc", "river:log": [1]}\'')
    assert "rowqueue:lease" in river.row(job.id)["metadata"]
    client.job_complete(job)
    assert river.row(job.id)["metadata"] == {"trace_id": "abc", "river:log": [1]}


def test_unmapped_columns_are_never_written(client, river):
    river.connection.execute("ALTER TABLE river_job ADD canary text DEFAULT 'alive'")
    job = fetched(client, river)
    client.job_error(job, "x")
    client.job_retry(job.id)
    row = river.row(job.id)
    assert (row["canary"], row["args"], row["kind"], row["priority"]) == ("alive", {"to": 7}, "email", 1)


# JobGetAvailable


def test_fetch_is_constrained_to_the_limit_and_the_queue(client, river):
    for queue in ("a", "a", "a", "b"):
        river.insert(queue=f"'{queue}'")
    assert [job.queue for job in client.job_get_available(2, queue="a")] == ["a", "a"]
    assert [job.queue for job in client.job_get_available(5, queue="b")] == ["b"]
    assert client.job_get_available(5, queue="c") == []
    assert [job.queue for job in client.job_get_available(5)] == ["a"]


def test_fetch_takes_only_what_is_due(client, river):
    river.insert(scheduled_at="now() + interval '1 hour'")
    due = river.insert(scheduled_at="now() - interval '1 second'")
    assert [job.id for job in client.job_get_available(5)] == [due]


def test_fetch_goes_by_priority_time_and_id(client, river):
    at = "'2024-01-01 00:00:0{}Z'"
    given = [(2, 1), (1, 5), (4, 0), (1, 2), (1, 2), (3, 0)]
    ids = [river.insert(priority=priority, scheduled_at=at.format(second)) for priority, second in given]
    order = [ids[index] for index in (3, 4, 1, 0, 5, 2)]
    assert [job.id for job in client.job_get_available(4)] == order[:4]
    assert [job.id for job in client.job_get_available(4)] == order[4:]


@pytest.mark.parametrize("state", sorted(set(S) - {S.AVAILABLE}))
def test_fetch_takes_available_jobs_only(client, river, state):
    final = "now()" if state in {"cancelled", "completed", "discarded"} else "NULL"
    river.insert(state=f"'{state}'", finalized_at=final)
    assert client.job_get_available(5) == []


def test_attempted_by_keeps_the_newest_hundred(client, river):
    workers = ",".join(f"w{number}" for number in range(100))
    job = fetched(client, river, attempted_by=f"'{{{workers}}}'")
    assert job.attempted_by == (*(f"w{number}" for number in range(1, 100)), "py")
    assert len(river.row(job.id)["attempted_by"]) == 100


def test_a_claim_without_a_name_leaves_no_null_for_go(client, river):
    river.insert()
    client.store.claim(1)
    (row,) = river.execute("SELECT attempted_by FROM river_job")
    assert row["attempted_by"] == ["rowqueue"]


def test_each_job_is_fetched_once_by_eight_clients(make, river):
    river.execute(
        "INSERT INTO river_job (kind, max_attempts, queue)"
        " SELECT 'k', 25, 'q' || n % 3 FROM generate_series(1, 2000) AS n"
    )
    seen: list[int] = []
    errors: list[BaseException] = []
    start = threading.Barrier(8)

    def fetch(number: int, client: Client) -> None:
        try:
            start.wait(30)
            queues = [None, "q0", None, "q1", None, "q2", None, None]
            while jobs := client.job_get_available(7, queue=queues[number]):
                seen.extend(job.id for job in jobs)
        except BaseException as error:  # noqa: BLE001 - it is what the test looks for
            errors.append(error)

    threads = [threading.Thread(target=fetch, args=(number, make())) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert errors == []
    assert Counter(Counter(seen).values()) == {1: 2000}
    assert river.execute("SELECT DISTINCT attempt, cardinality(attempted_by) AS n FROM river_job") == [
        {"attempt": 1, "n": 1}
    ]


def test_the_fetch_uses_rivers_own_index(client, river):
    river.execute(
        "INSERT INTO river_job (kind, max_attempts, queue, state, finalized_at)"
        " SELECT 'k', 25, 'q', 'completed', now() FROM generate_series(1, 20000)"
    )
    river.execute(
        "INSERT INTO river_job (kind, max_attempts, queue) SELECT 'k', 25, 'q' FROM generate_series(1, 99)"
    )
    river.execute("ANALYZE river_job")
    statement = client.store._statements["claim_queue"]
    values = statement.bind({"duration": 30.0, "worker": "w", "limit": 10, "queue": "q"})
    plan = "\n".join(
        row["QUERY PLAN"] for row in river.connection.execute(f"EXPLAIN {statement.sql}", values)
    )
    assert "river_job_prioritized_fetching_index" in plan
    assert "Seq Scan on river_job" not in plan


# running → … (2.2)


def test_complete(client, river):
    job = fetched(client, river)
    assert client.job_complete(job)
    assert client.job_get(job.id).state is S.COMPLETED


def test_an_error_with_a_retry_far_away_is_retryable(client, river):
    job = fetched(client, river, errors="ARRAY['{}', '{}']::jsonb[]".replace("{}", json.dumps(
        {"at": "2024-05-01T10:00:00Z", "attempt": 1, "error": "x", "trace": ""})))  # fmt: skip
    assert client.job_error(job, "boom").state is State.RETRYABLE
    assert 81 * 0.9 - 5 <= river.due_in(job.id) <= 81 * 1.1
    assert river.row(job.id)["finalized_at"] is None


def test_an_error_with_a_retry_within_five_seconds_is_available(client, river):
    job = fetched(client, river)
    client.job_error(job, "boom")
    row = river.row(job.id)
    assert (row["state"], row["attempt"]) == ("available", 1)
    assert river.due_in(job.id) <= 1.1
    assert row["scheduled_at"] > row["attempted_at"]


def test_an_error_at_the_last_attempt_is_discarded(client, river):
    job = fetched(client, river, attempt="24")
    assert job.attempt == job.max_attempts
    client.job_error(job, "boom")
    row = river.row(job.id)
    assert (row["state"], len(row["errors"])) == ("discarded", 1)
    assert row["finalized_at"] is not None


def test_the_next_retry_may_be_given_but_not_in_the_past(client, river):
    job = fetched(client, river)
    client.work(job, raising(ValueError("x")), next_retry=lambda job: datetime.now(UTC) + timedelta(hours=2))
    assert river.due_in(job.id) == pytest.approx(7200, abs=30)
    assert river.row(job.id)["state"] == "retryable"
    job = fetched(client, river)
    client.work(job, raising(ValueError("x")), next_retry=lambda job: datetime(2020, 1, 1, tzinfo=UTC))
    assert -30 < river.due_in(job.id) <= 1.1


def test_the_retry_formula_is_the_fourth_power_give_or_take_a_tenth():
    for errors in (1, 2, 5, 20):
        assert RETRY.delay(errors, random=0.5) == pytest.approx(errors**4)
        assert RETRY.delay(errors, random=0.0) == pytest.approx(errors**4 * 0.9)
        assert RETRY.delay(errors, random=1.0) == pytest.approx(errors**4 * 1.1)
    assert RETRY.delay(309, random=0.5) == pytest.approx(309**4)
    assert RETRY.delay(1000, random=0.5) == pytest.approx(292 * 365.25 * 86400, rel=0.01)


def test_the_retry_formula_counts_errors_not_attempts(client, river):
    job = fetched(client, river, attempt="9")  # completed and retried, say: 9 starts, no error
    client.job_error(job, "boom")
    assert river.due_in(job.id) <= 1.1


def test_a_snooze_gives_the_attempt_back_and_is_counted(client, river):
    job = fetched(client, river)
    client.work(job, raising(JobSnoozeError(60)))
    row = river.row(job.id)
    assert (row["state"], row["attempt"], row["errors"], row["metadata"]) == (
        "scheduled",
        0,
        None,
        {"snoozes": 1},
    )
    assert river.due_in(job.id) == pytest.approx(60, abs=10)
    river.update(job.id, scheduled_at="now()")
    client.job_schedule()
    (job,) = client.job_get_available()
    client.job_snooze(job, 60)
    assert river.row(job.id)["metadata"] == {"snoozes": 2}


def test_a_snooze_of_five_seconds_makes_it_available(client, river):
    job = fetched(client, river)
    assert client.job_snooze(job, 5).state is State.AVAILABLE
    assert (river.row(job.id)["state"], river.row(job.id)["attempt"]) == ("available", 0)
    assert 0 < river.due_in(job.id) <= 5
    assert client.job_get_available() == []


def test_a_snooze_at_the_last_attempt_does_not_use_it_up(client, river):
    job = fetched(client, river, attempt="24")
    client.job_snooze(job, 60)
    assert river.row(job.id)["attempt"] == 24


def test_a_soft_stop_gives_the_attempt_back(client, river):
    job = fetched(client, river)
    assert client.job_interrupt(job).state is State.AVAILABLE
    row = river.row(job.id)
    assert (row["state"], row["attempt"], row["errors"], row["metadata"]) == ("available", 0, None, {})
    assert [again.attempt for again in client.job_get_available()] == [1]


def test_a_worker_may_cancel_its_job(client, river):
    job = fetched(client, river)
    client.work(job, raising(JobCancelError("never")))
    row = river.row(job.id)
    assert (row["state"], row["errors"][0]["error"]) == ("cancelled", "JobCancelError: never")
    assert row["finalized_at"] is not None


def test_extend_moves_the_lease_and_tells_of_a_cancellation(client, river):
    job = fetched(client, river)
    before = river.row(job.id)["metadata"]["rowqueue:lease"]
    assert [bool(outcome) for outcome in client.extend([job], lease=500)] == [True]
    after = river.row(job.id)["metadata"]["rowqueue:lease"]
    assert after["until"] > before["until"]
    assert after["at"] == before["at"]
    client.job_cancel(job.id)
    assert [outcome.cancel_requested for outcome in client.extend([job])] == [True]
    assert client.job_complete(job)


# the fence


ENDINGS: dict[str, Callable[[Client, Any], Any]] = {
    "complete": lambda client, job: client.job_complete(job),
    "error": lambda client, job: client.job_error(job, "late"),
    "snooze": lambda client, job: client.job_snooze(job, 60),
    "interrupt": lambda client, job: client.job_interrupt(job),
    "cancel": lambda client, job: client.job_end_cancelled(job, "late"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_old_attempt_cannot_end_a_newer_one(client, river, ending):
    job = fetched(client, river)
    pretend_running(river, job.id)
    before = river.row(job.id)
    outcome = ENDINGS[ending](client, job)
    assert (bool(outcome), outcome.reason) == (False, "lost")
    assert river.row(job.id) == before
    assert [outcome.reason for outcome in client.extend([job])] == ["lost"]
    assert river.row(job.id) == before


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_old_attempt_cannot_end_a_newer_one_of_the_same_number(client, river, ending):
    job = fetched(client, river)
    client.job_interrupt(job)
    (again,) = client.job_get_available()
    assert (again.attempt, again.id) == (job.attempt, job.id)
    assert not ENDINGS[ending](client, job)
    assert client.job_complete(again)


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_seeds_answer_lets_an_old_attempt_end_a_newer_one(seed, river, ending):
    job = fetched(seed, river)
    pretend_running(river, job.id)
    assert ENDINGS[ending](seed, job)
    assert river.row(job.id)["state"] != "running"


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("state", sorted(set(S) - {S.RUNNING}))
def test_a_job_that_does_not_run_is_not_ended(client, seed, river, ending, state):
    job = fetched(client, river)
    final = "now()" if state in {"cancelled", "completed", "discarded"} else "NULL"
    river.update(job.id, state=f"'{state}'", finalized_at=final)
    before = river.row(job.id)
    for which in (client, seed):
        assert ENDINGS[ending](which, job).reason == "wrong_state"
    assert river.row(job.id) == before


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_job_that_is_gone_is_not_ended(client, seed, river, ending):
    job = fetched(client, river)
    river.execute("DELETE FROM river_job")
    assert [ENDINGS[ending](which, job).reason for which in (client, seed)] == ["gone", "gone"]


def test_many_are_ended_at_once_each_by_its_own_fence(client, river):
    for _ in range(5):
        river.insert()
    jobs = client.job_get_available(5)
    pretend_running(river, jobs[2].id)
    outcomes = client.store.complete_many([job.claim for job in jobs])
    assert [bool(outcome) for outcome in outcomes] == [True, True, False, True, True]


def test_a_bare_id_must_say_that_it_is_unfenced(client, river):
    id_ = river.running()
    with pytest.raises(ConfigurationError, match="unfenced"):
        client.job_complete(id_)
    assert client.job_complete(id_, unfenced=True)
    assert client.job_get(id_).state is S.COMPLETED


# JobCancel


@pytest.mark.parametrize("state", ["available", "scheduled", "retryable", "pending"])
def test_cancel_ends_a_waiting_job_at_once(client, river, state):
    id_ = river.insert(state=f"'{state}'")
    row = client.job_cancel(id_)
    assert row.state is S.CANCELLED
    assert row.finalized_at is not None
    assert "cancel_attempted_at" in river.row(id_)["metadata"]


@pytest.mark.parametrize("state", ["cancelled", "completed", "discarded"])
def test_cancel_leaves_a_final_job_alone(client, river, state):
    id_ = river.insert(state=f"'{state}'", finalized_at="now()")
    before = river.row(id_)
    assert client.job_cancel(id_).state == state
    assert river.row(id_) == before


def test_cancel_of_a_running_job_asks_and_tells_rivers_clients(client, river):
    id_ = river.running(queue="'mail'")
    river.execute('LISTEN "public.river_control"')
    assert client.job_cancel(id_).state is S.RUNNING
    row = river.row(id_)
    asked = datetime.fromisoformat(row["metadata"]["cancel_attempted_at"])
    assert (row["state"], row["finalized_at"]) == ("running", None)
    assert asked.utcoffset() is not None
    (said,) = river.connection.notifies(timeout=10, stop_after=1)
    assert json.loads(said.payload) == {"action": "cancel", "job_id": id_, "queue": "mail"}


def test_cancel_of_an_unknown_job(client):
    with pytest.raises(ErrNotFound):
        client.job_cancel(404)


def test_a_cancelled_running_job_that_succeeds_is_completed(client, river):
    job = fetched(client, river)
    client.job_cancel(job.id)
    client.job_complete(job)
    assert client.job_get(job.id).state is S.COMPLETED


UNFINISHED: dict[str, Callable[[Client, Job], Any]] = {
    "error, soon": lambda client, job: client.job_error(job, "x"),
    "error, late": lambda client, job: client.job_error(
        job, "x", next_retry=datetime.now(UTC) + timedelta(hours=1)
    ),
    "snooze, short": lambda client, job: client.job_snooze(job, 1),
    "snooze, long": lambda client, job: client.job_snooze(job, 600),
    "soft stop": lambda client, job: client.job_interrupt(job),
}


@pytest.mark.parametrize("how", UNFINISHED)
def test_a_cancelled_running_job_is_cancelled_on_any_outcome_but_success(client, river, how):
    job = fetched(client, river)
    client.job_cancel(job.id)
    UNFINISHED[how](client, job)
    row = river.row(job.id)
    assert row["state"] == "cancelled"
    assert row["finalized_at"] is not None


@pytest.mark.parametrize("how", UNFINISHED)
def test_the_seeds_answer_loses_a_cancellation_when_the_job_runs_again_soon(seed, river, how):
    job = fetched(seed, river)
    seed.job_cancel(job.id)
    UNFINISHED[how](seed, job)
    kept = how in {"error, late", "snooze, long"}
    assert river.row(job.id)["state"] == ("cancelled" if kept else "available")


# the rescuer


def test_a_go_workers_job_is_left_to_rivers_own_age(client, river):
    young = river.running(attempted_at="now() - interval '59 minutes'")
    old = river.running(attempted_at="now() - interval '61 minutes'")
    assert [row.id for row in client.rescue()] == [old]
    assert river.row(young)["state"] == "running"
    row = river.row(old)
    assert (row["state"], row["attempt"], row["metadata"]) == ("retryable", 1, {"river:rescue_count": 1})
    (entry,) = row["errors"]
    assert (entry["error"], entry["attempt"], set(entry)) == (
        "Stuck job rescued by JobRescuer", 1, {"at", "attempt", "error", "trace"},
    )  # fmt: skip
    assert -10 < river.due_in(old) <= 1.1


@pytest.mark.parametrize("how", ["client", "store"])
def test_our_own_job_is_rescued_when_its_lease_ends(client, river, how):
    job = fetched(client, river)
    rescue = client.rescue if how == "client" else client.store.rescue
    assert rescue() == []
    river.expire(job.id)
    assert len(rescue()) == 1
    row = river.row(job.id)
    assert (row["state"], row["metadata"]) == ("retryable", {"river:rescue_count": 1})
    assert not client.job_complete(job)
    river.update(job.id, state="'available'", scheduled_at="now()")
    (again,) = client.job_get_available()
    assert again.attempt == 2


def test_a_lease_of_ours_says_nothing_about_a_go_workers_attempt(client, river):
    job = fetched(client, river)
    pretend_running(river, job.id)  # the metadata still holds our lease
    river.expire(job.id)
    assert client.rescue() == []
    assert client.store.rescue() == []
    river.update(job.id, attempted_at="now() - interval '2 hours'")
    assert [row.id for row in client.rescue()] == [job.id]


@pytest.mark.parametrize("how", ["client", "store"])
def test_a_rescue_at_the_last_attempt_discards_and_a_cancelled_one_is_cancelled(client, river, how):
    old = "now() - interval '2 hours'"
    spent = river.running(attempted_at=old, attempt="25")
    asked = river.running(attempted_at=old, metadata='\'{"cancel_attempted_at": "2024-05-01T00:00:00Z"}\'')
    (client.rescue if how == "client" else client.store.rescue)()
    assert [river.row(id_)["state"] for id_ in (spent, asked)] == ["discarded", "cancelled"]
    assert all(river.row(id_)["finalized_at"] for id_ in (spent, asked))


def test_the_rescuers_delay_is_rivers_formula(client, river):
    entry = json.dumps({"at": "2024-05-01T10:00:00Z", "attempt": 1, "error": "x", "trace": ""})
    three = f"ARRAY['{entry}', '{entry}', '{entry}']::jsonb[]"
    id_ = river.running(attempted_at="now() - interval '2 hours'", errors=three)
    client.rescue()
    assert 256 * 0.9 - 10 <= river.due_in(id_) <= 256 * 1.1


def test_a_rescue_never_touches_a_job_that_changed_meanwhile(client, river):
    done, again = (river.running(attempted_at="now() - interval '2 hours'") for _ in range(2))
    stuck = client.job_get_stuck()
    river.update(done, state="'completed'", finalized_at="now()")
    river.update(again, attempted_at="now()", attempt="2")
    before = river.row(done), river.row(again)
    assert client.job_rescue_many(stuck) == []
    assert (river.row(done), river.row(again)) == before


def test_the_seeds_rescue_overwrites_a_job_that_completed_meanwhile(seed, river):
    id_ = river.running(attempted_at="now() - interval '2 hours'")
    stuck = seed.job_get_stuck()
    river.update(id_, state="'completed'", finalized_at="now()")
    seed.job_rescue_many(stuck)
    assert (river.row(id_)["state"], river.row(id_)["finalized_at"]) == ("retryable", None)


def test_a_rescue_passes_over_a_row_that_somebody_has_locked(client, river):
    id_ = river.running(attempted_at="now() - interval '2 hours'")
    with psycopg.connect(river.url) as other:
        other.execute("SELECT 1 FROM river_job FOR UPDATE")
        assert client.store.rescue() == []
    assert [rescued.key for rescued in client.store.rescue()] == [id_]


def test_every_stuck_job_is_rescued_past_a_full_batch(client, river):
    for _ in range(7):
        river.running(attempted_at="now() - interval '2 hours'")
    assert [len(client.rescue(3)) for _ in range(4)] == [3, 3, 1, 0]


# the scheduler


@pytest.mark.parametrize("state", ["scheduled", "retryable"])
def test_due_jobs_become_available_and_keep_their_time(client, river, state):
    due = river.insert(state=f"'{state}'", scheduled_at="now() - interval '1 minute'")
    soon = river.insert(state=f"'{state}'", scheduled_at="now() + interval '4 seconds'")
    later = river.insert(state=f"'{state}'", scheduled_at="now() + interval '1 minute'")
    before = river.row(due)["scheduled_at"]
    assert {result.job.id for result in client.job_schedule()} == {due, soon}
    assert [river.row(id_)["state"] for id_ in (due, soon, later)] == ["available", "available", state]
    assert river.row(due)["scheduled_at"] == before
    assert [job.id for job in client.job_get_available(5)] == [due]  # the fetch still waits for its time


def test_pending_jobs_stay_until_somebody_moves_them(client, river):
    id_ = river.insert(state="'pending'", scheduled_at="now() - interval '1 day'")
    assert client.job_schedule() == []
    client.store.prune()
    assert client.job_get_available() == []
    assert client.store.promote(id_)
    assert [job.id for job in client.job_get_available()] == [id_]


def mask(*states: JobState) -> str:
    order = ["scheduled", "running", "retryable", "pending", "discarded", "completed", "cancelled", "available"]
    return "B'" + "".join("1" if word in states else "0" for word in order) + "'"


NOT_RETRYABLE = mask(S.AVAILABLE, S.PENDING, S.RUNNING, S.SCHEDULED)


def test_a_due_job_whose_unique_key_is_taken_is_discarded(client, river):
    keyed = {"unique_key": "'\\x01'", "unique_states": NOT_RETRYABLE}
    waiting = river.insert(state="'retryable'", **keyed)
    river.insert(**keyed)
    (result,) = client.job_schedule()
    assert (result.job.id, result.conflict_discarded) == (waiting, True)
    row = river.row(waiting)
    assert (row["state"], row["metadata"]) == ("discarded", {"unique_key_conflict": "scheduler_discarded"})
    assert row["finalized_at"] is not None


@pytest.mark.parametrize("how", ["client", "store"])
def test_two_due_jobs_that_conflict_with_each_other_leave_one(client, river, how):
    keyed = {"unique_key": "'\\x01'", "unique_states": NOT_RETRYABLE, "state": "'retryable'"}
    ids = [river.insert(priority=priority, **keyed) for priority in (3, 1, 2)]
    other = river.insert(state="'scheduled'", unique_key="'\\x02'", unique_states=NOT_RETRYABLE)
    free = river.insert(state="'scheduled'")
    client.job_schedule() if how == "client" else client.store.promote_due()
    assert [river.row(id_)["state"] for id_ in ids] == ["discarded", "available", "discarded"]
    assert [river.row(id_)["state"] for id_ in (other, free)] == ["available", "available"]


def test_of_two_due_jobs_the_one_that_holds_the_key_goes_on(client, river):
    keyed = {"unique_key": "'\\x01'", "unique_states": NOT_RETRYABLE}
    retryable = river.insert(state="'retryable'", priority="1", **keyed)
    scheduled = river.insert(state="'scheduled'", priority="2", **keyed)
    client.job_schedule()
    assert [river.row(id_)["state"] for id_ in (retryable, scheduled)] == ["discarded", "available"]


# JobRetry, JobDelete


@pytest.mark.parametrize("state", sorted(set(S) - {S.RUNNING}))
def test_retry_makes_any_other_job_available_now(client, river, state):
    final = "now()" if state in {"cancelled", "completed", "discarded"} else "NULL"
    id_ = river.insert(
        state=f"'{state}'", finalized_at=final, attempt="3", scheduled_at="now() + interval '1 hour'"
    )
    row = client.job_retry(id_)
    assert (row.state, row.finalized_at, row.attempt, row.max_attempts) == (S.AVAILABLE, None, 3, 25)
    assert -10 < river.due_in(id_) <= 0
    assert [job.id for job in client.job_get_available()] == [id_]


def test_retry_adds_an_attempt_only_where_they_are_used_up(client, river):
    id_ = river.insert(state="'discarded'", finalized_at="now()", attempt="25")
    assert client.job_retry(id_).max_attempts == 26
    assert client.job_retry(id_).max_attempts == 26


def test_retry_leaves_a_running_job_alone(client, river):
    id_ = river.running()
    before = river.row(id_)
    assert client.job_retry(id_).state is S.RUNNING
    assert river.row(id_) == before


def test_retry_keeps_the_place_of_a_job_that_waits_its_turn(client, river):
    id_ = river.insert(scheduled_at="now() - interval '1 hour'")
    before = river.row(id_)
    assert client.job_retry(id_).state is S.AVAILABLE
    assert river.row(id_) == before


def test_a_cancelled_job_that_is_retried_is_not_cancelled_again(client, river):
    id_ = river.insert()
    client.job_cancel(id_)
    client.job_retry(id_)
    (job,) = client.job_get_available()
    client.job_error(job, "x")
    assert river.row(id_)["state"] == "available"


def test_retry_that_meets_a_taken_unique_key_names_the_other_job(client, seed, river):
    keyed = {"unique_key": "'\\x01'", "unique_states": "B'11110101'"}
    old = river.insert(state="'discarded'", finalized_at="now()", **keyed)
    new = river.insert(**keyed)
    before = river.row(old)
    with pytest.raises(ErrUniqueConflict, match=f"job {new} has its unique key") as caught:
        client.job_retry(old)
    assert (caught.value.job_id, caught.value.conflict_id) == (old, new)
    with pytest.raises(UniqueConflict):
        seed.job_retry(old)
    assert river.row(old) == before
    third = river.insert(state="'discarded'", finalized_at="now()")
    outcomes = client.store.retry_many([old, third])
    assert [outcome.reason for outcome in outcomes] == ["conflict", None]


@pytest.mark.parametrize("state", sorted(S))
def test_delete_takes_any_job_that_does_not_run(client, river, state):
    final = "now()" if state in {"cancelled", "completed", "discarded"} else "NULL"
    id_ = river.insert(state=f"'{state}'", finalized_at=final)
    if state is S.RUNNING:
        with pytest.raises(ErrJobRunning):
            client.job_delete(id_)
        assert river.row(id_)["state"] == "running"
    else:
        assert client.job_delete(id_).state is state
        with pytest.raises(ErrNotFound):
            client.job_get(id_)


def test_verbs_on_an_unknown_job(client):
    for verb in (client.job_get, client.job_retry, client.job_delete):
        with pytest.raises(ErrNotFound, match="404"):
            verb(404)


def test_clean_goes_by_rivers_retention(client, river):
    def aged(state: str, age: str) -> int:
        return river.insert(state=f"'{state}'", finalized_at=f"now() - interval '{age}'")

    old = [aged("completed", "25 hours"), aged("cancelled", "25 hours"), aged("discarded", "8 days")]
    kept = [aged("completed", "23 hours"), aged("discarded", "6 days"), river.insert(state="'pending'")]
    assert client.clean({S.DISCARDED: -1}) == 2
    assert client.clean() == 1
    assert [row["id"] for row in river.execute("SELECT id FROM river_job ORDER BY id")] == kept
    assert not set(old) & set(kept)


# transactions of the caller's


@pytest.mark.parametrize("how", ["psycopg", "sqlalchemy"])
def test_complete_in_the_callers_transaction(client, river, how):
    river.connection.execute("CREATE TABLE effects (job bigint)")

    def attempt(job: Job, *, commit: bool) -> None:
        if how == "psycopg":
            with psycopg.connect(river.url) as connection:
                connection.execute("INSERT INTO effects VALUES (%s)", [job.id])
                assert client.job_complete_tx(connection, job).state is S.COMPLETED
                if not commit:
                    connection.rollback()
            return
        engine = sa.create_engine(river.url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            connection.execute(sa.text("INSERT INTO effects VALUES (:id)"), {"id": job.id})
            assert client.job_complete_tx(connection, job).state is S.COMPLETED
            if commit:
                connection.commit()
        engine.dispose()

    job = fetched(client, river)
    attempt(job, commit=False)
    assert (river.row(job.id)["state"], river.execute("SELECT * FROM effects")) == ("running", [])
    attempt(job, commit=True)
    assert (river.row(job.id)["state"], river.execute("SELECT * FROM effects")) == (
        "completed",
        [{"job": job.id}],
    )
    assert client.job_complete(job).reason == "wrong_state"  # the completion that follows does nothing


def test_complete_in_the_callers_transaction_refuses_a_lost_job(client, river):
    job = fetched(client, river)
    pretend_running(river, job.id)
    with psycopg.connect(river.url) as connection, pytest.raises(LeaseLost):
        client.job_complete_tx(connection, job)
    assert river.row(job.id)["state"] == "running"


def test_every_verb_in_the_callers_transaction_is_undone_with_it(client, river):
    ids = [river.insert() for _ in range(3)]
    before = river.execute("SELECT * FROM river_job ORDER BY id")
    with psycopg.connect(river.url) as connection:
        tx = client.tx(connection)
        tx.insert("undone")
        tx.job_cancel(ids[0])
        tx.job_retry(ids[0])
        tx.job_delete(ids[1])
        assert len(tx.job_list().jobs) == 3
        connection.rollback()
    assert river.execute("SELECT * FROM river_job ORDER BY id") == before


# Insert


def test_insert_makes_what_go_works(client, river):
    at = datetime.now(UTC) + timedelta(hours=1)
    opts = InsertOpts(max_attempts=3, metadata={"a": 1}, priority=4, queue="slow_mail", tags=["abc", "d-e"])
    row = client.insert("email", {"to": [1, "ü"]}, opts).job
    stored = river.row(row.id)
    assert (stored["state"], stored["kind"], stored["args"]) == ("available", "email", {"to": [1, "ü"]})
    assert (stored["max_attempts"], stored["metadata"], stored["priority"]) == (3, {"a": 1}, 4)
    assert (stored["queue"], stored["tags"], stored["attempt"]) == ("slow_mail", ["abc", "d-e"], 0)
    assert (
        stored["attempted_by"] is stored["errors"] is stored["unique_key"] is stored["unique_states"] is None
    )
    assert client.insert("k").job.max_attempts == 25
    later = client.insert("k", opts=InsertOpts(scheduled_at=at)).job
    assert (later.state, later.scheduled_at) == (S.SCHEDULED, at)
    past = client.insert("k", opts=InsertOpts(scheduled_at=datetime(2020, 1, 1, tzinfo=UTC))).job
    assert past.state is S.SCHEDULED
    assert client.insert("k", opts=InsertOpts(scheduled_at=at, pending=True)).job.state is S.PENDING


def test_insert_many_answers_in_order_and_all_or_none(client, river):
    params = [InsertManyParams(f"k{number}", {"n": number}) for number in range(500)]
    results = client.insert_many(params)
    assert [result.job.kind for result in results] == [param.kind for param in params]
    assert [json.loads(result.job.encoded_args)["n"] for result in results] == list(range(500))
    with pytest.raises(ConfigurationError):
        client.insert_many([InsertManyParams("fine"), InsertManyParams("bad", opts=InsertOpts(priority=5))])
    with pytest.raises(ConfigurationError, match="at least one"):
        client.insert_many([])
    assert len(river.execute("SELECT 1 FROM river_job")) == 500


def test_a_taken_unique_key_answers_with_its_row(client, river):
    unique = InsertOpts(unique_key=b"\x01")
    plain = InsertManyParams("plain")
    first, *others = client.insert_many(
        [InsertManyParams("one", opts=unique), plain, InsertManyParams("two", opts=unique), plain]
    )
    assert [result.unique_skipped_as_duplicate for result in (first, *others)] == [False, False, True, False]
    assert others[1].job == first.job
    assert client.insert("three", opts=unique).job == first.job
    assert river.row(first.job.id)["unique_states"] == "11110101"
    river.update(first.job.id, state="'discarded'", finalized_at="now()")
    assert not client.insert("four", opts=unique).unique_skipped_as_duplicate


def test_a_unique_key_is_inserted_once_by_many_at_once(make, river):
    results: list[bool] = []
    start = threading.Barrier(6)

    def insert(client: Client) -> None:
        start.wait(30)
        params = [InsertManyParams("k", opts=InsertOpts(unique_key=bytes([key]))) for key in range(20)]
        results.extend(result.unique_skipped_as_duplicate for result in client.insert_many(params))

    threads = [threading.Thread(target=insert, args=(make(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert Counter(results) == {False: 20, True: 100}
    assert len(river.execute("SELECT 1 FROM river_job")) == 20


def test_insert_tells_rivers_clients_once_for_each_queue_that_has_work(client, river):
    river.execute('LISTEN "public.river_insert"')
    client.insert("parked", opts=InsertOpts(pending=True, queue="never"))
    client.insert_many([InsertManyParams("k", opts=InsertOpts(queue=queue)) for queue in ("a", "b", "a")])
    said = [json.loads(note.payload) for note in river.connection.notifies(timeout=10, stop_after=2)]
    assert said == [{"queue": "a"}, {"queue": "b"}]


@pytest.mark.parametrize(
    "opts",
    [
        {"priority": 0}, {"priority": 5}, {"max_attempts": 0}, {"max_attempts": 40_000}, {"queue": ""},
        {"queue": "Mail"}, {"queue": "a__b"}, {"queue": "x" * 65}, {"queue": "a'; DROP TABLE river_job; --"},
        {"tags": ["ab"]}, {"tags": ["a,b"]}, {"tags": ["x" * 256]}, {"tags": "abc,"}, {"tags": ["-ab"]},
        {"metadata": {"river:log": 1}}, {"scheduled_at": datetime(2024, 1, 1)},  # noqa: DTZ001
        {"unique_key": b"x", "unique_states": frozenset({S.AVAILABLE})}, {"unique_states": frozenset(S)},
    ],
    ids=str,
)  # fmt: skip
def test_insert_refuses_what_river_refuses(client, river, opts):
    with pytest.raises(ConfigurationError):
        client.insert("k", {}, InsertOpts(**opts))
    with pytest.raises(ConfigurationError):
        client.insert("x" * 128)
    assert river.execute("SELECT 1 FROM river_job") == []


# JobList


def test_list_filters(client, river):
    mail = river.insert(queue="'mail'", tags="'{abc,def}'", priority="2", metadata='\'{"a": {"b": 1}}\'')
    other = river.insert(kind="'report'", tags="'{def}'")
    done = river.insert(state="'completed'", finalized_at="now()")

    def ids(**params: Any) -> list[int]:
        return [row.id for row in client.job_list(JobListParams(**params)).jobs]

    assert ids() == [mail, other, done]
    assert ids(descending=True) == [done, other, mail]
    assert ids(ids=[other, done, 404]) == [other, done]
    assert ids(kinds=["report"]) == [other]
    assert ids(queues=["mail"]) == ids(priorities=[2]) == [mail]
    assert ids(states=[S.AVAILABLE]) == [mail, other]
    assert ids(tags_all=["abc", "def"]) == [mail]
    assert ids(tags_any=["abc", "def"]) == [mail, other]
    assert ids(metadata={"a": {"b": 1}}) == [mail]
    assert ids(where=lambda t: t.c.args["to"].astext == "7", kinds=["report"]) == [other]


def test_list_pages_stay_in_place_while_jobs_come_and_go(client, river):
    ids = [river.insert(scheduled_at=f"'2024-01-0{1 + number % 3}Z'") for number in range(9)]
    expected = sorted(ids, key=lambda id_: ((id_ - ids[0]) % 3, id_))
    seen: list[int] = []
    after = None
    while True:
        page = client.job_list(JobListParams(order_by="scheduled_at", first=2, after=after))
        seen += [row.id for row in page.jobs]
        river.insert(scheduled_at="'2023-01-01Z'")
        after = page.last_cursor
        if after is None:
            break
    assert seen == expected
    with pytest.raises(ConfigurationError, match="last_cursor"):
        client.job_list(JobListParams(after="bm9wZQ=="))


def test_list_by_the_time_that_matters(client, river):
    first = river.insert(state="'completed'", finalized_at="'2024-01-02Z'")
    second = river.insert(state="'discarded'", finalized_at="'2024-01-01Z'")
    final = [S.COMPLETED, S.DISCARDED]
    for order in ("time", "finalized_at"):
        page = client.job_list(JobListParams(states=final, order_by=order))  # type: ignore[arg-type]
        assert [row.id for row in page.jobs] == [second, first]
    for states in ([], [S.COMPLETED, S.RUNNING]):
        with pytest.raises(ConfigurationError, match="finalized_at"):
            client.job_list(JobListParams(states=states, order_by="finalized_at"))


# queues


def test_a_paused_queue_gives_no_jobs_until_it_is_resumed(client, river):
    river.execute("INSERT INTO river_queue (name, updated_at) VALUES ('a', now()), ('b', now())")
    a, b = river.insert(queue="'a'"), river.insert(queue="'b'")
    river.execute("UPDATE river_queue SET paused_at = now() WHERE name = 'a'")  # by a Go client
    assert [job.id for job in client.job_get_available(5)] == [b]
    client.queue_resume("a")
    assert [job.id for job in client.job_get_available(5)] == [a]
    client.queue_pause("b")
    paused = {queue.name: queue.paused_at for queue in client.queue_list()}
    client.queue_pause("*")
    again = {queue.name: queue.paused_at for queue in client.queue_list()}
    assert (paused["a"], again["b"]) == (None, paused["b"])
    assert all(again.values())
    with pytest.raises(ErrNotFound, match="nowhere"):
        client.queue_pause("nowhere")
    river.execute("DELETE FROM river_queue")
    client.queue_resume("*")


# elsewhere


def test_the_tables_may_be_in_another_schema(make, river):
    river.connection.execute('CREATE SCHEMA "odd ""one"; SET search_path TO "odd ""one"')
    river.connection.execute(RIVER_DDL)
    client = make(schema='odd "one')
    unique = InsertOpts(unique_key=b"x")
    id_ = client.insert("k", {}, unique).job.id
    assert client.insert("k", {}, unique).unique_skipped_as_duplicate
    (job,) = client.job_get_available()
    assert (client.job_complete(job).done, client.job_get(id_).state) == (True, S.COMPLETED)
    river.insert(state="'retryable'", unique_key="'x'", unique_states=NOT_RETRYABLE)
    assert [result.conflict_discarded for result in client.job_schedule()] == [True]
    river.connection.execute("SET search_path TO public")
    assert river.execute("SELECT 1 FROM river_job") == []


def test_river_lives_on_postgresql_only_and_on_its_own_table(sqlite_url, postgres_database):
    with pytest.raises(ConfigurationError):
        Client(sqlite_url)
    with pytest.raises(ConfigurationError, match="river_job"):
        Client(postgres_database)


def test_the_same_table_is_a_store(client, river):
    river.insert(metadata="'{\"a\": 1}'", tags="'{abc}'")
    (claim,) = client.store.claim(1, queues=["default"], kinds=["email"], worker="me")
    assert isinstance(claim, Claim)
    assert (claim.job.args, claim.job.tags, claim.job.attempted_by, claim.job.failures) == (
        {"to": 7}, ("abc",), "me", 0,
    )  # fmt: skip
    assert claim.job.leased_until is not None
    assert client.store.fail(claim, "boom", delay=60).state is State.RETRYABLE
    job = client.store.get(claim.key)
    assert job is not None
    assert (job.state, [error.error for error in job.errors], job.failures) == (State.RETRYABLE, ["boom"], 1)
    assert client.store.discard(claim.key, "by hand").state is State.DISCARDED
    assert [error["error"] for error in river.row(claim.key)["errors"]] == ["boom", "by hand"]
    assert client.store.claim(1, queues=["elsewhere"]) == []
