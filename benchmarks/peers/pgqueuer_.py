"""pgqueuer."""

import contextlib

from benchmarks.peers.system import System, hit

BATCH = 500


async def queries(url):
    import asyncpg
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries

    connection = await asyncpg.connect(url)
    return connection, Queries(AsyncpgDriver(connection))


async def setup(url):
    await (await queries(url))[1].install()


@contextlib.asynccontextmanager
async def producer(url):
    connection, made = await queries(url)

    async def one(number):
        await made.enqueue("number", str(number).encode())

    async def bulk(count):
        await made.enqueue(["number"] * count, [str(n).encode() for n in range(count)], [0] * count)

    yield one, bulk
    await connection.close()


def work(url):
    import asyncpg
    import uvloop
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.models import Job

    async def main():
        queuer = PgQueuer(AsyncpgDriver(await asyncpg.connect(url)))

        @queuer.entrypoint("number")
        async def number(job: Job) -> None:
            hit(int(job.payload))

        await queuer.run(batch_size=BATCH)

    uvloop.run(main())


SYSTEM = System(
    "pgqueuer",
    "pgqueuer",
    f"asyncpg, uvloop, batch_size {BATCH}, durable (its default)",
    "select exists(select 1 from pgqueuer)",
)
