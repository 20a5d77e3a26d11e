"""``rowqueue workers``: who works, and what."""

from __future__ import annotations

import click

from rowqueue.cli.options import json_option, opened
from rowqueue.cli.target import TargetOptions, target_options


@click.command("workers")
@target_options
@json_option
def command(target: TargetOptions, as_json: bool) -> None:
    """List workers as they last said."""
    from rowqueue.cli.output import Table, age, show, show_json

    with opened(target) as store:
        workers = store.workers()
    if as_json:
        show_json(workers)
        return
    rows = [
        (
            worker.id,
            worker.started_at,
            age(worker.silent),
            ", ".join(f"{name}={slots}" for name, slots in sorted(worker.queues.items())),
            len(worker.kinds),
        )
        for worker in workers
    ]
    columns = ("worker", "started", "silent for", "queues", "kinds")
    show(Table(columns, rows, numeric=frozenset({"silent for", "kinds"}), empty="no workers"))
