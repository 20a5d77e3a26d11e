"""``rowqueue prune``: delete ended jobs that are old."""

from __future__ import annotations

import click

from rowqueue.cli.options import Duration, json_option, opened
from rowqueue.cli.target import TargetOptions, target_options
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import FINAL, State

_BATCH = 1000


@click.command("prune")
@target_options
@click.option("--queue", metavar="NAME", help="Only of this queue.")
@click.option(
    "--age", "ages", multiple=True, metavar="STATE=TIME", help="Only this state, older than 90, 5min, 2h, 1d."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many.")
@json_option
def command(
    target: TargetOptions, queue: str | None, ages: tuple[str, ...], limit: int | None, as_json: bool
) -> None:
    """Delete ended jobs: discarded ones after 14 days, the others after 24 hours, unless --age says otherwise.

    Workers do this by themselves; it is for a table that nobody works, or for other ages.

    \b
    rowqueue prune --age completed=1h --age discarded=30d
    """
    from rowqueue.cli.output import count, show_json

    wanted = _ages(ages)
    pruned = 0
    with opened(target) as store:
        while limit is None or pruned < limit:
            size = _BATCH if limit is None else min(_BATCH, limit - pruned)
            done = store.prune(ages=wanted, queue=queue, limit=size)
            pruned += done
            if done < size:
                break
    if as_json:
        show_json({"pruned": pruned})
    else:
        print(f"pruned {count(pruned, 'job')}")


def _ages(texts: tuple[str, ...]) -> dict[State, float] | None:
    ages: dict[State, float] = {}
    for text in texts:
        word, _, age = text.partition("=")
        if word not in FINAL or not age:
            raise ConfigurationError(
                f"--age {text!r} is not STATE=TIME: write --age completed=1h (or {', '.join(sorted(FINAL))})"
            )
        ages[State(word)] = Duration().convert(age, None, None)
    return ages or None
