"""What is measured: each of these once, ours or the plain loop's."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterable
from dataclasses import replace

from rowqueue.bench.crew import crew
from rowqueue.bench.options import KIND, NotOnce, Sizes
from rowqueue.bench.place import Place
from rowqueue.bench.raw import raw_of
from rowqueue.bench.worker import Done, Task, add_job

IDLE = 1.0
"""Seconds after which a worker that has started is idle."""


class Bench:
    """Measures on the tables of a place, which it empties between two measurements.

    Args:
        place: the tables.
        sizes: how much.
        task: how workers work, but for what each measurement decides itself.
    """

    def __init__(self, place: Place, sizes: Sizes, task: Task | None = None) -> None:
        self.place = place
        self.sizes = sizes
        self.raw = raw_of(place)
        self.app = place.app()
        add_job(self.app, lambda _: None)
        self.job = self.app.jobs[KIND]
        basis = task or Task(prefix="", schema=None, concurrency=sizes.concurrency)
        self.task = replace(basis, prefix=place.prefix, schema=place.schema)
        self.ran = 0
        """How many jobs have run so far, each of them exactly once."""

    def close(self) -> None:
        """Close the connections."""
        self.app.close()
        self.raw.connection.close()

    def one_by_one(self, *, plain: bool) -> float:
        """Enqueues a second, each waited for."""
        send = self.raw.one if plain else self.job.enqueue
        self.raw.empty()
        for number in range(20):  # prepared, connected
            send(number)
        began = time.perf_counter()
        for number in range(self.sizes.singles):
            send(number)
        return self.sizes.singles / (time.perf_counter() - began)

    def bulk(self, *, plain: bool) -> float:
        """Jobs a second that are enqueued by one call."""
        self.raw.empty()
        self.fill(20, plain=plain)
        began = time.perf_counter()
        self.fill(self.sizes.bulk, plain=plain)
        return self.sizes.bulk / (time.perf_counter() - began)

    def fill(self, count: int, *, plain: bool = False) -> None:
        """Enqueue so many at once."""
        if plain:
            self.raw.bulk(range(count))
        else:
            self.job.enqueue_many([(number,) for number in range(count)])

    def drain(self, processes: int = 1, *, plain: bool) -> float:
        """Jobs a second from the first claim to the last completion, as the rows' own times say."""
        self.raw.empty()
        self.fill(self.sizes.jobs)
        self.raw.settle()
        with crew(self.place, replace(self.task, plain=plain), processes) as workers:
            workers.go()
            done = workers.done()
        self.check(done)
        return self.sizes.jobs / max(self.raw.seconds(), 1e-6)

    def check(self, done: Iterable[Done]) -> None:
        """Every job ran exactly once, and its row says so.

        Raises:
            NotOnce: one did not.
        """
        ran = sorted(number for each in done for number in each.numbers)
        completed = self.completed()
        if ran != list(range(self.sizes.jobs)) or completed != self.sizes.jobs:
            raise NotOnce(
                f"of {self.sizes.jobs:,} jobs {len(set(ran)):,} ran, {len(ran) - len(set(ran)):,} runs were second ones, "
                f"and {completed:,} are completed after one attempt"
            )
        self.ran += len(ran)

    def completed(self) -> int:
        """Jobs that are completed after one attempt."""
        cursor = self.raw.connection.cursor()
        table = self.app.store.jobs.fullname
        cursor.execute(f"SELECT count(*) FROM {table} WHERE state = 'completed' AND attempt = 1")
        count = int(cursor.fetchone()[0])
        cursor.close()
        return count

    def pickups(self, *, plain: bool) -> tuple[float, float]:
        """Milliseconds until an idle worker in another process begins a job: p50 and p99."""
        warm_up, rate = max(2, int(self.sizes.rate)), self.sizes.rate
        self.raw.empty()
        send = self.raw.send if plain else self.job.enqueue
        expected = self.sizes.pickups + warm_up
        with crew(self.place, replace(self.task, plain=plain, pickups=True)) as workers:
            time.sleep(IDLE)
            began = time.monotonic()
            for number in range(expected):
                due = began + (number + random.random()) / rate  # noqa: S311 - not in step with any poll
                time.sleep(max(0.0, due - time.monotonic()))
                send(time.monotonic_ns())
            until = time.monotonic() + 30
            while self.completed() < expected and time.monotonic() < until:
                time.sleep(0.02)
            workers.end()
            waits = workers.done()[0].waits
        if len(waits) != expected:
            raise NotOnce(f"of {expected} jobs that were sent to an idle worker {len(waits)} runs began")
        self.ran += expected
        waits = sorted(waits[warm_up:])
        return statistics.median(waits), waits[min(len(waits) - 1, int(0.99 * len(waits)))]
