"""rowqueue, as its own users run it."""

import contextlib
import os

from benchmarks.peers.system import System, hit
from rowqueue import App, Worker

CONCURRENCY = 1000  # so that claims are of 500, as the batches of the plain loop


def make(url):
    app = App(url)

    @app.job(kind="number", queue="bench")
    async def number(number: int) -> None:
        hit(number)

    return app, number


def setup(url):
    make(url)[0].init()


@contextlib.asynccontextmanager
async def producer(url):
    app, number = make(url)

    async def bulk(count):
        await number.enqueue_many_async([(one,) for one in range(count)])

    await app.async_store.check_schema()  # connects, as the others' producers have when the clock starts
    yield number.enqueue_async, bulk
    await app.aclose()


def work(url):
    if os.name == "posix":
        import uvloop

        uvloop.install()
    Worker(make(url)[0], concurrency=CONCURRENCY).run()


SYSTEM = System(
    "rowqueue",
    "rowqueue",
    f"concurrency {CONCURRENCY}, uvloop; default table and options",
    "select exists(select 1 from rowqueue_job where finalized_at is null)",
    ("postgresql", "sqlite"),
)
