"""One worker process of an experiment: `python -m tests.faults.hand '{"url": …}'`.

It works the jobs of `scene.py` until SIGTERM. What its handlers did and what it was told goes to a file of its own, a
line at a time; what happened to the rows is known from the database (`audit.py`).
"""

import asyncio
import contextlib
import json
import os
import queue
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from rowqueue import App, Context, RetryPolicy, Worker
from rowqueue.sql.statements._parts import Parts
from rowqueue.worker import events
from rowqueue.worker.finishing import Finishing
from rowqueue.worker.patience import Patience


@dataclass(frozen=True, slots=True)
class Plan:
    """How a hand works; times are in seconds.

    Attributes:
        url: the database, as the worker reaches it.
        folder: where it says what it did.
        own_url: the database, as handlers reach it; the same unless said otherwise.
        slow: how long every so many-th handler takes, and `slow_every` how many that are.
        without: negative controls: `fence` (rows are matched by key and state alone), `reread` (an ending whose reply was
            lost is not looked for), `patience` (a database that does not answer is asked once).
    """

    url: str
    folder: str
    own_url: str = ""
    lease: float = 5.0
    renew: float = 1.0
    concurrency: int = 8
    poll: float = 0.25
    slow: float = 0.1
    slow_every: int = 10
    listen: bool = True
    prepared: bool = True
    without: str = ""


class Said:
    """A file of this process's; a line is there whole or not at all."""

    def __init__(self, folder: str) -> None:
        path = Path(folder) / f"hand-{os.getpid()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, what: str, **more: Any) -> None:
        os.write(self._file, (json.dumps({"what": what, **more}) + "\n").encode())


class Connections:
    """Connections of the handlers' own; one that failed is not given back."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: queue.SimpleQueue[psycopg.Connection[Any]] = queue.SimpleQueue()

    @contextlib.contextmanager
    def one(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = psycopg.connect(self._url, autocommit=True, prepare_threshold=None)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)


def made(plan: Plan) -> App:
    """The app with its two jobs: one says what it did, one does it in the transaction that completes it."""
    app = App(
        plan.url,
        lease=plan.lease,
        retry=RetryPolicy.constant(0.1),
        max_attempts=1000,
        max_rescues=1000,
        prepared=plan.prepared,
    )
    said, own = Said(plan.folder), Connections(plan.own_url or plan.url)

    @app.job(kind="told")
    async def told(context: Context, number: int) -> None:
        await asyncio.sleep(plan.slow if number % plan.slow_every == 0 else 0)
        said("effect", number=number, lease=context.job.lease)

    @app.job(kind="once")
    def once(context: Context, number: int) -> None:
        with own.one() as connection, connection.transaction():
            connection.execute("INSERT INTO effect_once VALUES (%s, %s)", [number, context.job.lease])
            if number % 10 == 1:
                time.sleep(plan.slow)
            context.complete_in(connection)

    def ended(event: events.JobEvent) -> None:
        said(type(event).__name__, number=event.job.args["number"], lease=event.job.lease)

    def happened(event: events.Event) -> None:
        said(type(event).__name__, at=time.time())

    def claimed(event: events.Claimed) -> None:
        nonlocal silent_until
        if time.time() > silent_until:  # a line for each would be too many
            said("Claimed", at=time.time())
            silent_until = time.time() + 0.02

    silent_until = 0.0
    app.on(ended, events.Completed, events.Refused, events.LeaseLost, events.Fenced)
    app.on(happened, events.WorkerStarted, events.Reconnecting, events.Reconnected)
    app.on(claimed, events.Claimed)
    return app


def harm(without: str) -> None:
    """Take away what a negative control does without."""
    if without == "fence":
        Parts.fences_match = lambda *_: []  # type: ignore[method-assign,assignment]
    if without == "reread":
        answered = Finishing._answered

        def forgets(self: Finishing, ending: Any, outcome: Any) -> None:
            if outcome.done:
                answered(self, ending, outcome)
            else:
                self._refused(ending.attempt, outcome)

        Finishing._answered = forgets  # type: ignore[method-assign]
    if without == "patience":

        async def asks_once(self: Patience, doing: str, call: Any, *, raises: bool = False) -> Any:
            return await call()

        Patience.ask = asks_once  # type: ignore[method-assign]


def main(plan: Plan) -> int:
    """Work until SIGTERM."""
    harm(plan.without)
    worker = Worker(
        made(plan),
        concurrency=plan.concurrency,
        renew=plan.renew,
        poll=plan.poll,
        listen=plan.listen,
        grace=20,
    )
    return worker.run()


if __name__ == "__main__":
    sys.exit(main(Plan(**json.loads(sys.argv[1]))))
