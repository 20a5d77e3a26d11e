"""The demo from its first file to its last check. Every step may be killed, and is made again by the next run."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from rowqueue.cli.target import shown
from rowqueue.core.errors import RowqueueError
from rowqueue.core.states import State
from rowqueue.demo import check, items, report
from rowqueue.demo.crew import Crew
from rowqueue.demo.database import reading
from rowqueue.demo.incidents import Incidents
from rowqueue.demo.jobs import Demo, open_demo
from rowqueue.demo.schema import create
from rowqueue.demo.search import find

DEFAULT_DATABASE = "sqlite:///rowqueue-demo.db"
_LOOK = 0.03
_STALLED = 60.0
"""Seconds without a single finished job after which the demo gives up."""


class Stalled(RowqueueError):
    """Nothing moves any more."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What was typed.

    Attributes:
        url: the database.
        prefix: rowqueue's table prefix.
        schema: the database schema of the tables.
        source: whose files; None is the standard library.
        workers: how many worker processes.
    """

    url: str = DEFAULT_DATABASE
    prefix: str = "rowqueue_"
    schema: str | None = None
    source: Path | None = None
    workers: int = 2


def run(options: DemoOptions) -> int:
    """Run it all and print how it goes.

    Returns:
        The exit code: 0 when every item is accounted for, 1 when the check found a breach.
    """
    files = items.find_files(options.source)
    demo = open_demo(options.url, prefix=options.prefix, schema=options.schema)
    try:
        prepare(demo, files)
        before = check.tally(demo)
        started = time.monotonic()
        if before.open:
            work(demo, options, before.open)
        else:
            print("everything is indexed already: no work is done twice")
        return conclude(demo, before.open, time.monotonic() - started)
    finally:
        demo.close()


def search(options: DemoOptions, words: str) -> int:
    """Answer from the index; returns the exit code."""
    demo = open_demo(options.url, prefix=options.prefix, schema=options.schema)
    try:
        report.show_hits(find(demo, words), words)
    finally:
        demo.close()
    return 0


def prepare(demo: Demo, files: list[items.SourceFile]) -> None:
    """Create the tables, record the files, and make a job for each that has none."""
    demo.app.init()
    create(demo.engine, demo.tables)
    new = items.record(demo, files)
    jobs = items.enqueue_missing(demo)
    where = shown(demo.app.store.database)
    print(f"{len(files):,} files, {new:,} of them new; {jobs:,} jobs made in {where}", flush=True)


def work(demo: Demo, options: DemoOptions, total: int) -> None:
    """Let worker processes finish what is open, and let things go wrong on the way.

    Raises:
        Stalled: no job was finished for a minute.
    """
    url = demo.app.store.database.url.render_as_string(hide_password=False)
    crew = Crew(url, [options.prefix, options.schema or ""])
    with report.progress(total) as shown:
        incidents = Incidents(demo, crew, total, shown.say)
        try:
            for _ in range(options.workers):
                crew.start()
            _watch(demo, crew, incidents, shown, total)
        finally:
            crew.stop()


def _watch(demo: Demo, crew: Crew, incidents: Incidents, shown: report.Progress, total: int) -> None:
    pause = threading.Event()
    done, moved = 0, time.monotonic()
    while (left := _open(demo)) > 0:
        now = time.monotonic()
        if total - left != done:
            done, moved = total - left, now
            shown.update(done)
        elif now - moved > _STALLED:
            raise Stalled(
                f"no job was finished for {_STALLED:g} s: see 'rowqueue stats', and run the demo again"
            )
        incidents.tick(done, now)
        for worker in crew.replace_dead():
            shown.say(f"worker {worker.number} ended by itself; another one takes its place")
        pause.wait(_LOOK)
    incidents.end(time.monotonic())
    shown.update(total)


def _open(demo: Demo) -> int:
    """How many items have a job that is not final."""
    item, job = demo.tables.item, demo.app.store.jobs
    query = sa.select(sa.func.count()).select_from(item).join(job, job.c.id == item.c.search_job)
    query = query.where(job.c.finalized_at.is_(None))
    with reading(demo.engine).connect() as connection:
        return connection.execute(query).scalar_one()


def conclude(demo: Demo, done: int, seconds: float) -> int:
    """Show what became of everything, and check it; returns the exit code."""
    report.show_failures(_failures(demo))
    tally = check.tally(demo)
    report.show_tally(tally, done, seconds)
    breaches = check.problems(demo)
    print()
    if breaches:
        print("CHECK FAILED:", *breaches, sep="\n  ")
        return 1
    print(f"checked: all {tally.items:,} items are accounted for, each indexed exactly once")
    print('now ask the index: rowqueue demo --find "json decoder"')
    return 0


def _failures(demo: Demo) -> list[tuple[str, str]]:
    item, job = demo.tables.item, demo.app.store.jobs
    query = sa.select(item.c.name, job.c.id).join(job, job.c.id == item.c.search_job)
    query = query.where(job.c.state == State.DISCARDED.value).order_by(item.c.name).limit(30)
    with reading(demo.engine).connect() as connection:
        found = connection.execute(query).all()
    failures = []
    for name, key in found:
        row = demo.app.store.get(key)
        failures.append((name, row.errors[-1].error if row and row.errors else "unknown"))
    return failures
