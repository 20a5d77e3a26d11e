"""Sourcegraph's rules on its own tables, in its own words: the transaction that a row is worked in."""

import threading

import pytest
import sqlalchemy as sa

from rowqueue.core.control import Discard
from rowqueue.profiles.sourcegraph import (
    ErrDequeueTransaction,
    ErrNoRecord,
)
from rowqueue.store.held_transaction import HeldTransaction
from tests.profiles.sourcegraph_bench import finish, on_postgres, record_of

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
