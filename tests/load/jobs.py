"""The jobs of the load tests: of every sort, each as short as it can be; and, as a control, jobs that leak."""

import asyncio
import os
from pathlib import Path
from typing import IO

from rowqueue import App, Context, RetryPolicy, Snooze

app = App(os.environ["LOAD_DATABASE"], retry=RetryPolicy.constant(0.2))
kept: list[bytes] = []
opened: list[IO[bytes]] = []


@app.job(kind="quick")
async def quick(number: int) -> int:
    await asyncio.sleep(0)
    return number


@app.job(kind="thread")
def thread(number: int) -> None:
    sum(range(1000))


@app.job(kind="failing")
async def failing(context: Context, number: int) -> None:
    if context.attempt == 1:
        raise ValueError("the first time it fails")


@app.job(kind="snoozing")
async def snoozing(context: Context, number: int) -> None:
    if not context.job.snoozes:
        raise Snooze(0.5)


@app.job(kind="telling")
async def telling(context: Context, number: int) -> None:
    await context.progress_async(0.5, "half of it")
    await context.log_async({"number": number})


@app.job(kind="process", queue="processes", process=True)
def process(number: int) -> int:
    return number


@app.job(kind="leaking")
def leaking(number: int) -> None:
    kept.append(bytes(50_000))
    opened.append(Path(os.devnull).open("rb"))  # noqa: SIM115 - the leak
