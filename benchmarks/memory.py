"""Whether a worker's memory grows with the jobs it has run.

One process enqueues and works no-op jobs, never more than 20,000 ahead, and prints its resident set at every tenth of them.

    python benchmarks/memory.py sqlite:///memory.db
    python benchmarks/memory.py postgresql://postgres@127.0.0.1/test --jobs 300000 --threads

The tables have a prefix of their own; jobs of earlier runs are deleted first.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from pathlib import Path

from rowqueue import App, State
from rowqueue.worker import Worker
from rowqueue.worker.events import Completed

PREFIX = "memory_"
AHEAD = 20_000


def resident() -> float:
    """The resident set of this process, in MB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Run, and print a line for each tenth."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument(
        "--threads", action="store_true", help="a def handler, in threads, not an async def one"
    )
    options = parser.parse_args()
    app = App(options.url, prefix=PREFIX)

    def noop(number: int) -> None:
        pass

    async def noop_async(number: int) -> None:
        pass

    job = app.job(kind="noop")(noop if options.threads else noop_async)
    app.init()
    while app.store.prune(ages={State.COMPLETED: 0}, limit=100_000):
        pass
    worker = Worker(app, concurrency=500, poll=0.2)

    def feed() -> None:
        sent = 0
        while (done := worker.counts[Completed]) < options.jobs:
            if sent < options.jobs and sent - done <= AHEAD // 2:
                job.enqueue_many([(number,) for number in range(sent, sent + AHEAD // 2)])
                sent += AHEAD // 2
            time.sleep(0.01)
        worker.stop()

    def watch() -> None:
        began = time.monotonic()
        for tenth in range(1, 11):
            while worker.counts[Completed] < options.jobs * tenth // 10:
                time.sleep(0.01)
            jobs = options.jobs * tenth // 10
            print(f"{jobs:>9,} jobs, {time.monotonic() - began:6.1f} s: {resident():6.1f} MB", flush=True)

    threads = [threading.Thread(target=feed), threading.Thread(target=watch)]
    for thread in threads:
        thread.start()
    worker.run()
    for thread in threads:
        thread.join()
    app.close()


if __name__ == "__main__":
    main()
