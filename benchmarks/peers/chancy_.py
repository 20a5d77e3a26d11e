"""chancy."""

import contextlib
import logging

from benchmarks.peers.system import System, hit

CONCURRENCY = 1000
with contextlib.suppress(ImportError):
    from chancy import job

    @job(queue="bench")
    async def number(*, number: int):
        hit(number)


def make(url):
    from chancy import Chancy

    log = logging.getLogger("chancy")
    log.setLevel(logging.WARNING)
    return Chancy(url, log=log)


async def declare(app):
    from chancy import Chancy, Queue

    queue = Queue(
        "bench",
        concurrency=CONCURRENCY,
        executor=Chancy.Executor.Async,
        eager_polling=True,
        polling_interval=1,
    )
    await app.declare(queue, upsert=True)


async def setup(url):
    async with make(url) as app:
        await app.migrate()
        await declare(app)


@contextlib.asynccontextmanager
async def producer(url):
    async with make(url) as app:

        async def one(value):
            await app.push(number.job.with_kwargs(number=value))

        async def bulk(count):
            jobs = [number.job.with_kwargs(number=n) for n in range(count)]
            async for _ in app.push_many(jobs, batch_size=1000):
                pass

        yield one, bulk


def work(url):
    import uvloop
    from chancy import Worker

    async def main():
        async with make(url) as app:
            await declare(app)
            async with Worker(app) as worker:
                await worker.wait_for_shutdown()

    uvloop.run(main())


SYSTEM = System(
    "chancy",
    "chancy",
    f"async executor, concurrency {CONCURRENCY}, eager polling, push_many by 1,000",
    "select exists(select 1 from chancy_jobs where state in ('pending', 'running', 'retrying'))",
    jobs=10_000,
)
