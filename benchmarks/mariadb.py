"""How fast batches are claimed and completed on MariaDB, beside a plain PyMySQL loop on the same table.

    python benchmarks/mariadb.py mariadb://root@127.0.0.1/bench --rows 20000 --batch 100 --rounds 3

The loop does the least that is right: lock a batch with SKIP LOCKED, mark it running, read its arguments, commit; then mark
it completed by id, commit. It has no fence, no attempts, no errors and no answers. The tables in the database are emptied
before every run; use a database that holds nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from rowqueue import NewJob, Store
from rowqueue.store.database import Database

CHOOSE = (
    "SELECT id, args FROM rowqueue_job FORCE INDEX (rowqueue_job_claim) WHERE state = 'available' AND queue = 'default' "
    "ORDER BY priority, scheduled_at, id LIMIT %s FOR UPDATE SKIP LOCKED"
)
TAKE = (
    "UPDATE rowqueue_job SET state = 'running', attempt = attempt + 1, lease = lease + 1, attempted_at = UTC_TIMESTAMP(6), "
    "leased_until = UTC_TIMESTAMP(6) + INTERVAL 30 SECOND WHERE id IN ({})"
)
END = "UPDATE rowqueue_job SET state = 'completed', leased_until = NULL, finalized_at = UTC_TIMESTAMP(6) WHERE id IN ({})"


def with_rowqueue(store: Store, batch: int) -> int:
    """Claim and complete all; how many."""
    count = 0
    while claims := store.claim(batch, queues=["default"]):
        assert all(store.complete_many(claims))
        count += len(claims)
    return count


def with_pymysql(raw: Any, batch: int) -> int:
    """The same by hand."""
    count = 0
    with raw.cursor() as cursor:
        while True:
            raw.begin()
            cursor.execute(CHOOSE, (batch,))
            rows = cursor.fetchall()
            if not rows:
                raw.rollback()
                return count
            ids = [row[0] for row in rows]
            for _, args in rows:
                json.loads(args)
            marks = ", ".join(["%s"] * len(ids))
            cursor.execute(TAKE.format(marks), ids)
            raw.commit()
            raw.begin()
            cursor.execute(END.format(marks), ids)
            raw.commit()
            count += len(ids)


def measured(store: Store, raw: Any, rows: int, run: Callable[[], int]) -> float:
    """Rows a second, over a fresh backlog."""
    with raw.cursor() as cursor:
        cursor.execute("DELETE FROM rowqueue_job")
    for begin in range(0, rows, 1000):
        store.enqueue_many([NewJob(kind="k", args={"n": begin + n}) for n in range(min(1000, rows - begin))])
    began = time.perf_counter()
    assert run() == rows
    return rows / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with (
        contextlib.closing(Store(options.url)) as store,
        contextlib.closing(Database(options.url).connect()) as raw,
    ):
        store.init()
        ways = {
            "rowqueue": lambda: with_rowqueue(store, options.batch),
            "plain PyMySQL": lambda: with_pymysql(raw, options.batch),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                found[name].append(measured(store, raw, options.rows, way))
        for name, rates in found.items():
            print(
                f"{name:>14}: {statistics.median(rates):>8,.0f} rows/s claimed and completed ({options.batch} a batch)"
            )


if __name__ == "__main__":
    main()
