"""A mapped table beside the default one."""

import time

import psycopg

from benchmarks.ours import pairs
from benchmarks.places import empty
from rowqueue import JobTable, NewJob, RetryPolicy, Store

MAPPED = (
    "CREATE TABLE uploads (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, path text NOT NULL, status text NOT NULL, "
    "weight int NOT NULL, tries int NOT NULL DEFAULT 0, fence bigint NOT NULL DEFAULT 0, locked_until timestamptz, "
    "done_at timestamptz)",
    "CREATE INDEX uploads_next ON uploads (weight, id) WHERE status = 'new'",
    "CREATE INDEX uploads_locked ON uploads (locked_until) WHERE locked_until IS NOT NULL",
    "CREATE VIEW uploads_shown AS SELECT u.*, 'file:' || path AS address FROM uploads u",
)
"""A table of a user's: own columns, own words for states, an order, and a view that is read."""


def mapped(server, sizes):
    """Claim and complete by a store, on a table of the user's and on ours."""
    with empty(server) as url, psycopg.connect(url, autocommit=True) as connection:
        for statement in MAPPED:
            connection.execute(statement)
        table = JobTable(
            "uploads",
            view="uploads_shown",
            columns={
                "state": "status",
                "attempt": "tries",
                "lease": "fence",
                "leased_until": "locked_until",
                "finalized_at": "done_at",
            },
            states={"available": "new", "running": "busy", "completed": "done"},
            order_by=lambda t: (t.c.weight, t.c.id),
        )
        theirs, ours = Store(url, table, retry=RetryPolicy.constant(0)), Store(url)
        ours.init()
        theirs.init()

        def measured(_number):
            connection.execute("TRUNCATE uploads, rowqueue_job")
            connection.execute(
                "INSERT INTO uploads (path, status, weight) SELECT 'p', 'new', 1 FROM generate_series(1, %s)",
                [sizes.jobs],
            )
            ours.enqueue_many(
                [NewJob(kind="k", queue="bench", args={"number": n}) for n in range(sizes.jobs)]
            )
            connection.execute("ANALYZE")
            return worked(theirs, sizes.jobs, {}), worked(ours, sizes.jobs, {"queues": ["bench"]})

        rows = pairs(
            "a mapped table with a view, claimed and completed",
            "jobs/s",
            "the default table, as the mapped one",
            sizes.rounds,
            measured,
        )
        theirs.close()
        ours.close()
        return rows


def worked(store, count, chosen):
    """Rows a second, 500 at a time."""
    began, done = time.perf_counter(), 0
    while claims := store.claim(500, **chosen):
        assert all(store.complete_many(claims))
        done += len(claims)
    assert done == count, done
    return done / (time.perf_counter() - began)
