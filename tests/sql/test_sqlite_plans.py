"""Every hot statement's plan on SQLite: never a scan of the job table, never a sort of the backlog."""

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from rowqueue.store.store import Store
from tests.support.stores import fast_directory

ROWS = int(os.environ.get("ROWQUEUE_PLAN_ROWS", "200000")) // 4

_FILL = f"""
WITH RECURSIVE made(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM made WHERE id < {ROWS}),
states AS (SELECT id, CASE
    WHEN id / 10 % 100 < 90 THEN 'completed' WHEN id / 10 % 100 < 91 THEN 'running'
    WHEN id / 10 % 100 < 96 THEN 'available' ELSE 'scheduled' END AS state FROM made)
INSERT INTO rowqueue_job (id, kind, queue, state, priority, args, scheduled_at, max_attempts, lease, leased_until,
    created_at, finalized_at, unique_key)
SELECT id, 'k', 'queue-' || id % 10, state, 1 + id % 4, '{{}}', 1700000000000000 + id, 25, 1,
    CASE WHEN state = 'running' THEN 1700000000000000 + id END, 1700000000000000,
    CASE WHEN state = 'completed' THEN 1700000000000000 + id END, CASE WHEN id % 10 = 3 THEN 'key-' || id END
FROM states
"""

HOT = [
    "claim",
    "claim_kinds",
    "claim_ready_queues",
    "complete",
    "fail",
    "snooze",
    "release",
    "skip",
    "cancel",
    "discard",
    "extend",
    "progress",
    "add_log",
    "update_log",
    "promote_due",
    "next_due",
    "look",
    "rescue",
    "prune",
    "enqueue_holders",
    "standing",
    "get",
    "list",
    "log",
    "retry",
    "retry_rival",
    "promote",
    "skip_by_key",
    "cancel_by_key",
    "discard_by_key",
    "delete",
    "delete_log",
    "hold",
]


@pytest.fixture(scope="module", params=["never analysed", "analysed"])
def connection(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[sqlite3.Connection, dict[str, str]]]:
    path = tmp_path_factory.mktemp("plans", numbered=True)
    path = fast_directory(path) / f"rowqueue-plans-{os.getpid()}.db"
    with contextlib.closing(Store(f"sqlite:///{path}")) as store:
        store.init()
        statements = dict(store.statements())
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute(_FILL)
        raw.commit()
        if request.param == "analysed":
            raw.execute("ANALYZE")
        yield raw, statements
    for left in path.parent.glob(f"{path.name}*"):
        left.unlink()


@pytest.mark.parametrize("name", HOT)
def test_no_hot_statement_scans_or_sorts(connection: Any, name: str, publish) -> None:
    raw, statements = connection
    steps = [
        row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statements[name]}", _values(statements[name]))
    ]
    for step in steps:
        assert not step.startswith("SCAN") or step.startswith(SMALL.get(name, ()) + ARGUMENTS), steps
        assert "AUTOMATIC" not in step, steps
        assert "TEMP B-TREE" not in step or name == "extend", steps  # sorts the claims of one worker
    publish(
        "#32",
        f"plans over {ROWS:,} rows, never analysed and analysed",
        "no scan of the job table, no sort of the backlog",
        value=0,
        bound="scans = 0",
        on=f"SQLite {sqlite3.sqlite_version}",
    )


ARGUMENTS = ("SCAN given_each", "SCAN keys_each", "SCAN kinds_each", "SCAN CONSTANT ROW")
SMALL = {
    "claim_ready_queues": ("SCAN hops",),
    "next_due": ("SCAN rowqueue_job USING INDEX rowqueue_job_due", "SCAN first"),  # the first entry alone
    "look": ("SCAN rowqueue_job USING INDEX rowqueue_job_due", "SCAN first"),
}


def _values(statement: str) -> list[Any]:
    """For a plan their types are enough, and a list is a list to all of them."""
    return ["[]" for _ in range(re.sub("'[^']*'", "", statement).count("?"))]
