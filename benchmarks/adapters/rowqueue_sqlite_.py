"""rowqueue on SQLite (synchronous=FULL) for the side-by-side harness."""

import contextlib
import os

FILE = os.environ.get("SQLITE", "rowqueue.db")
CONCURRENCY = int(os.environ.get("CONC", "500"))
VENV = "rowqueue"
KIND = "sqlite"
LABEL = "rowqueue (SQLite)"
SYNC = True
SETTINGS = (
    f"concurrency {CONCURRENCY}, WAL, synchronous=FULL, default table and options, enqueue_many for bulk"
)
REMAIN = "select exists(select 1 from rowqueue_job where finalized_at is null)"
DONE = "select count(*) from rowqueue_job where state = 'completed'"
KEEPS = True
PREFILL = []
try:
    import rec

    import rowqueue

    app = rowqueue.App(f"sqlite:///{FILE}")

    @app.job(kind="noop")
    async def noop(i: int) -> None:
        rec.hit(i)
except ImportError:  # the harness reads the settings above in an environment without rowqueue
    pass


def setup():
    app.init()


@contextlib.contextmanager
def producer():
    class Producer:
        def one(self, i):
            noop.enqueue(i)

        def bulk(self, lo, hi):
            noop.enqueue_many([(i,) for i in range(lo, hi)])

    yield Producer()


def worker():
    rowqueue.Worker(app, concurrency=CONCURRENCY).run()
