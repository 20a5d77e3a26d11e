"""``rowqueue backfill``: run a backfill that an app has registered."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from rowqueue.cli.options import Duration, json_option
from rowqueue.cli.target import TargetOptions, target_options
from rowqueue.core.errors import ConfigurationError

if TYPE_CHECKING:
    from rowqueue.app import App
    from rowqueue.app.backfill import Backfill


@click.command("backfill")
@click.argument("name", required=False)
@target_options
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Make at most so many jobs.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=1000, show_default=True, metavar="N")
@click.option("--lease", type=Duration(), default="60", show_default=True, help="How long a range is ours.")
@click.option("--follow", is_flag=True, help="Keep up with new rows until Ctrl-C.")
@json_option
def command(
    target: TargetOptions,
    name: str | None,
    limit: int | None,
    batch: int,
    lease: float,
    follow: bool,
    as_json: bool,
) -> int:
    """Make a job for every source row that never had one, as app.backfill(NAME, ...) says.

    Run it in as many processes as you like, and again at any time. Ctrl-C ends it after the range
    in work. Without NAME the app's backfills are listed.
    """
    from rowqueue.cli.output import show_json

    app = target.load()
    try:
        if name is None:
            return _list(app, as_json)
        found = app.backfills.get(name)
        if found is None:
            known = ", ".join(sorted(app.backfills)) or "none: call app.backfill(name, job, select)"
            raise ConfigurationError(f"the app has no backfill {name!r}; it has {known}")
        stop = threading.Event()
        with _stopping(stop) as signals, _progress(found, as_json, limit, follow) as tell:
            done = found.run(limit=limit, follow=follow, batch=batch, lease=lease, progress=tell, stop=stop)
        if as_json:
            show_json({"backfill": name, "created": done.created, "rest": done.rest})
        else:
            print(done)
        return 128 + signals[0] if signals and not follow else 0
    finally:
        app.close()


def _list(app: App, as_json: bool) -> int:
    from rowqueue.cli.output import Table, show, show_json

    columns = ("backfill", "kind", "destination")
    rows = [(name, found.job.kind, found.destination) for name, found in sorted(app.backfills.items())]
    if as_json:
        show_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        show(Table(columns, rows, empty="the app has no backfills"))
    return 0


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM stop it after the range in work; a second one at once."""
    seen: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        stop.set()
        if seen[1:]:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(
    found: Backfill, as_json: bool, limit: int | None, follow: bool
) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; otherwise a line whenever the number has doubled."""
    from rowqueue.cli.output import has_rich

    if as_json or not has_rich(sys.stdout):
        yield (lambda _created: None) if as_json else _lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    total = None if follow else found.remaining()
    if total is not None and limit is not None:
        total = min(total, limit)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("jobs", total=total)
        yield lambda created: bar.update(task, completed=created)


def _lines() -> Callable[[int], None]:
    next_ = 1

    def tell(created: int) -> None:
        nonlocal next_
        if created >= next_:
            print(f"created {created:,}", flush=True)
            next_ = max(2 * next_, created + 1)

    return tell
