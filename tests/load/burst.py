"""One process that enqueues or works very many jobs, and tells what memory it took: `python -m tests.load.burst MODE …`.

The memory is looked at after a first part, when all code is loaded and all caches are warm, and at its highest.
"""

import json
import os
import re
import sys
import time
from contextlib import closing
from pathlib import Path

from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from rowqueue.worker import Worker, events

BATCH = 1000
FIRST = 10_000


def resident() -> int:
    """MiB that this process has in memory at the most so far.

    Not by `getrusage`, which begins with what the process had that started this one.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def produce(url: str, jobs: int, *, hoard: bool) -> dict[str, float]:
    """Enqueue; `hoard` is the negative control: it keeps every answer."""
    kept = []
    began, early = time.monotonic(), 0
    with closing(Store(url)) as store:
        for first in range(0, jobs, BATCH):
            answers = store.enqueue_many(
                [NewJob(kind="quick", args={"number": number}) for number in range(first, first + BATCH)]
            )
            kept += answers if hoard else []
            if first + BATCH == FIRST:
                early = resident()
    return {"seconds": time.monotonic() - began, "early": early, "most": resident()}


def work(url: str, jobs: int, *, hoard: bool) -> dict[str, float]:
    """Work until nothing is left; `hoard` is the negative control: it keeps every event."""
    os.environ["LOAD_DATABASE"] = url
    from tests.load.jobs import app

    done, early, kept = 0, 0, []

    def completed(event: events.Completed) -> None:
        nonlocal done, early
        done += 1
        if hoard:
            kept.append(event)
        if done == FIRST:
            early = resident()

    app.on(completed, events.Completed)
    began = time.monotonic()
    Worker(app, queues={"default": 50}, drain=True, prefetch=200).run()
    return {"seconds": time.monotonic() - began, "early": early, "most": resident(), "done": done}


if __name__ == "__main__":
    modes = {"produce": produce, "work": work}
    print(json.dumps(modes[sys.argv[1]](sys.argv[2], int(sys.argv[3]), hoard=sys.argv[4] == "hoard")))
