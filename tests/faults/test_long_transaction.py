"""Somebody's transaction that stays open and holds vacuum back: what finished stays in the indexes as long as it lasts."""

import statistics
import time
from typing import Any

import psycopg

from rowqueue.core.values import NewJob
from rowqueue.store.store import Store

BATCH = 50


def worked_off(store: Store, jobs: int) -> list[float]:
    """Enqueue, claim and complete so many, a batch at a time; the seconds of each claim."""
    times = []
    for _ in range(jobs // BATCH):
        store.enqueue_many([NewJob(kind="k")] * BATCH)
        began = time.perf_counter()
        claims = store.claim(BATCH)
        times.append(time.perf_counter() - began)
        assert len(claims) == BATCH
        assert all(store.complete_many(claims))
    return times


def dead(connection: "psycopg.Connection[Any]") -> int:
    """Dead rows that vacuum could not, or did not yet, take away."""
    connection.execute("VACUUM (INDEX_CLEANUP ON, ANALYZE) rowqueue_job")
    row = connection.execute(
        "SELECT pg_stat_get_dead_tuples('rowqueue_job'::regclass), pg_stat_clear_snapshot()"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_transaction_that_stays_open_slows_claims_only_as_long_as_it_lasts(
    fresh_postgres: str, publish: Any, long: bool
) -> None:
    jobs = 100_000 if long else 2_000
    store = Store(fresh_postgres)
    store.init()
    with (
        psycopg.connect(fresh_postgres, autocommit=True) as connection,
        psycopg.connect(fresh_postgres) as other,
    ):
        before = statistics.median(worked_off(store, 1000))
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM rowqueue_job")
        held = worked_off(store, jobs)
        kept = dead(connection)
        other.rollback()
        gone = dead(connection)
        after = statistics.median(worked_off(store, 1000))
    store.close()
    last = statistics.median(held[-max(5, len(held) // 10) :])
    publish(
        "#33",
        "somebody's transaction holds vacuum back",
        f"{jobs:,} jobs meanwhile; a claim of {BATCH} took {before * 1000:.1f} ms before, {last * 1000:.1f} ms at its end, "
        f"{after * 1000:.1f} ms after it; dead rows left after it {gone}",
        value=gone,
        bound="dead rows <= 100",
        control=f"while it lasts vacuum leaves {kept:,} dead rows",
    )
    publish(
        "#33",
        "a claim once vacuum may work again",
        f"{after / before:.1f} times as long as before",
        value=after / before,
        bound="<= 5 times",
        control=f"while it lasts {last / before:.1f} times",
    )
    assert kept > jobs, "the control did not fail"
