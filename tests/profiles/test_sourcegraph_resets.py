"""Sourcegraph's rules on its own tables, in its own words: rows whose worker is gone, and heartbeats."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from rowqueue.core.errors import FeatureMissing
from rowqueue.profiles.sourcegraph import (
    Record,
)
from tests.profiles.sourcegraph_bench import both_shapes, finish, later, minutes, on_postgres, record_of
from tests.support.stores import raw

# reset_stalled


def stalled_rows(bench):
    old, young = timedelta(seconds=10), timedelta(seconds=2)
    for key, (age, resets) in enumerate(
        [(old, 1), (young, 0), (young, 0), (old, 1), (old, 0), (old, 5), (old, 7)], 1
    ):
        row = {
            "id": key,
            "state": "processing",
            "num_resets": resets,
            "started_at": age,
            "failure_message": "before",
        }
        bench.insert(row | ({"last_heartbeat_at": age} if bench.heartbeat else {}))
    bench.insert({"id": 8, "state": "processing"})  # nobody knows since when


@on_postgres
@both_shapes
@pytest.mark.parametrize("seed", [False, True])
def test_reset_stalled(bench, seed):
    stalled_rows(bench)
    store = bench.store(stalled_max_age=5, max_num_resets=5, seed_answers=seed)
    with raw(bench.url) as other:
        other.execute("BEGIN")
        other.rows("SELECT id FROM workerutil_test WHERE id = 5 FOR UPDATE")
        assert store.reset_stalled() == ([1, 4], [6, 7]), "5 is locked: somebody works it"
        other.execute("ROLLBACK")
    last = "errored" if seed else "failed"
    assert bench.states() == {
        1: "queued", 2: "processing", 3: "processing", 4: "queued", 5: "processing", 6: last, 7: last, 8: "processing",
    }  # fmt: skip
    assert [bench.row(key)["num_resets"] for key in (1, 4, 6, 7)] == [2, 2, 5, 7]
    assert [bench.row(key)["num_failures"] for key in (1, 6)] == [0, 0]
    assert (bench.row(1)["started_at"], bench.row(1)["failure_message"]) == (None, "before")
    said = "failed to process" if seed else "job processor died while handling this message too many times"
    assert (bench.row(6)["failure_message"], bench.row(6)["finished_at"] is not None) == (said, True)
    assert store.reset_stalled() == ([5], [])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@both_shapes
def test_reset_stalled_on_sqlite(bench):
    stalled_rows(bench)
    store = bench.store(stalled_max_age=5, max_num_resets=5)
    assert store.reset_stalled() == ([1, 4, 5], [6, 7])
    assert [bench.row(key)["num_resets"] for key in (1, 4, 5, 6, 7)] == [2, 2, 1, 5, 7]
    assert (bench.row(1)["started_at"], bench.row(6)["state"]) == (None, "failed")


@both_shapes
def test_the_message_of_a_row_that_crashed_too_often_can_be_chosen(bench):
    row = {"id": 1, "state": "processing", "num_resets": 0, "started_at": minutes(9)}
    bench.insert(row | ({"last_heartbeat_at": minutes(9)} if bench.heartbeat else {}))
    store = bench.store(max_num_resets=0, reset_failure_message="your upload kills us")
    assert store.reset_stalled() == ([], [1])
    assert bench.row(1)["failure_message"] == "your upload kills us"


@both_shapes
@pytest.mark.parametrize("seed", [False, True])
def test_the_poison_loop_after_the_last_reset_is_closed_but_in_the_seed(bench, seed):
    store = bench.store(retry_after=minutes(5), max_num_retries=3, max_num_resets=0, seed_answers=seed)
    row = {"id": 1, "state": "processing", "started_at": minutes(9)}
    bench.insert(row | ({"last_heartbeat_at": minutes(9)} if bench.heartbeat else {}))
    assert store.reset_stalled() == ([], [1])
    bench.set(1, f"finished_at = {bench.ago(6)}")
    found = store.dequeue()
    assert (found is not None) is seed, "the seed dequeues it again and again"
    if found is not None:
        finish(found)


@on_postgres
def test_a_killed_worker_is_reset_and_its_work_undone(bench):
    bench.insert((1, "queued"))
    bench.rows.execute("CREATE TABLE effect (n integer)")
    store = bench.store()
    record, tx = store.dequeue()
    tx.connection.execute(sa.text("INSERT INTO effect VALUES (1)"))
    bench.rows.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE query ~ 'INTO effect VALUES'"
        " AND pid <> pg_backend_pid()"
    )
    with pytest.raises(Exception, match="connection"):
        tx.done()
    assert store.reset_stalled() == ([], []), "not yet"
    bench.set(1, f"started_at = {bench.ago(1)}")
    assert store.reset_stalled() == ([1], [])
    assert record_of(store.dequeue()).record_id == record.record_id
    assert bench.rows.rows("SELECT * FROM effect") == []


@on_postgres
def test_a_held_row_is_not_reset_however_old(bench):
    bench.insert((1, "queued"), (2, "processing"))
    store = bench.store(stalled_max_age=1)
    found = store.dequeue([lambda w: w.c.id == 1])
    found[1].connection.execute(sa.text("SELECT pg_sleep(1.1)"))  # the age is the server's to see
    assert store.reset_stalled() == ([], [])
    finish(found)
    assert bench.row(1)["state"] == "completed"


def test_without_heartbeats_there_is_none_to_send(bench):
    bench.insert((1, "queued"))
    store = bench.store()
    (claim,) = store.rows.claim(worker="w")
    if bench.dialect == "postgres":
        with pytest.raises(FeatureMissing, match="last_heartbeat_at"):
            store.heartbeat([Record(1, None, claim)])
        assert store.mark_complete(Record(1, None, claim)), "its fence is as it was"


# heartbeat


@later
def test_heartbeat(bench):
    for key in range(1, 5):
        bench.insert({"id": key, "uploaded_at": minutes(10 - key)})
    store = bench.store(hostname="worker-1")
    records = [store.dequeue()[0] for _ in range(2)]
    assert bench.row(1)["worker_hostname"] == "worker-1"
    before = {key: bench.row(key)["last_heartbeat_at"] for key in range(1, 5)}
    bench.rows.execute(f"UPDATE workerutil_test SET last_heartbeat_at = {bench.ago(5)}")
    assert store.heartbeat([*records, 3, 99]) == ([1, 2], []), "queued rows are not touched"
    assert store.heartbeat([]) == ([], [])
    assert bench.row(1)["last_heartbeat_at"] >= before[1]
    assert bench.row(3)["last_heartbeat_at"] < before[1]
    assert store.heartbeat([1, 2]) == ([1, 2], []), "by id, unfenced"
    assert store.mark_complete(records[0])
    assert store.heartbeat(records) == ([2], [])


@later
def test_a_heartbeat_keeps_a_row_from_being_reset(bench):
    bench.insert((1, "queued"), (2, "queued"))
    store = bench.store(order_by_expression=lambda w: w.c.id)
    alive, dead = store.dequeue()[0], store.dequeue()[0]
    bench.rows.execute(f"UPDATE workerutil_test SET last_heartbeat_at = {bench.ago(5)}")
    if bench.dialect == "sqlite":
        bench.rows.execute("UPDATE rowqueue_lease_workerutil_test SET leased_until = 1")
    assert store.heartbeat([alive]).known_ids == [1]
    assert store.reset_stalled() == ([2], [])
    assert store.heartbeat([alive, dead]).known_ids == [1]
    assert bench.row(2)["queued_at"] is not None
