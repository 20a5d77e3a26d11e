"""A table that was there before: its rows are the jobs, claimed and finished where they are.

python examples/uploads_in_place.py
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

import rowqueue
from rowqueue import JobTable, RetryPolicy, Store

URL = os.environ.get("DATABASE_URL", "sqlite:///uploads.db")

metadata = sa.MetaData()
uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("repository", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="queued"),
    sa.Column("started_at", sa.DateTime(timezone=True)),
    sa.Column("finished_at", sa.DateTime(timezone=True)),
    sa.Column("process_after", sa.DateTime(timezone=True)),
    sa.Column("num_failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("num_resets", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failure_message", sa.Text),
    sa.Column("note", sa.Text),  # nobody's business: never written
)


@dataclass
class Upload:
    """What a claim's ``record`` is: whichever columns have a field of their name."""

    id: int
    repository: str
    size: int


MAPPING = JobTable(
    "uploads",
    columns={
        "attempted_at": "started_at",
        "finalized_at": "finished_at",
        "scheduled_at": "process_after",
        "failures": "num_failures",
        "rescues": "num_resets",
        "errors": rowqueue.Column("failure_message", codec="message"),
    },
    states={
        "available": "queued",
        "running": "processing",
        "retryable": "errored",
        "completed": "completed",
        "discarded": "failed",
    },
    order_by=lambda t: (t.c.size, t.c.id),  # the small ones first
    record=Upload,
)


def open_store() -> Store:
    """The table has no room for a lease: ``init`` makes a small table for it beside, and leaves this one as it is."""
    store = Store(
        URL,
        MAPPING,
        retry=RetryPolicy.constant(timedelta(minutes=5)),
        max_failures=3,
        lease=timedelta(seconds=30),
    )
    store.init()
    return store


def work(store: Store, memory: int) -> None:
    """Process whatever fits the free memory: a condition that each claim takes anew."""
    while claims := store.claim(10, where=lambda t: t.c.size <= memory, worker="uploads_in_place"):
        done = []
        for claim in claims:
            upload: Upload = claim.record
            if upload.repository == "broken":
                store.fail(claim, "the index cannot be read")
            else:
                print(f"processed {upload.repository} ({upload.size})")
                done.append(claim)
        for outcome in store.complete_many(done):
            outcome.or_raise()  # LeaseLost: somebody else works it now


def main() -> None:
    engine = sa.create_engine(URL)
    metadata.create_all(engine)
    with engine.begin() as connection:  # inserting stays the application's own business
        rows = [("big", 900), ("small", 1), ("broken", 2), ("middle", 50)]
        connection.execute(uploads.insert(), [{"repository": name, "size": size} for name, size in rows])
    store = open_store()
    work(store, memory=100)
    with engine.connect() as connection:
        for row in connection.execute(sa.select(uploads).order_by(uploads.c.size)):
            print(
                f"{row.repository}: {row.state}, failed {row.num_failures} times {row.failure_message or ''}".rstrip()
            )
    store.close()
    engine.dispose()


if __name__ == "__main__":
    main()
