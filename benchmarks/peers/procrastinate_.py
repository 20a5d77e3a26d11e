"""procrastinate."""

import contextlib

from benchmarks.peers.system import System, hit

CONCURRENCY = 30


def make(url):
    import procrastinate

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=4, max_size=20))

    @app.task(name="number")
    async def number(number):
        hit(number)

    return app, number


async def setup(url):
    app, _ = make(url)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


@contextlib.asynccontextmanager
async def producer(url):
    app, task = make(url)

    async def one(number):
        await task.defer_async(number=number)

    async def bulk(count):
        await task.batch_defer_async(*({"number": n} for n in range(count)))

    async with app.open_async():
        yield one, bulk


def work(url):
    import uvloop

    async def main():
        app, _ = make(url)
        async with app.open_async():
            await app.run_worker_async(concurrency=CONCURRENCY, shutdown_graceful_timeout=1)

    uvloop.run(main())


SYSTEM = System(
    "procrastinate",
    "procrastinate",
    f"psycopg 3, uvloop, concurrency {CONCURRENCY}, pool of 20, batch_defer",
    "select exists(select 1 from procrastinate_jobs where status in ('todo', 'doing'))",
    jobs=3_000,
)
