"""The plain driver loop on rowqueue's own table, 500 rows at a time: what the database and the driver leave to be gained."""

import contextlib

from benchmarks.peers.system import System, hit
from rowqueue import App
from rowqueue.bench.place import Place
from rowqueue.bench.raw import raw_of


def raw(url):
    return raw_of(Place(url, "rowqueue_", "public", ""))


def setup(url):
    App(url).init()


@contextlib.asynccontextmanager
async def producer(url):
    plain = raw(url)

    async def one(number):
        plain.one(number)

    async def send(number):
        plain.send(number)

    async def bulk(count):
        plain.bulk(range(count))

    yield one, bulk, send


def work(url):
    plain = raw(url)
    plain.listen()
    while True:
        while claimed := plain.claim():
            for _, number in claimed:
                hit(number)
            plain.complete([key for key, _ in claimed])
        plain.wait()


SYSTEM = System(
    "plain driver",
    "psycopg",
    "the same table by a plain loop of psycopg or sqlite3: INSERT (and NOTIFY); COPY or executemany; claim and complete 500 at a time",
    "select exists(select 1 from rowqueue_job where finalized_at is null)",
    ("postgresql", "sqlite"),
)
