"""``rowqueue queues``: what is in them, and stopping claims from one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rowqueue.cli.options import json_option, opened, remember
from rowqueue.cli.target import TargetOptions, target_options
from rowqueue.core.states import State

if TYPE_CHECKING:
    from rowqueue.store import Store

_ALIVE = 60.0


@click.group("queues")
@target_options
def command(target: TargetOptions) -> None:
    """List, pause and resume queues."""
    remember(target)


@command.command("list")
@target_options
@json_option
def list_(target: TargetOptions, as_json: bool) -> None:
    """List the queues that have jobs, live workers or a pause."""
    from rowqueue.cli.output import Table, age, show, show_json

    with opened(target) as store:
        stats, known, workers = store.stats(), store.queues(), store.workers()
    counted = {queue.queue: queue for queue in stats.queues}
    paused = {queue.name: queue.paused_at for queue in known if queue.paused_at is not None}
    workers = [worker for worker in workers if worker.silent < _ALIVE]
    rows: list[dict[str, Any]] = []
    for name in sorted({*counted, *paused, *(queue for worker in workers for queue in worker.queues)}):
        counts = counted[name].counts if name in counted else {}
        rows.append(
            {
                "queue": name,
                "available": counts.get(State.AVAILABLE, 0),
                "running": counts.get(State.RUNNING, 0),
                "oldest_waiting": counted[name].oldest_waiting if name in counted else None,
                "workers": sum(name in worker.queues for worker in workers),
                "slots": sum(worker.queues.get(name, 0) for worker in workers),
                "paused_at": paused.get(name),
            }
        )
    if as_json:
        show_json(rows)
        return
    columns = ("queue", "available", "running", "oldest waiting", "workers", "slots", "paused")
    cells = [[*row.values()] for row in rows]
    for row in cells:
        row[3] = age(row[3])
    show(Table(columns, cells, numeric=frozenset(columns[1:-1]), empty="no queues"))


@command.command("pause")
@click.argument("name")
@target_options
@json_option
def pause(target: TargetOptions, name: str, as_json: bool) -> None:
    """Stop claims from a queue; jobs that run go on, and new ones are taken in."""
    with opened(target) as store:
        changed = store.pause(name)
        known = not changed or _known(store, name)
    _say(name, "paused", changed, "was paused already", as_json)
    if not known:
        from rowqueue.cli.output import note

        note(f"no job and no live worker has a queue {name}: check the name")


@command.command("resume")
@click.argument("name")
@target_options
@json_option
def resume(target: TargetOptions, name: str, as_json: bool) -> None:
    """Let claims from a queue go on."""
    with opened(target) as store:
        changed = store.resume(name)
    _say(name, "resumed", changed, "was not paused", as_json)


def _known(store: Store, name: str) -> bool:
    return any(name in worker.queues for worker in store.workers()) or bool(
        store.list(queue=name, limit=1).jobs
    )


def _say(name: str, done: str, changed: bool, otherwise: str, as_json: bool) -> None:
    from rowqueue.cli.output import printable, show_json

    if as_json:
        show_json({"queue": name, "changed": changed})
    else:
        print(f"the queue {printable(name)} {f'is {done}' if changed else otherwise}")
