"""Sourcegraph's rules on its own tables, in its own words, on PostgreSQL and SQLite; by the table of its tests."""

import contextlib
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from rowqueue.core.control import Discard
from rowqueue.core.errors import ConfigurationError, FeatureMissing
from rowqueue.profiles.sourcegraph import (
    ErrDequeueTransaction,
    ErrExecutionLogEntryNotUpdated,
    ErrNoRecord,
    ExecutionLogEntry,
    Metrics,
    Options,
    Record,
    Store,
)
from rowqueue.store.held_transaction import HeldTransaction
from tests.profiles.sourcegraph_schema import ago, schema
from tests.support.stores import raw

on_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


@dataclass
class TestRecord:
    __test__ = False
    id: int
    state: str


class Bench:
    """The table, stores on it, and a look past them."""

    def __init__(self, url, stack, heartbeat):
        self.url, self.stack, self.heartbeat = url, stack, heartbeat
        self.dialect = "sqlite" if url.startswith("sqlite") else "postgres"
        self.rows = stack.enter_context(raw(url, "workerutil_test"))
        for statement in schema(self.dialect, heartbeat=heartbeat):
            self.rows.execute(statement)

    def store(self, **options):
        defaults = {
            "name": "test",
            "table_name": "workerutil_test",
            "order_by_expression": lambda w: w.c.uploaded_at,
            "scan": TestRecord,
            "stalled_max_age": 5,
            "max_num_resets": 5,
            "heartbeat": self.heartbeat,
        }
        store = Store(self.url, Options(**(defaults | options)))
        self.stack.callback(store.close)
        if self.dialect == "sqlite":
            store.init()
        return store

    def ago(self, minutes):
        return ago(self.dialect, minutes)

    def insert(self, *rows, **columns):
        """Rows of id and state (or of any columns), and SQL for the columns of all."""
        for row in rows:
            given = dict(zip(("id", "state"), row, strict=False)) if isinstance(row, tuple) else row
            values = {name: self._literal(value) for name, value in given.items()} | columns
            names = ", ".join(values)
            self.rows.execute(f"INSERT INTO workerutil_test ({names}) VALUES ({', '.join(values.values())})")

    def _literal(self, value):
        if isinstance(value, timedelta):
            return self.ago(value.total_seconds() / 60)
        return f"'{value}'" if isinstance(value, str) else "NULL" if value is None else str(value)

    def row(self, key):
        return self.rows.row(key)

    def states(self):
        return {key: row["state"] for key, row in self.rows.all().items()}

    def set(self, key, assignments):
        self.rows.execute(f"UPDATE workerutil_test SET {assignments} WHERE id = {key}")


@pytest.fixture(params=["held"])
def shape(request):
    return request.param


@pytest.fixture
def bench(database_url, shape):
    with contextlib.ExitStack() as stack:
        yield Bench(database_url, stack, shape == "heartbeat")


both_shapes = pytest.mark.parametrize("shape", ["held", "heartbeat"], indirect=True)
later = pytest.mark.parametrize("shape", ["heartbeat"], indirect=True)


def minutes(number):
    return timedelta(minutes=number)


def finish(found):
    """End a transaction without an error; there is none with heartbeats."""
    _, store = found
    if not isinstance(store, Store):
        store.done()


def record_of(found):
    assert found is not None
    finish(found)
    return found[0]


def working(bench, store):
    """One row being worked, in a transaction or not: its record, and the store for it."""
    found = store.dequeue()
    assert found is not None
    return found


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


# the transaction


def test_dequeue_inside_a_transaction_is_refused(bench):
    bench.insert((1, "queued"), (2, "queued"))
    found = bench.store().dequeue()
    with pytest.raises(ErrDequeueTransaction, match="on the store itself"):
        found[1].dequeue()
    finish(found)


@on_postgres
def test_the_table_is_worked_as_it_is(bench):
    bench.insert((1, "queued"))
    finish(bench.store().dequeue())
    tables = (
        "SELECT count(*) AS n FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    assert bench.rows.rows(tables)[0]["n"] == 1, "no table of ours beside it"


def test_work_and_mark_commit_together(bench):
    bench.insert((1, "queued"), (2, "queued"))
    bench.rows.execute("CREATE TABLE effect (n integer)")
    store = bench.store()
    with pytest.raises(ZeroDivisionError):
        record, tx = store.dequeue()
        with tx:
            tx.connection.execute(sa.text("INSERT INTO effect VALUES (1)"))
            raise ZeroDivisionError("boom")
    failed = bench.row(record.record_id)
    assert (failed["state"], failed["failure_message"], failed["num_failures"]) == (
        "failed",
        "ZeroDivisionError: boom",
        1,
    )
    record, tx = store.dequeue()
    tx.connection.execute(sa.text("INSERT INTO effect VALUES (2)"))
    assert tx.mark_complete(record)
    assert bench.row(record.record_id)["state"] == "processing", "not committed"
    tx.done()
    assert bench.row(record.record_id)["state"] == "completed"
    assert [row["n"] for row in bench.rows.rows("SELECT n FROM effect")] == [2], (
        "the failed work left no trace"
    )


def test_done_with_an_error_marks_errored_and_a_final_one_failed(bench):
    bench.insert((1, "queued"), (2, "queued"), (3, "queued"))
    store = bench.store(max_num_retries=3, order_by_expression=lambda w: w.c.id)
    _, tx = store.dequeue()
    tx.done(ValueError("oops"))
    _, tx = store.dequeue()
    tx.done(Discard("non-retryable"))
    _, tx = store.dequeue()
    tx.done()
    assert bench.states() == {1: "errored", 2: "failed", 3: "completed"}
    assert bench.row(1)["failure_message"] == "ValueError: oops"
    assert bench.row(1)["process_after"] is None, "which is for queued rows alone"
    assert bench.row(1)["finished_at"] is not None


@on_postgres
def test_an_independent_transaction_outlives_its_code_and_ends_in_another_thread(bench):
    bench.insert((1, "queued"))
    store, held = bench.store(), {}

    def begin():
        record, tx = store.dequeue_with_independent_transaction_context()
        held[record.record_id] = (record, tx)

    def end():
        record, tx = held.pop(1)
        assert tx.mark_complete(record)
        tx.done()

    for step in (begin, end):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    assert bench.states() == {1: "completed"}


def test_a_row_that_the_view_loses_is_no_record_and_a_failure(bench):
    bench.insert((1, "queued"))
    bench.rows.execute("CREATE VIEW waiting AS SELECT * FROM workerutil_test WHERE state = 'queued'")
    store = bench.store(view_name="waiting", max_num_retries=9)
    with pytest.raises(ErrNoRecord, match="the view does not show it"):
        store.dequeue()
    assert bench.row(1)["state"] == "errored"
    assert "ErrNoRecord" in bench.row(1)["failure_message"]


@on_postgres
def test_a_race_for_the_lock_is_settled_by_another_row(bench, monkeypatch):
    bench.insert((1, "queued"), (2, "queued"))
    original, lost = HeldTransaction.open, []

    def slow(self):
        if not lost:
            lost.append(self.claim.key)
            bench.set(self.claim.key, "state = 'queued'")  # a resetter came between the claim and its lock
            bench.set(self.claim.key, f"process_after = {bench.ago(-9)}")
        return original(self)

    monkeypatch.setattr(HeldTransaction, "open", slow)
    store = bench.store(order_by_expression=lambda w: w.c.id)
    assert (record_of(store.dequeue()).record_id, lost) == (2, [1])
    assert bench.states() == {1: "queued", 2: "completed"}


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


# execution logs


def logs(bench, key=1):
    found = bench.row(key)["execution_logs"]
    return json.loads(found) if isinstance(found, str) else found


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
