"""All rounds: ours and the plain loop in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

from rowqueue.bench.measures import Bench
from rowqueue.bench.options import BATCH, Sizes
from rowqueue.bench.place import interruptible, own_place, server_of
from rowqueue.bench.report import Figure, Report


def run(url: str, sizes: Sizes, say: Callable[[str], None]) -> Report:
    """Measure on tables of its own, which are gone when it returns, however it does.

    Args:
        url: the user's database.
        sizes: how much.
        say: told how far it is.

    Raises:
        NotOnce: a job did not run exactly once.
        RowqueueError: the database refuses it.
    """
    with interruptible() as check, own_place(url) as place:

        def tell(line: str) -> None:
            check()
            say(line)

        say(f"measuring in {place.name}, which is removed at the end")
        with contextlib.closing(Bench(place, sizes)) as bench:
            figures = _figures(bench, tell)
            return Report(server_of(url), place.name, sizes, tuple(figures), bench.ran)


def _figures(bench: Bench, say: Callable[[str], None]) -> list[Figure]:
    sizes, loop = bench.sizes, f"claim and complete, {BATCH} at a time"
    measures: list[tuple[str, str, Callable[..., float]]] = [
        ("enqueue one by one", "INSERT of the same row", bench.one_by_one),
        (f"enqueue {sizes.bulk:,} at once", f"{bench.raw.bulk_by} of the same rows", bench.bulk),
        (f"drain {sizes.jobs:,}, 1 process", loop, partial(bench.drain, 1)),
    ]
    if sizes.processes > 1:
        many = partial(bench.drain, sizes.processes)
        measures.append((f"drain {sizes.jobs:,}, {sizes.processes} processes", loop, many))
    ours: dict[str, list[float]] = {name: [] for name, _, _ in measures}
    plain: dict[str, list[float]] = {name: [] for name, _, _ in measures}
    waits: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    for number in range(sizes.rounds):
        for name, _, measure in measures:
            say(f"round {number + 1} of {sizes.rounds}: {name}")
            for by_driver in (number % 2 == 1, number % 2 == 0):
                (plain if by_driver else ours)[name].append(measure(plain=by_driver))
        if sizes.pickups:
            say(f"round {number + 1} of {sizes.rounds}: pickup by an idle worker")
            for by_driver in (False, True):
                waits[by_driver].append(bench.pickups(plain=by_driver))
    figures = [
        Figure(name, "jobs/s", tuple(ours[name]), tuple(plain[name]), what) for name, what, _ in measures
    ]
    for place, name in enumerate(("p50", "p99") if sizes.pickups else ()):
        by_us, by_driver_alone = (tuple(pair[place] for pair in waits[plain]) for plain in (False, True))
        figures.append(
            Figure(
                f"pickup at {sizes.rate:g}/s, {name}", "ms", by_us, by_driver_alone, "wait, claim, complete"
            )
        )
    return figures
