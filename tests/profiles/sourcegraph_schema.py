"""Sourcegraph's table of tests, as its store needs it: the first shape, and the later one with heartbeats."""

_COMMON = """
    id integer PRIMARY KEY,
    state text NOT NULL DEFAULT 'queued',
    failure_message text,
    started_at {moment},
    finished_at {moment},
    process_after {moment},
    num_resets integer NOT NULL DEFAULT 0,
    num_failures integer NOT NULL DEFAULT 0,
    uploaded_at {moment} NOT NULL DEFAULT {now},
    priority integer NOT NULL DEFAULT 77,
    execution_logs {logs}
"""
_LATER = """,
    queued_at {moment} DEFAULT {now},
    last_heartbeat_at {moment},
    worker_hostname text NOT NULL DEFAULT '',
    cancel boolean NOT NULL DEFAULT false
"""
_VIEW = "CREATE VIEW workerutil_test_view AS SELECT w.*, (w.id * 7) AS new_field FROM workerutil_test w"

_TYPES = {
    "postgres": {"moment": "timestamp with time zone", "now": "now()", "logs": "json[]"},
    "sqlite": {"moment": "datetime", "now": "(strftime('%Y-%m-%d %H:%M:%f', 'now'))", "logs": "json"},
}


def schema(dialect: str, *, heartbeat: bool = False) -> list[str]:
    """The statements that make the table and its view."""
    columns = (_COMMON + (_LATER if heartbeat else "")).format(**_TYPES[dialect])
    return [f"CREATE TABLE workerutil_test ({columns})", _VIEW]


def ago(dialect: str, minutes: float) -> str:
    """A moment in the past (negative: in the future), as SQL."""
    if dialect == "sqlite":
        return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '{-60 * minutes:+} seconds')"
    return f"now() - interval '{60 * minutes} seconds'"
