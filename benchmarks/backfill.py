"""How much faster six creators queue a source than one.

    python benchmarks/backfill.py postgresql://postgres@127.0.0.1/bench --rows 500000 --rounds 3

Each round makes the jobs of the same source once with one creator and once with six, each creator a process of its own
that has started before the clock does. The database is emptied before every run; use one that holds nothing else.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from multiprocessing.synchronize import Barrier

import sqlalchemy as sa

from rowqueue import App

ITEMS = sa.table("bench_items", sa.column("id", sa.BigInteger))


def create(url: str, barrier: Barrier, made: multiprocessing.Queue[tuple[int, float]]) -> None:
    """One creator."""
    app = App(url)

    @app.job(kind="index")
    def index(id: int) -> None: ...

    app.store.stats()  # it is connected
    barrier.wait()
    began = time.process_time()
    answer = index.backfill(sa.select(ITEMS.c.id), destination="search")
    made.put((answer.created, time.process_time() - began))


def prepare(engine: sa.Engine, url: str, rows: int) -> None:
    """Empty tables, and the source."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name in connection.scalars(
            sa.text("SELECT tablename FROM pg_tables WHERE tablename LIKE 'rowqueue\\_%'")
        ).all():
            connection.exec_driver_sql(f'DROP TABLE "{name}" CASCADE')
        connection.exec_driver_sql("DROP TABLE IF EXISTS bench_items")
        connection.exec_driver_sql("CREATE TABLE bench_items (id bigint PRIMARY KEY)")
        connection.exec_driver_sql(f"INSERT INTO bench_items SELECT generate_series(1, {rows})")
        connection.exec_driver_sql("VACUUM ANALYZE bench_items")
    app = App(url)
    app.init()
    app.close()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CHECKPOINT")


def measure(engine: sa.Engine, url: str, rows: int, creators: int) -> float:
    """Seconds until all rows have their job."""
    prepare(engine, url, rows)
    context = multiprocessing.get_context("spawn")
    barrier, made = context.Barrier(creators + 1), context.Queue()
    processes = [context.Process(target=create, args=(url, barrier, made)) for _ in range(creators)]
    for process in processes:
        process.start()
    barrier.wait()
    began = time.perf_counter()
    answers = [made.get() for _ in processes]
    seconds = time.perf_counter() - began
    for process in processes:
        process.join()
    with engine.connect() as connection:
        jobs = connection.scalar(sa.text("SELECT count(*) FROM rowqueue_job"))
        keys = connection.scalar(sa.text("SELECT count(DISTINCT source_key) FROM rowqueue_backfill"))
    assert (sum(count for count, _ in answers), jobs, keys) == (rows, rows, rows)
    cpu = sum(spent for _, spent in answers)
    print(
        f"{creators} creators: {seconds:6.2f} s, {rows / seconds:8.0f} jobs/s, {cpu:6.2f} s of their CPU",
        flush=True,
    )
    return seconds


def main() -> None:
    """Measure and say the ratio of each round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--creators", type=int, default=6)
    options = parser.parse_args()
    engine = sa.create_engine(options.url.replace("postgresql://", "postgresql+psycopg://", 1))
    ratios = []
    for _ in range(options.rounds):
        one = measure(engine, options.url, options.rows, 1)
        ratios.append(one / measure(engine, options.url, options.rows, options.creators))
        print(f"{options.creators} creators are {ratios[-1]:.2f} times as fast as one", flush=True)
    print(f"median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
