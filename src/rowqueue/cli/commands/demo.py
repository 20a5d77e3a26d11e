"""``rowqueue demo``: real files, real failures, a real kill."""

from __future__ import annotations

from pathlib import Path

import click

from rowqueue.cli.target import TargetOptions, target_options
from rowqueue.core.errors import ConfigurationError


@click.command("demo")
@target_options
@click.option(
    "--source", type=click.Path(path_type=Path), metavar="DIR", help="Index the .py files of this folder."
)
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True, metavar="N")
@click.option("--find", "words", metavar="WORDS", help="Search the index that an earlier run built.")
def command(target: TargetOptions, source: Path | None, workers: int, words: str | None) -> int:
    """Index the standard library with two workers, kill one halfway, and check that nothing is lost.

    The default database is the file rowqueue-demo.db in this folder. Run it again, also after you
    have killed it: it goes on where it was.

    \b
    rowqueue demo
    rowqueue demo --find "json decoder"
    rowqueue demo --database postgresql://localhost/test
    """
    from rowqueue.demo import run as demo

    if target.app:
        raise ConfigurationError("the demo is an app itself: give --database, not --app")
    options = demo.DemoOptions(
        url=target.url(demo.DEFAULT_DATABASE),
        prefix=target.prefix or "rowqueue_",
        schema=target.schema,
        source=source,
        workers=workers,
    )
    return demo.run(options) if words is None else demo.search(options, words)
