"""A worker whose clock may be wrong: `python -m tests.faults.clock_hand URL LEASE`; or one look: `… URL LEASE rescue`."""

import sys
import threading
import time

from rowqueue import App, Context, Worker
from rowqueue.store.store import Store


def main(url: str, lease: float, only: str = "") -> None:
    """Work until SIGTERM, or rescue and promote once and say how many."""
    if only:
        store = Store(url)
        print(len(store.rescue()), sum(store.promote_due().values()), len(store.claim(100)), time.time())
        store.close()
        return
    app = App(url, lease=lease, max_rescues=1000)

    @app.job(kind="k")
    def handler(context: Context, number: int, seconds: float) -> None:
        threading.Event().wait(seconds)  # not time.sleep, which fails under libfaketime

    Worker(app, concurrency=4, poll=0.2).run()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), *sys.argv[3:])
