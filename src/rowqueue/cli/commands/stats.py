"""``rowqueue stats``: what is in the queues."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

import click

from rowqueue.cli.options import Duration, opened
from rowqueue.cli.target import TargetOptions, target_options
from rowqueue.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from rowqueue.core.values import Stats
    from rowqueue.store import Store


@click.command("stats")
@target_options
@click.option("--watch", is_flag=True, help="Show them again and again, until Ctrl-C.")
@click.option(
    "--interval", type=Duration(), default="2", show_default=True, metavar="TIME", help="How often to look."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs (one line each time it looks)."
)
def command(target: TargetOptions, watch: bool, interval: float, as_json: bool) -> None:
    """Show jobs by queue and state, the longest wait, and kinds that no worker knows."""
    from rowqueue.cli.output import show_json

    with opened(target) as store:
        if watch:
            with contextlib.suppress(KeyboardInterrupt):
                _watch(store, max(interval, 0.1), as_json)
        elif as_json:
            show_json(store.stats())
        else:
            show_stats(store.stats())


def _watch(store: Store, interval: float, as_json: bool) -> None:
    """Look again and again; a database that is away for a while is told and waited for."""
    from rowqueue.cli.output import note, show_json

    wait = threading.Event().wait
    times = 0
    while True:
        try:
            stats = store.stats()
        except DatabaseUnavailable as error:
            if not times:
                raise  # nobody waits for a mistyped name
            note(str(error))
        else:
            if as_json:
                show_json(stats, indent=None)
            else:
                if times:
                    print(
                        "\033[H\033[2J" if sys.stdout.isatty() else "",
                        end="" if sys.stdout.isatty() else "\n",
                    )
                show_stats(stats)
                sys.stdout.flush()
        times += 1
        wait(interval)


def show_stats(stats: Stats) -> None:
    """Print stats for a person."""
    from rowqueue.cli.output import Table, age, show
    from rowqueue.core.states import State

    columns = ("queue", *State, "oldest waiting", "paused")
    rows = [
        (
            queue.queue,
            *(queue.counts.get(state, 0) for state in State),
            age(queue.oldest_waiting),
            queue.paused,
        )
        for queue in stats.queues
    ]
    numeric = frozenset({*State, "oldest waiting"})
    show(Table(columns, rows, numeric=numeric, empty="no jobs"))
    if stats.unclaimable:
        unknown = [(kind.kind, kind.count, kind.last_at) for kind in stats.unclaimable]
        title = "\nkinds that workers met and did not know (is a worker of the newest code running?)"
        show(Table(("kind", "times", "last"), unknown, title=title, numeric=frozenset({"times"})))
