"""``rowqueue jobs``: look at jobs, and change what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import click

from rowqueue.cli.bulk import VERBS, bulk_command
from rowqueue.cli.jobs import details, filter_options, filters_of, summary
from rowqueue.cli.options import job_id, json_option, opened, remember
from rowqueue.cli.target import TargetOptions, target_options
from rowqueue.core.errors import ConfigurationError

if TYPE_CHECKING:
    from rowqueue.core.values import Job, LogEntry


@click.group("jobs")
@target_options
def command(target: TargetOptions) -> None:
    """List and show jobs; retry, cancel, discard, skip, promote or delete them."""
    remember(target)


@command.command("list")
@target_options
@filter_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, metavar="N")
@click.option("--after", metavar="CURSOR", help="Go on where the page before ended.")
@click.option("--newest-first", is_flag=True)
@json_option
def list_(
    target: TargetOptions, limit: int, after: str | None, newest_first: bool, as_json: bool, **given: Any
) -> None:
    """List jobs by id, a page at a time."""
    from rowqueue.cli.output import Table, note, show, show_json

    filters = filters_of(given)
    with opened(target) as store:
        page = store.list(**filters.arguments(), limit=limit, after=after, newest_first=newest_first)
    if as_json:
        show_json({"jobs": [summary(job) for job in page.jobs], "next": page.next})
        return
    columns = ("id", "kind", "queue", "state", "prio", "attempt", "scheduled", "ended", "worker")
    rows = [
        (
            str(job.id),
            job.kind,
            job.queue,
            job.state,
            job.priority,
            f"{job.attempt}/{job.max_attempts}",
            job.scheduled_at,
            job.finalized_at,
            job.attempted_by,
        )
        for job in page.jobs
    ]
    show(Table(columns, rows, numeric=frozenset({"id", "prio", "attempt"}), empty="no such jobs"))
    if page.next is not None:
        note(f"there are more: --after {page.next}")


@command.command("show")
@click.argument("id", type=job_id)
@target_options
@json_option
def show_(target: TargetOptions, id: int, as_json: bool) -> None:
    """Show everything about one job, its arguments, errors and log included."""
    from rowqueue.cli.output import show_json

    with opened(target) as store:
        job = store.get(id)
        log = store.log(id)
    if job is None:
        raise ConfigurationError(f"there is no job {id}: it was pruned or deleted, or is in another database")
    if as_json:
        show_json(details(job, log))
    else:
        _show(job, log)


def _show(job: Job, log: Collection[LogEntry]) -> None:
    from rowqueue.cli.output import printable, show_fields

    fields = summary(job) | {"id": str(job.id), "tags": ", ".join(job.tags)}
    if job.progress is not None:
        fields["progress"] = f"{job.progress.fraction:.0%} {job.progress.message}"
    show_fields({name: value for name, value in fields.items() if value not in (None, "")})
    for name, value in (("arguments", job.args), ("meta", job.meta), ("result", job.result)):
        if value:
            print(f"\n{name}\n{_indented(json.dumps(value, indent=2, ensure_ascii=False))}")
    for error in job.errors:
        print(f"\nattempt {error.attempt} at {error.at:%Y-%m-%d %H:%M:%S}: {printable(error.error)}")
        if error.trace:
            print(_indented(error.trace))
    if log:
        print("\nlog")
    for entry in log:
        print(f"  {entry.at:%Y-%m-%d %H:%M:%S} {printable(json.dumps(entry.entry, ensure_ascii=False))}")


def _indented(text: str) -> str:
    from rowqueue.cli.output import printable

    return "\n".join(f"  {printable(line)}" for line in text.splitlines())


for _verb in VERBS:
    command.add_command(bulk_command(_verb))
