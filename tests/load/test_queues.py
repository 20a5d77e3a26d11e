"""A thousand queues: what a claim from all of them reads depends on the queues and on its limit, not on the backlog."""

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any, cast

import psycopg
import pytest

from rowqueue.operations import claim as claiming
from rowqueue.operations.settings import StoreSettings
from rowqueue.store.borrowed import BoundStore
from rowqueue.store.store import Store
from tests.support.explain import measure
from tests.support.mariadb import connect
from tests.support.session import plain_url
from tests.support.stores import raw

QUEUES = [f"queue-{number:04}" for number in range(1000)]
LIMIT = 100
STEP = 100
"""Instructions of SQLite's machine that are counted at once."""

_FILL = {
    "postgresql": """
        INSERT INTO rowqueue_job (kind, queue, state, priority, args, scheduled_at, max_attempts, created_at)
        SELECT 'k', 'queue-' || lpad((id % 1000)::text, 4, '0'), 'available', 2, '{{}}', now(), 25, now()
        FROM generate_series(1, {rows}) AS id""",
    "mariadb": """
        INSERT INTO rowqueue_job (kind, queue, state, priority, args, scheduled_at, max_attempts, created_at)
        SELECT 'k', CONCAT('queue-', LPAD(seq % 1000, 4, '0')), 'available', 2, '{{}}', '2023-11-14', 25, '2023-11-14'
        FROM seq_1_to_{rows}""",
    "sqlite": """
        WITH RECURSIVE made(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM made WHERE id < {rows})
        INSERT INTO rowqueue_job (kind, queue, state, priority, args, scheduled_at, max_attempts, created_at)
        SELECT 'k', printf('queue-%04d', id % 1000), 'available', 2, '{{}}', 1700000000000000, 25, 1700000000000000
        FROM made""",
}

_NAIVE = "SELECT queue, count(*) FROM rowqueue_job WHERE state = 'available' GROUP BY queue"


@pytest.mark.parametrize("database_url", ["sqlite", "postgres", "mariadb"], indirect=True)
def test_a_claim_from_a_thousand_queues_does_not_read_the_backlog(database_url: str, publish):
    with contextlib.closing(Store(database_url)) as store:
        store.init()
        read = []
        for rows in (10_000, 90_000):  # 10 jobs in each queue, then 100
            with raw(database_url) as connection:
                connection.execute(_FILL[connection.kind].format(rows=rows))
            read.append(_read(store, database_url))
        assert len(store.claim(LIMIT, queues=dict.fromkeys(QUEUES, 10))) == LIMIT
    publish(
        "#33",
        "a thousand queues: a claim of 100 jobs, 10 and 100 jobs waiting in each queue",
        f"{read[0]:,} then {read[1]:,} {'instructions' if database_url.startswith('sqlite') else 'rows and entries'}",
        value=read[1] / read[0],
        bound="ratio <= 1.2",
    )


def test_control_a_look_at_which_queues_have_jobs_reads_the_backlog(sqlite_url: str, publish):
    read = []
    with contextlib.closing(Store(sqlite_url)) as store:
        store.init()
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        for rows in (10_000, 90_000):
            connection.execute(_FILL["sqlite"].format(rows=rows))
            connection.commit()
            read.append(_instructions(connection, lambda: connection.execute(_NAIVE).fetchall()))
    publish.control(
        "#33",
        "a thousand queues: a claim that first asks which of them have jobs",
        f"{read[0]:,} then {read[1]:,} instructions",
        value=read[1] / read[0],
        bound="ratio > 1.2",
    )


def _read(store: Store, url: str) -> int:
    """What the claim reads: rows of the table on PostgreSQL, instructions on SQLite, rows and entries on MariaDB."""
    wanted = dict.fromkeys(QUEUES, 10)
    if url.startswith("postgresql"):
        values = {
            "limit": LIMIT,
            "duration": 30.0,
            "worker": "w",
            "wanted_queue": QUEUES,
            "wanted_slots": list(wanted.values()),
            "wanted_after_priority": [claiming.FRONT[0]] * len(QUEUES),
            "wanted_after_at": [claiming.FRONT[1]] * len(QUEUES),
            "wanted_after_id": [claiming.FRONT[2]] * len(QUEUES),
        }
        statement = dict(store.statements())["claim"]
        with psycopg.connect(plain_url(url), autocommit=True) as connection:
            connection.execute("ANALYZE rowqueue_job")
            found = measure(connection, "rowqueue_job", statement, values, "force_generic_plan")
        assert found.seq_scans == 0
        return found.touched
    operation = claiming.claim(
        StoreSettings(), LIMIT, queues=wanted, kinds=None, where=None, lease=None, worker="w"
    )
    if url.startswith("mariadb"):
        with contextlib.closing(connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            connection.begin()
            before = _handlers(cursor)
            claims = cast("BoundStore", store.on(connection)).run(operation)
            read = _handlers(cursor) - before
            connection.rollback()
    else:
        path = url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            bound = cast("BoundStore", store.on(connection))
            claims = []
            read = _instructions(connection, lambda: claims.extend(bound.run(operation)))
            connection.rollback()
    assert len(claims) == LIMIT
    return read


def _handlers(cursor: Any) -> int:
    cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
    return sum(int(count) for _, count in cursor.fetchall())


def _instructions(connection: sqlite3.Connection, do: Callable[[], object]) -> int:
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += STEP

    connection.set_progress_handler(count, STEP)
    do()
    connection.set_progress_handler(None, 0)
    return steps
