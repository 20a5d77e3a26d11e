"""The jobs of the endurance run: each says what it does in a file of its process's, a line at a time."""

import asyncio
import json
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

from rowqueue import App, Context, Job, RetryPolicy, Snooze
from rowqueue.worker import events

app = App(
    os.environ["ENDURANCE_DATABASE"],
    lease=float(os.environ["ENDURANCE_LEASE"]),
    retry=RetryPolicy.constant(0.2),
    max_rescues=100,
)


@cache
def _log() -> int:
    folder = Path(os.environ["ENDURANCE_FOLDER"])
    return os.open(folder / f"said-{os.getpid()}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def _say(what: str, job: Job, **more: Any) -> None:
    line = {"what": what, "key": job.args["number"], "lease": job.lease, **more}
    os.write(_log(), (json.dumps(line) + "\n").encode())


def _begin(context: Context) -> None:
    job = context.job
    assert job.attempted_at is not None
    assert job.leased_until is not None
    _say("start", job, at=job.attempted_at.timestamp(), until=job.leased_until.timestamp())


@app.job(kind="quick")
async def quick(context: Context, number: int) -> int:
    _begin(context)
    await asyncio.sleep(0.5 if number % 100 == 1 else 0.01)  # so that kills find something that runs
    _say("effect", context.job)
    return number


@app.job(kind="thread")
def thread(context: Context, number: int) -> None:
    _begin(context)
    time.sleep(0.5 if number % 100 == 9 else 0.01)
    _say("effect", context.job)


@app.job(kind="process", queue="processes", process=True)
def process(context: Context, number: int) -> None:
    _begin(context)
    sum(range(100_000))
    _say("effect", context.job)


@app.job(kind="failing")
async def failing(context: Context, number: int) -> None:
    _begin(context)
    if context.attempt == 1:
        raise ValueError("the first time it fails")
    _say("effect", context.job)


@app.job(kind="hopeless", max_attempts=2)
def hopeless(context: Context, number: int) -> None:
    _begin(context)
    raise RuntimeError("it always fails")


@app.job(kind="snoozing")
async def snoozing(context: Context, number: int) -> None:
    _begin(context)
    if not context.job.snoozes:
        _say("gave_back", context.job, at=time.time(), cause="snoozed")
        raise Snooze(0.5)
    _say("effect", context.job)


def _released(event: events.Released) -> None:
    assert event.job.attempted_at is not None
    # Of a claim that was never a start it says nothing; and when it was written nobody here knows better.
    _say("gave_back", event.job, at=event.job.attempted_at.timestamp(), cause="released")


def _noted(event: events.Event) -> None:
    folder = Path(os.environ["ENDURANCE_FOLDER"])
    with (folder / "events.txt").open("a") as file:
        file.write(f"{type(event).__name__}\n")


app.on(_released, events.Released)
app.on(
    _noted,
    events.WorkerStarted,
    events.Refused,
    events.RescuedJob,
    events.LeaseLost,
    events.Fenced,
    events.Reconnecting,
    events.Reconnected,
    events.CutOff,
    events.Unwritable,
)
