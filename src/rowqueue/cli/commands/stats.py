"""``rowqueue stats``: what is in the queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rowqueue.cli.target import TargetOptions, target_options

if TYPE_CHECKING:
    from rowqueue.core.values import Stats


@click.command("stats")
@target_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def command(target: TargetOptions, as_json: bool) -> None:
    """Show jobs by queue and state, the longest wait, and kinds that no worker knows."""
    from rowqueue.cli.output import show_json

    store = target.store()
    try:
        stats = store.stats()
    finally:
        store.close()
    if as_json:
        show_json(stats)
    else:
        show_stats(stats)


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
