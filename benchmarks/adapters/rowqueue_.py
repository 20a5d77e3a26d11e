"""rowqueue on PostgreSQL for the side-by-side harness: one no-op job with one small argument, durability and fences on."""

import contextlib
import os

DSN = os.environ.get("DSN", "")
CONCURRENCY = int(os.environ.get("CONC", "1000"))
VENV = "rowqueue"
KIND = "pg"
SYNC = True
LABEL = "rowqueue (psycopg 3)"
SETTINGS = f"uvloop, concurrency {CONCURRENCY}, default table and options, enqueue and enqueue_many"
REMAIN = "select exists(select 1 from rowqueue_job where finalized_at is null)"
DONE = "select count(*) from rowqueue_job where state = 'completed'"
KEEPS = True
PREFILL = [{"table": "rowqueue_job", "where": "state = 'completed'", "skip": ["id"]}]
try:
    import rec

    import rowqueue

    app = rowqueue.App(DSN or "postgresql://127.0.0.1/bench")

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

    app.store.check_schema()  # connects, as those of the peers do
    yield Producer()


def worker():
    import uvloop

    uvloop.install()
    rowqueue.Worker(app, concurrency=CONCURRENCY).run()
