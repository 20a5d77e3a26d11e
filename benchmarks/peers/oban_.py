"""oban (needs Python 3.12)."""

import contextlib

from benchmarks.peers.system import System, hit

LIMIT = 100
with contextlib.suppress(ImportError):
    from oban import job

    @job(queue="default")
    async def number(number: int):
        hit(number)


async def setup(url):
    from oban import Oban
    from oban.schema import install

    pool = await Oban.create_pool(url)
    await install(pool)
    await pool.close()


@contextlib.asynccontextmanager
async def producer(url):
    from oban import Oban

    pool = await Oban.create_pool(url)
    async with Oban(pool=pool) as client:

        async def one(value):
            await client.enqueue(number.new(value))

        async def bulk(count):
            await client.enqueue_many([number.new(n) for n in range(count)])

        yield one, bulk
    await pool.close()


def work(url):
    import asyncio

    import uvloop
    from oban import Oban

    async def main():
        pool = await Oban.create_pool(url)
        async with Oban(pool=pool, queues={"default": LIMIT}):
            await asyncio.Event().wait()

    uvloop.run(main())


SYSTEM = System(
    "oban",
    "oban",
    f"uvloop, limit {LIMIT}, enqueue_many",
    "select exists(select 1 from oban_jobs where state in ('available', 'executing', 'scheduled', 'retryable'))",
    jobs=5_000,
)
