"""Jobs for children. Imported by the test's process and, by the same path, by the children of its worker."""

import ctypes
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import sqlalchemy

from rowqueue import App, Context, Discard, Retry, RetryPolicy, Skip, Snooze

app = App(os.environ["YARD_DATABASE"], retry=RetryPolicy.constant(0), payload_limit=10_000)
here = Path(os.environ["YARD_FOLDER"])


@app.job(process=True)
def add(a: int, b: int = 1) -> dict[str, int]:
    return {"sum": a + b, "pid": os.getpid(), "parent": os.getppid()}


@app.job(process=True)
def nothing() -> None: ...


@app.job(process=True)
def reports(context: Context) -> str:
    print("a print disturbs nobody")
    logging.getLogger("yard").warning("a line %d", 1)
    context.log({"step": 1})
    context.progress(0.5, "halfway")
    return f"{context.job.kind} {context.attempt} {context.deadline} {context.job.args}"


@app.job(process=True, max_attempts=1)
def raises(what: str) -> object:
    match what:
        case "error":
            raise ValueError("no \udc80 good")
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "skip":
            raise Skip("not needed")
        case "snooze":
            raise Snooze(3600)
        case "discard":
            raise Discard("hopeless")
        case "retry":
            raise Retry(3600, "later")
        case "unserialisable":
            return threading.Lock()
        case "huge":
            return "x" * 100_000_000
    raise AssertionError(what)


@app.job(process=True, memory=64 << 20, max_attempts=1)
def eats(megabytes: int) -> int:
    return len(bytearray(megabytes << 20))


@app.job(process=True, max_attempts=1)
def holds_the_gil() -> None:
    (here / "started").write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(3600)  # PyDLL keeps the GIL


@app.job(process=True)
def waits(context: Context) -> None:
    helper = subprocess.Popen(["sleep", "3600"])
    (here / "started.new").write_text(f"{os.getpid()} {helper.pid}")
    (here / "started.new").rename(here / "started")
    while not (here / "go").exists():
        threading.Event().wait(0.01)
    helper.kill()
    helper.wait()


@app.job(process=True)
def listens(context: Context) -> None:
    (here / "started").write_text(str(os.getpid()))
    while not context.cancelled:
        threading.Event().wait(0.01)
    (here / "heard").write_text("")
    raise RuntimeError("stopped in the middle")


@app.job(process=True, max_attempts=1)
def completes(context: Context, commits: bool) -> None:
    """Dies after its transaction was committed, or inside of it."""
    with sqlalchemy.create_engine(sqlalchemy_url()).connect() as connection:
        context.complete_in(connection, "in a transaction")
        if commits:
            connection.commit()
        os._exit(9)


def sqlalchemy_url() -> str:
    url = os.environ["YARD_DATABASE"].replace("postgresql://", "postgresql+psycopg://")
    return url.replace("mariadb://", "mariadb+pymysql://")
