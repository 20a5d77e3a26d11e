"""Sourcegraph's rules on its own tables, in its own words: what waits, for how long, and what is measured."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from rowqueue.core.errors import ConfigurationError, FeatureMissing
from rowqueue.profiles.sourcegraph import (
    ErrExecutionLogEntryNotUpdated,
    Metrics,
)
from tests.profiles.sourcegraph_bench import both_shapes, finish, later, minutes

# queued_count


@both_shapes
def test_queued_count(bench):
    bench.insert((1, "queued"), (2, "queued"), (3, "state2"), (4, "queued"), (5, "state1"))
    assert bench.store().queued_count() == 3


@both_shapes
def test_queued_count_failed(bench):
    bench.insert({"id": 1, "state": "queued"}, {"id": 2, "state": "errored", "num_failures": 2})
    bench.insert(
        {"id": 3, "state": "errored", "num_failures": 3}, {"id": 4, "state": "failed"}, (5, "uploading")
    )
    assert bench.store(max_num_retries=3).queued_count() == 2
    assert bench.store(max_num_retries=3).queued_count(dequeueable=True) == 1, (
        "no retry_after: nobody gets the other"
    )
    assert bench.store().queued_count() == 1


@both_shapes
def test_queued_count_conditions(bench):
    bench.insert(*((key, "queued") for key in range(1, 5)), (5, "state2"))
    store = bench.store()
    assert store.queued_count([lambda w: w.c.id < 3]) == 2
    assert store.queued_count([lambda w: w.c.id < 4, lambda w: sa.or_(w.c.id == 1, w.c.id == 9)]) == 1


@both_shapes
def test_queued_count_include_processing(bench):
    bench.insert((1, "queued"), (2, "processing"), (3, "failed"))
    assert bench.store().queued_count() == 1
    assert bench.store().queued_count(include_processing=True) == 2


@both_shapes
def test_the_count_can_be_of_what_would_be_dequeued(bench):
    bench.insert(
        (1, "queued"), {"id": 2, "process_after": minutes(-1)}, {"id": 3, "process_after": minutes(1)}
    )
    bench.insert({"id": 4, "state": "errored", "num_failures": 1, "finished_at": minutes(4)})
    bench.insert({"id": 5, "state": "errored", "num_failures": 1, "finished_at": minutes(6)})
    store = bench.store(retry_after=minutes(5), max_num_retries=3)
    assert (store.queued_count(), store.queued_count(dequeueable=True)) == (5, 3)
    dequeued = 0
    while (found := store.dequeue()) is not None:
        finish(found)
        dequeued += 1
    assert dequeued == 3


# max_duration_in_queue


@later
def test_max_duration_in_queue(bench):
    for key, (state, age) in enumerate([("queued", 20), ("queued", 30), ("state2", 40), ("queued", 10)], 1):
        bench.insert({"id": key, "state": state, "queued_at": minutes(age)})
    assert bench.store().max_duration_in_queue() == about(30)


@later
def test_max_duration_in_queue_process_after(bench):
    bench.insert({"id": 1, "queued_at": minutes(90), "process_after": minutes(-45)})
    bench.insert({"id": 2, "queued_at": minutes(70), "process_after": minutes(45)})
    bench.insert({"id": 3, "queued_at": minutes(40)})
    assert bench.store().max_duration_in_queue() == about(45)


@later
def test_max_duration_in_queue_failed(bench):
    store = bench.store(retry_after=minutes(5), max_num_retries=5)
    bench.insert({"id": 1, "queued_at": minutes(10)})
    errored = {"state": "errored", "queued_at": minutes(90)}
    bench.insert({"id": 2, "num_failures": 3, "finished_at": minutes(30), **errored})
    bench.insert({"id": 3, "num_failures": 5, "finished_at": minutes(60), **errored})
    bench.insert({"id": 4, "state": "failed", "num_failures": 1, "finished_at": minutes(50)})
    assert store.max_duration_in_queue() == about(25)
    assert bench.store().max_duration_in_queue() == about(10), "nothing is retried"


@later
def test_max_duration_in_queue_empty(bench):
    bench.insert({"id": 1, "state": "completed"}, {"id": 2, "process_after": minutes(-1)})
    assert bench.store().max_duration_in_queue() == timedelta(0)


def test_max_duration_in_queue_needs_its_column(bench):
    with pytest.raises(FeatureMissing, match="queued_at"):
        bench.store().max_duration_in_queue()


def about(number):
    return pytest.approx(minutes(number), abs=minutes(0.5))


# metrics


def test_every_operation_is_observed(bench):
    bench.insert(*((key, "queued") for key in range(1, 9)))
    metrics = Metrics()
    store = bench.store(observe=metrics, max_num_retries=3)
    store.queued_count()
    store.reset_stalled()
    for mark in ("mark_complete", "mark_errored", "mark_failed"):
        record, tx = store.dequeue()
        tx.add_execution_log_entry(record, {"key": "k"})
        getattr(tx, mark)(record, *([] if mark == "mark_complete" else ["x"]))
        tx.done()
    record, tx = store.dequeue()
    tx.requeue(record, datetime.now(UTC))
    tx.done()
    with pytest.raises(ErrExecutionLogEntryNotUpdated):
        store.update_execution_log_entry(99, 1, {})
    with pytest.raises(ConfigurationError):
        store.dequeue("not a list")
    assert metrics.counts == {
        "queued_count": 1, "reset_stalled": 1, "dequeue": 5, "mark_complete": 1, "mark_errored": 1, "mark_failed": 1,
        "requeue": 1, "add_execution_log_entry": 3, "update_execution_log_entry": 1,
    }  # fmt: skip
    assert metrics.errors["dequeue"] == 1
    assert all(seconds > 0 for seconds in metrics.seconds.values())
    seen = []
    bench.store(observe=seen.append).queued_count()
    assert (seen[0].store, seen[0].operation, seen[0].error) == ("test", "queued_count", None)
