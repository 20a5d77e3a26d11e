"""huey on SQLite. It deletes a row before it runs the job: a crash loses the job."""

import contextlib

from benchmarks.peers.system import System, hit


def make(url):
    from huey import SqliteHuey

    huey = SqliteHuey("bench", filename=url.removeprefix("sqlite:///"), results=False)
    return huey, huey.task(name="number")(hit)


def setup(url):
    make(url)


@contextlib.asynccontextmanager
async def producer(url):
    _, task = make(url)

    async def one(number):
        task(number)

    async def bulk(count):
        for number in range(count):
            task(number)

    yield one, bulk


def work(url):
    huey, _ = make(url)
    huey.create_consumer(
        workers=1, worker_type="thread", periodic=False, initial_delay=0.01, max_delay=0.1
    ).run()


SYSTEM = System(
    "huey",
    "huey",
    "SqliteHuey, WAL, synchronous=FULL (SQLite's default), one thread, no results; it has no bulk enqueue",
    "select exists(select 1 from task)",
    ("sqlite",),
    bulk=False,
)
