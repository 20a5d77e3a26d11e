"""awa."""

import contextlib
from dataclasses import dataclass

from benchmarks.peers.system import System, hit

WORKERS = 500


@dataclass
class Number:
    number: int


async def setup(url):
    import awa

    client = awa.AsyncClient(url)
    await client.migrate()
    await client.install_queue_storage()


@contextlib.asynccontextmanager
async def producer(url):
    import awa

    client = awa.AsyncClient(url)

    async def one(number):
        await client.insert(Number(number), queue="bench")

    async def bulk(count):
        await client.enqueue_many_copy([Number(n) for n in range(count)], queue="bench")

    yield one, bulk


def work(url):
    import asyncio

    import awa
    import uvloop

    async def main():
        client = awa.AsyncClient(url)

        @client.task(Number, queue="bench")
        async def number(job):
            hit(job.args.number)

        await client.start([("bench", WORKERS)], poll_interval_ms=20)
        await asyncio.Event().wait()

    uvloop.run(main())


SYSTEM = System(
    "awa",
    "awa-pg",
    f"queue storage, {WORKERS} workers, poll 20 ms, enqueue_many_copy",
    "select exists(select 1 from awa.jobs where state::text not in ('completed', 'failed', 'cancelled'))",
)
