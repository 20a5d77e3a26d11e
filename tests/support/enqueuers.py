"""Threads that enqueue one job each at a time, to be killed: `python -m tests.support.enqueuers URL FILE [hasty]`.

A line of the file is a number whose enqueue was answered; with ``hasty``, the negative control, one that is about to be.
"""

import os
import sys
import threading

from rowqueue.core.values import NewJob
from rowqueue.store.store import Store

THREADS = 16


def main(url: str, path: str, hasty: bool) -> None:
    """Enqueue until killed."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    store = Store(url)

    def enqueue(first: int) -> None:
        for number in range(first, sys.maxsize, THREADS):
            if hasty:
                os.write(log, b"%d\n" % number)
            store.enqueue(NewJob(kind="k", args={"number": number}))
            if not hasty:
                os.write(log, b"%d\n" % number)

    for first in range(THREADS):
        threading.Thread(target=enqueue, args=[first]).start()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "hasty" in sys.argv[3:])
