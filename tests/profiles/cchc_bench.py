"""cchc's tables, repositories on them, and a look past them."""

from rowqueue.profiles.cchc import (
    Repo,
)
from tests.profiles.cchc_schema import POSTGRES, SQLITE
from tests.support.stores import raw


class Bench:
    """The tables, repositories on them, and a look past them."""

    def __init__(self, url, stack):
        self.url, self.stack = url, stack
        self.table, self.results = (
            ("fulltext", "languages") if url.startswith("sqlite") else ("jobs.fulltext", "results.languages")
        )
        self.rows = stack.enter_context(raw(url, self.table))
        for statement in (SQLITE if self.rows.is_sqlite else POSTGRES).split(";\n"):
            if statement.strip():
                self.rows.execute(statement)
        self.repo = self.open()

    def open(self, **options):
        repo = Repo(self.url, **options)
        repo.init()
        self.stack.callback(repo.close)
        return repo

    def add(self, *ids, api="'{}'"):
        values = ", ".join(f"('{id}', {api})" for id in ids)
        self.rows.execute(f"INSERT INTO items (id, api) VALUES {values}")

    def add_many(self, count):
        self.add(*(f"item-{n:04}" for n in range(count)))

    def running(self, item="a"):
        """One job that runs, and its worker."""
        self.add(item)
        self.repo.create_job_for_unqueued("d")
        return self.repo.get_ready_job("d")

    def expire(self):
        self.rows.execute(
            f"UPDATE rowqueue_lease_fulltext SET leased_until = leased_until - 3600 * {self.rows.second}"
        )
