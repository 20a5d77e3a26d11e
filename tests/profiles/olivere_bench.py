"""olivere/jobqueue's table, stores on it, and a look past them."""

from rowqueue.profiles.olivere import (
    Job,
    JobState,
    Manager,
    Store,
    create_tables,
)
from tests.support.stores import raw

SECOND = 1_000_000_000
WAITING, WORKING, SUCCEEDED, FAILED = JobState


class Bench:
    """The table, stores on it, and a look past them."""

    def __init__(self, url, stack):
        self.url, self.stack = url, stack
        create_tables(url)
        self.rows = stack.enter_context(raw(url, "jobqueue_jobs"))
        self.store = self.open()

    def open(self, **options):
        store = Store(self.url, **options)
        store.init()
        self.stack.callback(store.close)
        return store

    def manager(self, store=None, **options):
        manager = Manager(store or self.store, **{"poll": 0.01, **options})
        self.stack.callback(manager.close)
        return manager

    def add(self, topic="t", *, due_now=True, **fields):
        return self.store.create(Job(topic=topic, **fields), due_now=due_now)

    def expire(self):
        """The lease of every working job runs out."""
        self.rows.execute(
            f"UPDATE rowqueue_lease_jobqueue_jobs SET leased_until = leased_until - 3600 * {self.rows.second}"
        )

    def pass_time(self, seconds):
        self.rows.execute(f"UPDATE jobqueue_jobs SET priority = priority + {seconds * SECOND}")
