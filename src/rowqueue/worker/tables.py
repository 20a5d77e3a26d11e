"""Which tables of the user's a worker works, and with which options each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rowqueue.app.table_job import Handler, TableJob
from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.values import Seconds, seconds_of
from rowqueue.store.database import Database
from rowqueue.worker.options import WorkerOptions, renewal_of


def chosen_tables(
    jobs: Mapping[str, TableJob[..., Any]],
    tables: Mapping[str, int] | Sequence[str] | None,
    concurrency: int,
) -> dict[str, int]:
    """The tables to work, each with the most rows at once.

    Args:
        jobs: the tables that have a handler.
        tables: tables with the most rows of each, or only their names; None is every one with a handler.
        concurrency: the most rows at once of a table without a number.

    Raises:
        ConfigurationError: a table has no handler, or a number is wrong.
    """
    if isinstance(tables, str):
        raise ConfigurationError(f"tables must be names, or names with numbers: write [{tables!r}]")
    named = jobs if tables is None else tables
    wanted = tables if isinstance(tables, Mapping) else dict.fromkeys(named, concurrency)
    for name in wanted:
        if name not in jobs:
            raise ConfigurationError(
                f"the table {name!r} has no handler: add one with @app.job(table={name!r})"
            )
    return {name: names.whole(most, f"table {name}", 1, 100_000) for name, most in wanted.items()}


def check_held(jobs: Iterable[Handler], database: Database) -> None:
    """Raise a ConfigurationError where an ``async def`` is to be held on a database without async connections."""
    if any(job.held and job.is_async for job in jobs):
        from rowqueue.store.held_async import check_async

        check_async(database)


def options_of(
    job: TableJob[..., Any],
    most: int,
    options: WorkerOptions,
    lease: Seconds | None,
    renew: Seconds | None,
) -> WorkerOptions:
    """The worker's options for a table, whose lease is its store's unless the worker has another.

    Raises:
        ConfigurationError: the renewal is too slow for its lease.
    """
    seconds = job.store.settings.lease_seconds if lease is None else seconds_of(lease, "lease", minimum=1.0)
    return replace(
        options,
        queues={job.kind: most},
        concurrency=most,
        lease=seconds,
        renew=renewal_of(seconds, renew),
    )
