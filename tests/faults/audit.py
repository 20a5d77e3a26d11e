"""What happened to the rows, written down by the database itself (PostgreSQL): every change of state, lease and expiry.

A trigger on the job table, in the transaction that makes the change: what is rolled back leaves no trace, and times are
the database's.
"""

from collections.abc import Iterator
from typing import Any

import psycopg

from tests.checker import Event, Row

FINAL = ("completed", "cancelled", "discarded", "skipped")

_TABLES = """
CREATE TABLE effect_once (number bigint, lease bigint);
CREATE TABLE audit (
    seq bigserial, id bigint, lease bigint, was text, state text, until timestamptz, cause text,
    at timestamptz DEFAULT clock_timestamp()
);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit (id, lease, was, state, until, cause) VALUES (
        NEW.id, CASE WHEN OLD.state = 'running' THEN OLD.lease ELSE NEW.lease END, OLD.state, NEW.state, NEW.leased_until,
        CASE WHEN coalesce(NEW.rescues, 0) > coalesce(OLD.rescues, 0) THEN 'rescued'
             WHEN coalesce(NEW.failures, 0) > coalesce(OLD.failures, 0) THEN 'failed' ELSE 'released' END);
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER UPDATE ON rowqueue_job FOR EACH ROW EXECUTE FUNCTION audit();
"""


def install(url: str) -> None:
    """Begin to write down."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_TABLES)


def read(url: str) -> tuple[list[Event], dict[int, Row], dict[int, tuple[int, float]]]:
    """The events by number of the job, how each job stands, and the lease and the moment of each completion."""
    with psycopg.connect(url, autocommit=True) as connection:
        jobs = connection.execute(
            "SELECT id, (args::json->>'number')::bigint, state, coalesce(leased_until < now(), false) FROM rowqueue_job"
        ).fetchall()
        numbers = {row[0]: row[1] for row in jobs}
        assert len(set(numbers.values())) == len(numbers), "a job was enqueued twice"
        rows = {
            number: Row(state in FINAL, state == "running" and late, state == "completed")
            for _, number, state, late in jobs
        }
        changes = connection.execute(
            "SELECT id, lease, was, state, extract(epoch FROM until)::float, cause, extract(epoch FROM at)::float"
            " FROM audit ORDER BY seq"
        ).fetchall()
        once = connection.execute("SELECT number, lease FROM effect_once").fetchall()
    events = [event for change in changes for event in _of(numbers[change[0]], *change[1:])]
    events += [Event("once", number, lease) for number, lease in once]
    completed = {numbers[change[0]]: (change[1], change[6]) for change in changes if change[3] == "completed"}
    return events, rows, completed


def _of(number: int, lease: int, was: str, state: str, until: Any, cause: str, at: float) -> Iterator[Event]:
    if was == state == "running":
        yield Event("extend", number, lease, at, until=until)
    elif state == "running":
        yield Event("start", number, lease, at, until=until)
    elif was == "running" and state not in FINAL:
        what = "rescue" if cause == "rescued" else "gave_back"
        yield Event(what, number, lease, at, cause=cause)  # type: ignore[arg-type]
