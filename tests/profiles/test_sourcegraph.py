"""Sourcegraph's rules on its own tables, in its own words: which row is dequeued, by which names, expressions and conditions."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from rowqueue.core.errors import ConfigurationError
from tests.profiles.sourcegraph_bench import (
    TestRecord,
    both_shapes,
    finish,
    minutes,
    on_postgres,
    record_of,
    working,
)
from tests.support.stores import raw

# dequeue


def five(bench, *states, ages=(1, 2, 3, 4, 5)):
    for key, (state, age) in enumerate(zip(states, ages, strict=True), 1):
        bench.insert({"id": key, "state": state, "uploaded_at": minutes(age)})


@both_shapes
def test_dequeue_state(bench):
    five(bench, "queued", "queued", "state2", "queued", "state2")
    record, tx = working(bench, bench.store())
    assert (record.record_id, record.data) == (4, TestRecord(4, "processing"))
    assert bench.row(4)["state"] == "processing", "seen by everybody at once"
    finish((record, tx))


@both_shapes
def test_dequeue_order(bench):
    five(bench, *["queued"] * 5, ages=(2, 5, 3, 1, 4))
    assert record_of(bench.store().dequeue()).record_id == 2


@both_shapes
def test_dequeue_conditions(bench):
    five(bench, *["queued"] * 5)
    assert record_of(bench.store().dequeue([lambda w: w.c.id < 4])).record_id == 3
    with pytest.raises(ConfigurationError, match="list of functions"):
        bench.store().dequeue(lambda w: w.c.id < 4)
    with pytest.raises((ConfigurationError, sa.exc.ArgumentError)):
        bench.store().dequeue([lambda w: "id < 4; DROP TABLE workerutil_test"])


@both_shapes
def test_dequeue_delay(bench):
    for key, (after, age) in enumerate([(None, 1), (None, 2), (-1, 3), (1, 4), (-60, 5)], 1):
        due = None if after is None else minutes(after)
        bench.insert({"id": key, "process_after": due, "uploaded_at": minutes(age)})
    assert record_of(bench.store().dequeue()).record_id == 4


@both_shapes
def test_dequeue_view(bench):
    five(bench, *["queued"] * 5, ages=(1, 2, 3, 4, 5))
    store = bench.store(
        table_name="workerutil_test w",
        view_name="workerutil_test_view v",
        order_by_expression=lambda v: v.c.new_field.desc(),
        column_expressions=lambda v: (v.c.id, v.c.state, v.c.new_field, (v.c.new_field * 2).label("twice")),
        scan=dict,
    )
    record = record_of(store.dequeue([lambda v: v.c.new_field < 15]))
    assert record.data == {"id": 2, "state": "processing", "new_field": 14, "twice": 28}
    assert store.queued_count([lambda v: v.c.new_field > 15]) == 3


@both_shapes
def test_column_expressions_make_a_record_of_any_type(bench):
    bench.insert((1, "queued"))

    @dataclass
    class Labelled:
        id: int
        label: str

    store = bench.store(
        scan=Labelled, column_expressions=lambda w: [(sa.cast(w.c.id, sa.Text()) + "!").label("label")]
    )
    assert record_of(store.dequeue()).data == Labelled(1, "1!")


@both_shapes
@pytest.mark.parametrize("conditions", [[], [lambda w: w.c.id == 1]])
def test_a_new_attempt_begins_without_what_the_last_one_left(bench, shape, conditions):
    bench.insert({"id": 1, "failure_message": "old"}, finished_at=bench.ago(1))
    log = "ARRAY['{}'::json]" if bench.dialect == "postgres" else "'[{}]'"
    bench.set(1, f"execution_logs = {log}")
    record, tx = bench.store(scan=None).dequeue(conditions)
    row = bench.row(1)
    assert (row["failure_message"], row["finished_at"]) == (None, None)
    assert (row["execution_logs"] is None) is (shape == "heartbeat"), "the later version forgets the logs"
    assert record.data["failure_message"] is None
    assert (row["num_failures"], row["num_resets"], row["priority"]) == (0, 0, 77)
    finish((record, tx))


@on_postgres
@both_shapes
def test_dequeue_concurrent(bench):
    bench.insert({"id": 1, "uploaded_at": minutes(2)}, {"id": 2, "uploaded_at": minutes(1)})
    store = bench.store()
    first, second, third = store.dequeue(), store.dequeue(), store.dequeue()
    assert (first[0].record_id, second[0].record_id, third) == (1, 2, None)
    finish(first)
    finish(second)


@both_shapes
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_eight_workers_dequeue_each_of_many_rows_once(bench):
    bench.insert(*((key, "queued") for key in range(1, 201)))

    def work(_):
        store, got = bench.store(view_name="workerutil_test_view"), []
        while (found := store.dequeue()) is not None:
            record, tx = found
            assert tx.mark_complete(record)
            finish(found)
            got.append(record.record_id)
        return got

    with ThreadPoolExecutor(8) as pool:
        counts = Counter(key for got in pool.map(work, range(8)) for key in got)
    assert counts == Counter(range(1, 201))
    assert set(bench.states().values()) == {"completed"}


@on_postgres
@both_shapes
def test_fifty_one_locked_rows_do_not_hide_a_free_one(bench):
    bench.insert(*((key, "queued") for key in range(1, 53)))
    store = bench.store(order_by_expression=lambda w: w.c.id)
    with raw(bench.url) as other:
        other.execute("BEGIN")
        other.rows("SELECT id FROM workerutil_test WHERE id < 52 FOR UPDATE")
        assert record_of(store.dequeue()).record_id == 52
        other.execute("ROLLBACK")


@both_shapes
def test_dequeue_retry_after(bench):
    store = bench.store(retry_after=minutes(5), max_num_retries=5, max_num_resets=5)
    for key, (state, failures, finished) in enumerate(
        [("errored", 3, 6), ("errored", 0, 4), ("errored", 5, 6), ("queued", 0, None)], 1
    ):
        ended = None if finished is None else minutes(finished)
        bench.insert(
            {
                "id": key,
                "state": state,
                "num_failures": failures,
                "finished_at": ended,
                "uploaded_at": minutes(9 - key),
            }
        )
    taken = []
    while (found := store.dequeue()) is not None:
        taken.append(found[0].record_id)
        finish(found)
    assert taken == [1, 4], "before the newer queued one; never too early, never when exhausted"


@both_shapes
def test_dequeue_retry_after_disabled(bench):
    bench.insert({"id": 1, "state": "errored", "finished_at": minutes(9)}, (2, "queued"))
    for options in (
        {"retry_after": 0, "max_num_retries": 5},
        {"retry_after": minutes(5), "max_num_retries": 0},
    ):
        bench.set(2, "state = 'queued'")
        store = bench.store(**options)
        assert record_of(store.dequeue()).record_id == 2
        assert store.dequeue() is None


@both_shapes
def test_alternate_column_names_touch_no_other_column(bench):
    for name in ("state", "started_at", "num_failures", "id"):
        bench.rows.execute(f"ALTER TABLE workerutil_test ADD COLUMN their_{name} integer")
    bench.rows.execute("DROP VIEW workerutil_test_view")
    bench.rows.execute("ALTER TABLE workerutil_test RENAME COLUMN state TO status")
    bench.rows.execute("ALTER TABLE workerutil_test RENAME COLUMN num_failures TO failure_count")
    bench.rows.execute("ALTER TABLE workerutil_test RENAME COLUMN failure_message TO why")
    bench.rows.execute("INSERT INTO workerutil_test (id, status) VALUES (1, 'queued')")
    names = {"state": "status", "num_failures": "failure_count", "failure_message": "why"}
    store = bench.store(alternate_column_names=names, scan=None, max_num_retries=3)
    assert store.queued_count() == 1
    record, tx = store.dequeue()
    assert tx.mark_errored(record, "oops")
    finish((record, tx))
    row = bench.row(1)
    assert (row["status"], row["failure_count"], row["why"], row["priority"]) == ("errored", 1, "oops", 77)
    assert {row[f"their_{name}"] for name in ("state", "started_at", "num_failures", "id")} == {None}
    with pytest.raises(ConfigurationError, match="finnished"):
        bench.store(alternate_column_names={"finnished": "x"})
    with pytest.raises(ConfigurationError, match="no column 'gone'"):
        bench.store(alternate_column_names={**names, "process_after": "gone"})


def test_options_are_checked(bench):
    for wrong in ({"name": ""}, {"table_name": "nowhere"}, {"stalled_max_age": 0}, {"max_num_retries": -1}):
        with pytest.raises(ConfigurationError):
            bench.store(**wrong)
