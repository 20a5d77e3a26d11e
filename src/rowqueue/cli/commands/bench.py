"""``rowqueue bench``: what your own server does."""

from __future__ import annotations

import sys

import click

from rowqueue.cli.options import json_option
from rowqueue.cli.output import Table, show, show_json
from rowqueue.cli.target import TargetOptions, target_options
from rowqueue.core.errors import ConfigurationError


@click.command("bench")
@target_options
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, metavar="N")
@click.option("--jobs", type=click.IntRange(1), default=20_000, show_default=True, help="Drained at a time.")
@click.option("--bulk", type=click.IntRange(1), default=10_000, show_default=True, help="Enqueued at once.")
@click.option(
    "--singles", type=click.IntRange(1), default=1_000, show_default=True, help="Enqueued one by one."
)
@click.option("--processes", type=click.IntRange(1, 64), default=2, show_default=True, metavar="N")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    help="Of a worker: its claims are of half as many.",
)
@click.option(
    "--pickups", type=click.IntRange(0), default=100, show_default=True, help="Sent to an idle worker."
)
@click.option(
    "--rate", type=click.FloatRange(0.1, 1000), default=20.0, show_default=True, help="Pickups a second."
)
@json_option
def command(target: TargetOptions, as_json: bool, **sizes: float) -> int:
    """Measure this database: enqueue, drain and pickup, beside a plain loop of its driver.

    It makes tables of its own (on PostgreSQL in a schema, on SQLite in a file beside yours) and removes
    them at the end, after Ctrl-C, too. It loads the server for about a minute. Every job must have run
    exactly once, or the command fails.

    \b
    rowqueue bench --database postgresql://localhost/test
    rowqueue bench --database sqlite:///jobs.db --rounds 1 --json
    """
    from rowqueue.bench.options import Sizes
    from rowqueue.bench.report import COLUMNS
    from rowqueue.bench.run import run

    if target.app or target.prefix or target.schema:
        raise ConfigurationError(
            "the bench makes tables of its own: give --database alone, without --app, --prefix and --schema"
        )
    report = run(
        target.url(),
        Sizes(**sizes),  # type: ignore[arg-type] # click has checked them
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    if as_json:
        show_json(report.data())
        return 0
    print(report.setting)
    show(Table(COLUMNS, [figure.row() for figure in report.figures], numeric=frozenset(COLUMNS[1:4])))
    print(f"every job ran exactly once: {report.ran:,} of {report.ran:,}")
    return 0
