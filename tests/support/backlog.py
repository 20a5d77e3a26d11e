"""Big job tables on PostgreSQL, made by the database itself in a few seconds."""

from typing import Any

import psycopg

# 90 % finished (a tenth of all discarded), 1 % running, 5 % ready in 10 queues, the rest due later or to be retried; every
# tenth row has a unique key. Rows of one state are scattered over the table, as they are in life.
_STATE = """CASE
    WHEN id / 10 % 100 < 78 THEN 'completed'
    WHEN id / 10 % 100 < 88 THEN 'discarded'
    WHEN id / 10 % 100 < 90 THEN 'cancelled'
    WHEN id / 10 % 100 < 91 THEN 'running'
    WHEN id / 10 % 100 < 96 THEN 'available'
    WHEN id / 10 % 100 < 99 THEN 'scheduled'
    ELSE 'retryable' END"""

_INSERT = """
INSERT INTO {table} (id, kind, queue, state, priority, args, scheduled_at, attempt, max_attempts, lease, leased_until,
    attempted_at, attempted_by, created_at, finalized_at, unique_key)
SELECT id, 'kind-' || id % 7, 'queue-' || id % 10, state, 1 + id % 4, '{{"path": "/tmp/file"}}',
    now() - id % 3600 * interval '1 second', 0, 25, 0, NULL, NULL, NULL, now() - interval '2 hours', NULL,
    CASE WHEN id % 10 = 3 THEN 'key-' || id END
FROM (SELECT id, 'available' AS state FROM generate_series(1, {rows}) AS id) AS made
"""

_LIVE = """
UPDATE {table} SET state = target,
    scheduled_at = CASE WHEN target IN ('scheduled', 'retryable') THEN now() + (id % 86400 + 60) * interval '1 second'
        ELSE scheduled_at END,
    attempt = 1, lease = 1, attempted_at = now(), attempted_by = 'worker-1',
    leased_until = CASE WHEN target = 'running' THEN now() + interval '1 hour' END,
    finalized_at = CASE WHEN target IN ('completed', 'discarded', 'cancelled')
        THEN now() - id % 2000000 * interval '1 second' END
FROM (SELECT id AS found, {state} AS target FROM {table}) AS life
WHERE id = found AND target <> 'available'
"""

# 300 are due, 300 were left behind by a dead worker.
_DUE = """
UPDATE {table} SET scheduled_at = now() - interval '1 second'
    WHERE id IN (SELECT id FROM {table} WHERE state = 'scheduled' ORDER BY id LIMIT 300)
"""
_LEFT = """
UPDATE {table} SET leased_until = now() - interval '1 second'
    WHERE id IN (SELECT id FROM {table} WHERE state = 'running' ORDER BY id DESC LIMIT 300)
"""


def fill(connection: psycopg.Connection[Any], table: str, rows: int, *, statistics: str) -> None:
    """Fill a job table.

    Args:
        connection: in autocommit.
        table: its name.
        rows: how many.
        statistics: what the planner knows: `none`, `all ready` (from before the work began), or `fresh`.
    """

    def run(text: str) -> None:
        connection.execute(text.format(table=table, rows=rows, state=_STATE))  # type: ignore[call-overload]

    run("ALTER TABLE {table} SET (autovacuum_enabled = false)")
    run(_INSERT)
    if statistics == "all ready":
        run("ANALYZE {table}")
    run(_LIVE)
    run(_DUE)
    run(_LEFT)
    if statistics == "fresh":
        run("VACUUM ANALYZE {table}")
