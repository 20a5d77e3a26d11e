"""`python -m tests.support.initialising URL` says that it is ready, makes the tables when its input ends, and says their version."""

import sys
from contextlib import closing

from rowqueue.store.store import Store

if __name__ == "__main__":
    with closing(Store(sys.argv[1])) as _store:
        print("ready", flush=True)
        sys.stdin.read()
        print(_store.init())
