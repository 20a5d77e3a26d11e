"""One process of the bench: ``python -m rowqueue.bench.worker``, started by ``crew``, which it answers in JSON.

It says ``ready``, works when it reads a line, and says what it did: the numbers that it ran, how late each began, and
the CPU that it took.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from rowqueue.app import App
from rowqueue.bench.options import KIND, QUEUE
from rowqueue.bench.place import Place
from rowqueue.bench.raw import drain, raw_of
from rowqueue.cli.lifeline import on_parent_death
from rowqueue.cli.target import DATABASE_VARIABLE
from rowqueue.worker import Worker
from rowqueue.worker.events import WorkerStarted


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a process does.

    Attributes:
        prefix: of the tables.
        schema: of the tables.
        plain: by the driver alone, not by a worker of ours.
        pickups: wait for jobs whose number is the time when they were sent, until stdin ends; else drain.
        concurrency: of the worker.
        threads: the handler is a ``def``.
        pause: seconds that each ``async def`` handler waits.
        uvloop: run in that loop.
    """

    prefix: str
    schema: str | None
    plain: bool = False
    pickups: bool = False
    concurrency: int = 1000
    threads: bool = False
    pause: float = 0.0
    uvloop: bool = False

    def line(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Done:
    """What it did.

    Attributes:
        numbers: of the jobs that ran, in order, each as often as it ran.
        waits: milliseconds from when each was sent to when it began, where that was asked for.
        cpu: seconds.
    """

    numbers: list[int]
    waits: list[float]
    cpu: float


def main(line: str) -> None:
    """Do the task."""
    task = Task(**json.loads(line))
    place = Place(os.environ[DATABASE_VARIABLE], task.prefix, task.schema, "")
    done = (_plain if task.plain else _worker)(place, task)
    # Not by print: with PYTHONUNBUFFERED that loses what does not fit into the pipe at once.
    with open(sys.stdout.fileno(), "w", closefd=False) as out:
        out.write(json.dumps(asdict(done)) + "\n")


def _ready() -> None:
    print("ready", flush=True)


def _plain(place: Place, task: Task) -> Done:
    raw = raw_of(place)
    numbers: list[int] = []
    waits: list[float] = []
    if not task.pickups:
        _ready()
        sys.stdin.readline()
        cpu = time.process_time()
        numbers = drain(raw)
    else:
        stop = threading.Event()
        raw.listen()
        on_parent_death(stop.set)
        cpu = time.process_time()
        _ready()
        while not stop.is_set():
            raw.wait()
            for key, sent in raw.claim():
                waits.append((time.monotonic_ns() - sent) / 1e6)
                raw.complete([key])
    raw.connection.close()
    return Done(numbers, waits, time.process_time() - cpu)


def _worker(place: Place, task: Task) -> Done:
    if task.uvloop:
        import uvloop  # pyright: ignore[reportMissingImports] - of the benchmark's own environment

        uvloop.install()
    app = place.app()
    numbers: list[int] = []
    waits: list[float] = []

    def waited(number: int) -> None:
        waits.append((time.monotonic_ns() - number) / 1e6)

    add_job(app, waited if task.pickups else numbers.append, threads=task.threads, pause=task.pause)
    worker = Worker(app, queues={QUEUE: task.concurrency}, drain=not task.pickups)
    if task.pickups:
        on_parent_death(worker.stop)
        worker.on(lambda _: _ready(), WorkerStarted)
    else:
        _ready()
        sys.stdin.readline()
        on_parent_death(lambda: worker.stop(hard=True))
    cpu = time.process_time()
    worker.run()
    app.close()
    return Done(numbers, waits, time.process_time() - cpu)


def add_job(app: App, note: Callable[[int], object], *, threads: bool = False, pause: float = 0.0) -> None:
    """Register the job of the bench.

    Args:
        app: where.
        note: called with its only argument.
        threads: as a ``def``.
        pause: seconds that an ``async def`` waits.
    """
    if threads:

        @app.job(kind=KIND, queue=QUEUE)
        def number_in_thread(number: int) -> None:
            note(number)

    elif pause:

        @app.job(kind=KIND, queue=QUEUE)
        async def number_with_pause(number: int) -> None:
            import asyncio

            note(number)
            await asyncio.sleep(pause)

    else:

        @app.job(kind=KIND, queue=QUEUE)
        async def number_at_once(number: int) -> None:
            note(number)


if __name__ == "__main__":
    main(*sys.argv[1:])
