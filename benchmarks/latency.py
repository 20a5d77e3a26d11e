"""How soon a job begins that is enqueued while a worker has nothing to do.

One process enqueues, so many jobs a second; another works. A latency is the time from just before the enqueue is
sent (its INSERT commits by itself) to the first line of the handler, both read from the machine's monotonic clock.

    python benchmarks/latency.py sqlite:///latency.db
    python benchmarks/latency.py postgresql://postgres@127.0.0.1/test --seconds 30 --threads

The tables have a prefix of their own; jobs of earlier runs are deleted first.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import time
from multiprocessing.connection import Connection

from rowqueue import App, State
from rowqueue.worker import Worker
from rowqueue.worker.events import Completed, WorkerStarted

PREFIX = "latency_"


def make_app(url: str, synchronous: str, latencies: list[float], *, threads: bool) -> App:
    """An app whose only job notes how long ago it was sent."""
    app = App(url, prefix=PREFIX, synchronous=synchronous)

    def note(sent: int) -> None:
        latencies.append((time.monotonic_ns() - sent) / 1e6)

    async def note_async(sent: int) -> None:
        note(sent)

    app.job(kind="note")(note if threads else note_async)
    return app


def work(options: argparse.Namespace, wire: Connection) -> None:
    """The worker's process: ends when all jobs have begun, and sends their latencies."""
    latencies: list[float] = []
    app = make_app(options.url, options.synchronous, latencies, threads=options.threads)
    worker = Worker(app, listen=options.listen)
    expected = options.jobs + options.warm_up

    def enough(_: object) -> None:
        if len(latencies) >= expected:
            worker.stop()

    worker.on(lambda _: wire.send("started"), WorkerStarted)
    worker.on(enough, Completed)
    used = time.process_time()
    worker.run()
    app.close()
    wire.send((latencies[options.warm_up :], time.process_time() - used))


def measure(options: argparse.Namespace) -> tuple[list[float], float]:
    """Enqueue at a steady rate; latencies in milliseconds, and the seconds of CPU that the worker took."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(options, theirs))
    app = make_app(options.url, options.synchronous, [], threads=options.threads)
    app.init()
    app.store.prune(ages={State.COMPLETED: 0}, limit=100_000)
    process.start()
    ours.recv()
    time.sleep(1.0)  # until it is idle
    note, rate = app.jobs["note"], options.rate
    began = time.monotonic()
    for number in range(options.jobs + options.warm_up):
        pause = began + (number + random.random()) / rate - time.monotonic()  # noqa: S311 - not in step with a poll
        time.sleep(max(0.0, pause))
        note.enqueue(time.monotonic_ns())
    answer: tuple[list[float], float] = ours.recv()
    process.join()
    app.close()
    return answer


def main() -> None:
    """Measure, and print percentiles."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=20.0, help="jobs a second")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long to measure")
    parser.add_argument(
        "--threads", action="store_true", help="a def handler, in a thread, not an async def one"
    )
    parser.add_argument("--no-listen", dest="listen", action="store_false", help="by the poll alone")
    parser.add_argument("--synchronous", default="FULL", help="SQLite: FULL or NORMAL")
    options = parser.parse_args()
    options.jobs, options.warm_up = int(options.rate * options.seconds), int(options.rate)
    latencies, used = measure(options)
    latencies.sort()
    at = {
        share: latencies[min(len(latencies) - 1, int(share * len(latencies)))] for share in (0.5, 0.9, 0.99)
    }
    print(
        f"{len(latencies)} jobs at {options.rate:g}/s: "
        + ", ".join(f"p{share * 100:g} {value:.2f} ms" for share, value in at.items())
        + f", worst {latencies[-1]:.2f} ms; the worker used {used / (options.seconds + 2) * 100:.1f} % of a core"
    )


if __name__ == "__main__":
    main()
