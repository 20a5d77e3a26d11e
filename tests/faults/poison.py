"""Handlers that harm the process in which they run, and a worker of them: `python -m tests.faults.poison threads`.

Children of a worker import this module; the environment says on which database and in which folder.
"""

import ctypes
import os
import re
import resource
import signal
import sys
import threading
from pathlib import Path

from rowqueue import App, RetryPolicy, Worker

PROCESS, THREADS = "process", "threads"
MEMORY = 384 << 20
"""Bytes for a child: enough for a result of 100 MB."""

STARTS = 2
"""How often a handler that brings its process down is started before its job is discarded, either way."""


def started(how: str) -> None:
    """Say so, whatever comes next."""
    with Path(os.environ["POISON_FOLDER"], "starts").open("a") as file:
        file.write(f"{how}\t{os.getpid()}\n")


def harm(how: str) -> object:
    """Do it."""
    started(how)
    match how:
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(7)
        case "abort":
            os.abort()
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "closes every file":
            os.closerange(3, 64)
            return None
        case "holds the GIL":
            re.match(r"(a+)+$", "a" * 64 + "b")  # one call of C, for longer than anybody waits
        case "holds it asleep":
            ctypes.PyDLL(None).sleep(3600)
        case "out of memory":
            return [bytearray(1 << 24) for _ in range(1 << 20)]
        case "unserialisable":
            return threading.Lock()
        case "100 MB":
            return "x" * 100_000_000
        case "SystemExit":
            sys.exit(3)
        case "KeyboardInterrupt":
            raise KeyboardInterrupt
        case "BaseException":
            raise BaseException("nobody catches this one")  # noqa: TRY002 - the very thing under test
        case "GeneratorExit":
            raise GeneratorExit
        case "forks":
            if os.fork() == 0:
                return "the copy"
            return os.waitstatus_to_exitcode(os.wait()[1])
        case "forks and execs":
            if os.fork() == 0:
                os.execv("/bin/sh", ["sh", "-c", "exit 5"])
            return os.waitstatus_to_exitcode(os.wait()[1])
        case _:
            raise AssertionError(how)
    return None


def made(url: str) -> App:
    """The app with its jobs, for children and for threads."""
    app = App(url, retry=RetryPolicy.constant(0), max_rescues=STARTS, max_attempts=STARTS)

    @app.job(kind=PROCESS, queue=PROCESS, process=True, memory=MEMORY)
    def in_a_process(how: str) -> object:
        return harm(how)

    @app.job(kind=THREADS, queue=THREADS)
    def in_a_thread(how: str) -> object:
        return harm(how)

    for kind in (PROCESS, THREADS):
        app.job(kind=f"{kind} innocent", queue=kind, process=kind == PROCESS)(lambda how: how)

    return app


app = made(os.environ["POISON_DATABASE"])


def main(queue: str, memory: int = 0) -> None:
    """Work a queue until SIGTERM, in so much memory (bytes; 0: whatever there is)."""
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    Worker(app, queues={queue: 1}, lease=1.0, renew=0.2, poll=0.05, grace=1).run()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
