"""River's rules, on its own table, in its own words: the state machine, and what Go would read."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import State
from rowqueue.profiles.river import (
    Client,
    Job,
    JobCancelError,
    JobSnoozeError,
    JobState,
)
from rowqueue.profiles.river.table import RETRY
from tests.profiles.river_schema import fetched, pretend_running

S = JobState


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


def test_each_job_is_fetched_once_by_eight_clients(make_client, river):
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

    threads = [threading.Thread(target=fetch, args=(number, make_client())) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert errors == []
    assert Counter(Counter(seen).values()) == {1: 2000}
    assert river.execute("SELECT DISTINCT attempt, cardinality(attempted_by) AS n FROM river_job") == [
        {"attempt": 1, "n": 1}
    ]


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
