"""Enqueues so many jobs a second until its stdin is closed, and prunes: `python -m tests.load.feeder '{"url": …}'`."""

import json
import select
import sys
import time
from contextlib import closing
from itertools import count, cycle, islice

from rowqueue.core.states import FINAL
from rowqueue.core.values import NewJob
from rowqueue.store.store import Store

TURN = 0.1
MIX = (*["quick"] * 9, *["thread"] * 5, *["failing"] * 2, "snoozing", "scheduled", "unique", "telling")
"""Of twenty jobs; one in a hundred is a process's."""


def job(number: int) -> NewJob:
    """The job of this number."""
    kind = MIX[number % len(MIX)]
    args = {"number": number}
    if number % 100 == 13:
        return NewJob(kind="process", args=args, queue="processes")
    if kind == "scheduled":
        return NewJob(kind="quick", args=args, delay=number % 7 / 2)
    if kind == "unique":
        return NewJob(kind="quick", args=args, unique_key=f"unique {number // 40}")
    return NewJob(kind=kind, args=args)


def feed(url: str, rate: float, kinds: list[str], keep: float | None) -> int:
    """Feed until nobody holds the other end of stdin.

    Args:
        url: the database.
        rate: jobs a second.
        kinds: only these, in place of the mixture.
        keep: how long final jobs are kept (seconds); None keeps all.
    """
    numbers = count()
    made = (NewJob(kind=kind, args={"number": next(numbers)}) for kind in cycle(kinds))
    jobs = made if kinds else map(job, numbers)
    began, enqueued, swept = time.monotonic(), 0, 0.0
    with closing(Store(url)) as store:
        while not select.select([sys.stdin], [], [], TURN)[0]:
            now = time.monotonic()
            due = int((now - began) * rate) - enqueued
            while batch := list(islice(jobs, min(due, 500))):
                store.enqueue_many(batch)
                due, enqueued = due - len(batch), enqueued + len(batch)
            if keep is not None and now - swept > min(2.0, keep):
                swept = now
                store.prune(ages=dict.fromkeys(FINAL, keep), limit=5000)
    return enqueued


if __name__ == "__main__":
    print(feed(**json.loads(sys.argv[1])))
