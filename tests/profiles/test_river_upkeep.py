"""River's rescuer, scheduler and cleaner, and cancellations, on its own table."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from rowqueue.profiles.river import (
    Client,
    ErrNotFound,
    Job,
    JobState,
)
from tests.profiles.river_schema import fetched, pretend_running

S = JobState


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
    order = [
        "scheduled",
        "running",
        "retryable",
        "pending",
        "discarded",
        "completed",
        "cancelled",
        "available",
    ]
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
