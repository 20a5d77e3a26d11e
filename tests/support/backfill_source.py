"""A table of items beside the queue's, whose rows become jobs."""

import sqlalchemy as sa

from rowqueue.app import App
from rowqueue.core.backfill import Rest
from tests.support.stores import raw

ITEMS = sa.table(
    "items", sa.column("id", sa.BigInteger), sa.column("word", sa.Text), sa.column("ready", sa.Integer)
)
ALL, HELD, MORE = Rest.ALL_QUEUED, Rest.HELD, Rest.MORE


class Source:
    """A table of items beside the queue's, and apps on both."""

    def __init__(self, url, stack):
        self.url = url
        self.stack = stack
        self.raw = stack.enter_context(raw(url))
        self.raw.execute("DROP TABLE IF EXISTS items")
        self.raw.execute(
            "CREATE TABLE items (id bigint PRIMARY KEY, word text UNIQUE, ready int NOT NULL DEFAULT 1)"
        )
        stack.callback(self.raw.execute, "DROP TABLE items")
        self.app = self.new_app()

    def new_app(self):
        app = App(self.url)
        self.stack.callback(app.close)

        @app.job(kind="index")
        def index(id: int) -> None: ...

        @app.job(kind="read")
        def read(word: str) -> None: ...

        return app

    def add(self, *ids):
        for at in range(0, len(ids), 500):
            rows = ", ".join(f"({id}, 'w{id}')" for id in ids[at : at + 500])
            self.raw.execute(f"INSERT INTO items (id, word) VALUES {rows}")

    def backfill(self, **options):
        options = {"destination": "search", **options}
        return self.app.jobs["index"].backfill(sa.select(ITEMS.c.id), **options)

    def queued(self, destination="search"):
        """The source ids of the jobs, which must all be in the ledger, and nothing else."""
        ledger = self.raw.rows(
            f"SELECT source_key, job_id FROM rowqueue_backfill WHERE destination = '{destination}'"
        )
        jobs = {job.id: job.args for job in self._jobs()}
        entries = {row["job_id"]: int(row["source_key"]) for row in ledger}
        assert {key: jobs[key]["id"] for key in entries} == entries
        return sorted(entries.values())

    def _jobs(self):
        page = self.app.store.list(limit=10_000)
        assert page.next is None
        return page.jobs

    def jobs(self):
        return len(self._jobs())
