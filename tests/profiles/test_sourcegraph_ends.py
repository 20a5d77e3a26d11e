"""Sourcegraph's rules on its own tables, in its own words: how a row ends, goes back, and what is logged."""

from datetime import UTC, datetime

import pytest

from rowqueue.core.errors import ConfigurationError
from rowqueue.profiles.sourcegraph import (
    ErrExecutionLogEntryNotUpdated,
    ExecutionLogEntry,
    Record,
)
from tests.profiles.sourcegraph_bench import both_shapes, finish, later, logs, working

# requeue


@both_shapes
@pytest.mark.parametrize("by", ["record", "id"])
def test_requeue(bench, by, shape):
    bench.insert((1, "queued"))
    store = bench.store(scan=None)
    after = datetime(2031, 5, 6, 7, 8, 9, 123000, UTC)
    record, tx = working(bench, store)
    answer = tx.requeue(record if by == "record" else 1, after)
    finish((record, tx))
    assert (bool(answer), answer.unfenced) == (True, by == "id")
    row = bench.row(1)
    assert (row["state"], row["num_failures"]) == ("queued", 0)
    found = row["process_after"]
    assert found == (after if bench.dialect == "postgres" else "2031-05-06 07:08:09.123")
    if shape == "heartbeat":
        assert row["started_at"] is None
        assert row["queued_at"] is not None
    assert store.dequeue() is None, "it is not due"
    with pytest.raises(ConfigurationError, match="aware"):
        store.requeue(1, datetime(2031, 1, 1))  # noqa: DTZ001


@both_shapes
def test_requeue_leaves_finished_rows_alone_unless_the_seed_is_asked(bench):
    bench.insert((1, "completed"), (2, "failed"))
    store, after = bench.store(), datetime(2031, 1, 1, tzinfo=UTC)
    assert not store.requeue(1, after)
    assert not store.requeue(99, after)
    assert bench.states() == {1: "completed", 2: "failed"}
    seed = bench.store(seed_answers=True)
    assert seed.requeue(1, after)
    assert seed.requeue(2, after)
    assert set(bench.states().values()) == {"queued"}


@both_shapes
@pytest.mark.parametrize("by", ["record", "id"])
def test_add_and_update_execution_log_entries(bench, by):
    bench.insert((1, "queued"))
    store = bench.store()
    record, tx = working(bench, store)
    target = record if by == "record" else 1
    began = datetime(2026, 1, 2, tzinfo=UTC)
    entries = [
        ExecutionLogEntry(key=f"step {n}", command=["ls", "-a", str(n)], start_time=began) for n in range(5)
    ]
    answers = [tx.add_execution_log_entry(target, entry) for entry in entries]
    assert [answer.entry for answer in answers] == [1, 2, 3, 4, 5]
    assert {answer.unfenced for answer in answers} == {by == "id"}
    done = ExecutionLogEntry(key="step 2", command=["ls"], exit_code=0, out="…äß'\"\\", duration_ms=12)
    assert tx.update_execution_log_entry(target, 3, done).entry == 3
    assert tx.update_execution_log_entry(target, 1, {"key": "own", "any": [1, {"b": None}]})
    assert tx.update_execution_log_entry(target, 5, {"key": "last"})
    for unknown in (0, 6, -1):
        with pytest.raises(ErrExecutionLogEntryNotUpdated):
            tx.update_execution_log_entry(target, unknown, done)
    finish((record, tx))
    found = logs(bench)
    assert [entry["key"] for entry in found] == ["own", "step 1", "step 2", "step 3", "last"]
    assert found[0] == {"key": "own", "any": [1, {"b": None}]}
    assert found[1] == {
        "key": "step 1",
        "command": ["ls", "-a", "1"],
        "startTime": "2026-01-02T00:00:00+00:00",
    }
    assert found[2] == {
        "key": "step 2",
        "command": ["ls"],
        "exitCode": 0,
        "out": "…äß'\"\\",
        "durationMs": 12,
    }


@both_shapes
def test_log_entries_of_no_record_and_of_an_empty_log(bench):
    bench.insert((1, "processing"), (2, "completed"))
    store = bench.store()
    entry = ExecutionLogEntry(key="k")
    for key in (99, 2):
        with pytest.raises(ErrExecutionLogEntryNotUpdated):
            store.add_execution_log_entry(key, entry)
    for number in (0, 1):
        with pytest.raises(ErrExecutionLogEntryNotUpdated):
            store.update_execution_log_entry(1, number, entry)
    assert store.add_execution_log_entry(1, entry).entry == 1
    seed = bench.store(seed_answers=True)
    assert seed.add_execution_log_entry(2, entry).entry == 1, "the seed asks for no state"
    assert not seed.add_execution_log_entry(99, entry), "and says nothing of a row that is not there"


# marks


@both_shapes
@pytest.mark.parametrize("by", ["record", "id"])
@pytest.mark.parametrize(
    "method, message, state, failures",
    [("complete", None, "completed", 0), ("errored", "oops", "errored", 1), ("failed", "oops", "failed", 1)],
)
def test_marks(bench, by, method, message, state, failures):
    bench.insert((1, "queued"))
    record, tx = working(bench, bench.store(max_num_retries=3))
    arguments = () if message is None else (message,)
    answer = getattr(tx, f"mark_{method}")(record if by == "record" else 1, *arguments)
    finish((record, tx))
    assert (bool(answer), answer.unfenced) == (True, by == "id")
    row = bench.row(1)
    assert (row["state"], row["failure_message"], row["num_failures"]) == (state, message, failures)
    assert row["finished_at"] is not None
    assert row["process_after"] is None


@both_shapes
@pytest.mark.parametrize("seed", [False, True])
def test_marks_of_rows_that_are_not_processing(bench, seed):
    bench.insert({"id": 1, "state": "errored", "failure_message": "old"}, (2, "queued"), (3, "failed"))
    store = bench.store(seed_answers=seed)
    for key in (1, 2, 3, 99):
        assert not store.mark_complete(key)
        assert not store.mark_errored(key, "new")
        assert not store.mark_failed(key, "new")
    assert bench.states() == {1: "errored", 2: "queued", 3: "failed"}
    assert bench.row(1)["failure_message"] == "old"


@both_shapes
@pytest.mark.parametrize("method", ["mark_errored", "mark_failed"])
def test_what_is_completed_stays_so_unless_the_seed_is_asked(bench, method):
    bench.insert((1, "completed"))
    assert not getattr(bench.store(max_num_retries=9), method)(1, "late")
    assert bench.row(1)["state"] == "completed"
    assert getattr(bench.store(max_num_retries=9, seed_answers=True), method)(1, "late")
    assert bench.row(1)["state"] == ("errored" if method == "mark_errored" else "failed")


@both_shapes
@pytest.mark.parametrize("seed", [False, True])
def test_mark_errored_retries_exhausted(bench, seed):
    bench.insert((1, "processing"), {"id": 2, "state": "processing", "num_failures": 1})
    store = bench.store(max_num_retries=2, seed_answers=seed)
    assert store.mark_errored(1, "x")
    assert store.mark_errored(2, "x")
    assert bench.states() == {1: "errored", 2: "failed"}


@both_shapes
@pytest.mark.parametrize("maximum, failures", [(0, 0), (2, 2), (2, 7)])
def test_a_row_past_its_limit_is_failed_where_the_seed_misses_it(bench, maximum, failures):
    bench.insert({"id": 1, "state": "processing", "num_failures": failures})
    bench.insert({"id": 2, "state": "processing", "num_failures": failures})
    assert bench.store(max_num_retries=maximum).mark_errored(1, "x")
    assert bench.store(max_num_retries=maximum, seed_answers=True).mark_errored(2, "x")
    assert bench.states() == {1: "failed", 2: "errored"}


@both_shapes
@pytest.mark.parametrize("seed", [False, True])
def test_a_record_whose_row_was_dequeued_again_is_refused(bench, seed, shape):
    """The fence: the seed would complete the other worker's attempt."""
    bench.insert((1, "queued"))
    store = bench.store(seed_answers=seed)
    if shape == "held":
        (claim,) = store.rows.claim(worker="w")
        stale = Record(1, claim.record, claim)
    else:
        stale, _ = store.dequeue()
    bench.set(1, f"started_at = {bench.ago(60)}")
    if bench.dialect == "postgres" and shape == "heartbeat":
        bench.set(1, f"last_heartbeat_at = {bench.ago(60)}")
    if bench.dialect == "sqlite":
        bench.rows.execute("UPDATE rowqueue_lease_workerutil_test SET leased_until = 1")
    assert store.reset_stalled().reset_ids == [1]
    (claim,) = store.rows.claim(worker="w")
    fresh = Record(1, claim.record, claim)
    if not seed:
        for answer in (
            store.mark_complete(stale),
            store.mark_errored(stale, "stale"),
            store.mark_failed(stale, "stale"),
            store.requeue(stale, datetime(2031, 1, 1, tzinfo=UTC)),
        ):
            assert (bool(answer), answer.unfenced) == (False, False)
        with pytest.raises(ErrExecutionLogEntryNotUpdated):
            store.add_execution_log_entry(stale, {"key": "stale"})
        assert bench.row(1)["execution_logs"] is None
        assert store.mark_complete(fresh)
    else:
        answer = store.mark_complete(stale)
        assert (bool(answer), answer.unfenced) == (True, True)
    assert bench.row(1)["state"] == "completed"


@later
def test_a_cancelled_row_ends_canceled_and_did_not_fail(bench):
    bench.insert(*((key, "queued") for key in range(1, 5)))
    store = bench.store(max_num_retries=9, order_by_expression=lambda w: w.c.id)
    records = [store.dequeue()[0] for _ in range(4)]
    bench.rows.execute("UPDATE workerutil_test SET cancel = true WHERE id < 4")
    beat = store.heartbeat(records)
    assert (beat.known_ids, beat.cancel_ids) == ([1, 2, 3, 4], [1, 2, 3])
    assert store.mark_failed(records[0], "canceled by the user")
    assert store.mark_errored(records[1], "context canceled")
    assert store.mark_complete(records[2]), "success wins"
    assert store.mark_errored(records[3], "x")
    assert bench.states() == {1: "canceled", 2: "canceled", 3: "completed", 4: "errored"}
    assert [bench.row(key)["num_failures"] for key in range(1, 5)] == [0, 0, 0, 1]
