"""River's client on its own table: retry, delete, insert, list, queues, transactions."""

import json
import threading
from collections import Counter
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
    JobListParams,
    JobState,
)
from tests.profiles.river_schema import RIVER_DDL, fetched, pretend_running

S = JobState

NOT_RETRYABLE = "B'11010001'"


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


def test_a_unique_key_is_inserted_once_by_many_at_once(make_client, river):
    results: list[bool] = []
    start = threading.Barrier(6)

    def insert(client: Client) -> None:
        start.wait(30)
        params = [InsertManyParams("k", opts=InsertOpts(unique_key=bytes([key]))) for key in range(20)]
        results.extend(result.unique_skipped_as_duplicate for result in client.insert_many(params))

    threads = [threading.Thread(target=insert, args=(make_client(),)) for _ in range(6)]
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


def test_the_tables_may_be_in_another_schema(make_client, river):
    river.connection.execute('CREATE SCHEMA "odd ""one"; SET search_path TO "odd ""one"')
    river.connection.execute(RIVER_DDL)
    client = make_client(schema='odd "one')
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
