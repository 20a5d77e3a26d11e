"""What the demo shows: a bar on a terminal, plain lines when piped, and tables at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rowqueue.cli.output import Table, has_rich, show
from rowqueue.demo.check import Tally
from rowqueue.demo.search import Hit


class Progress:
    """How far the work is, in plain lines: one for every tenth.

    Args:
        total: how many jobs there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown = 0

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)

    def update(self, done: int) -> None:
        """Say how many jobs are done."""
        tenth = 10 * done // self._total
        if tenth > self._shown:
            self._shown = tenth
            self.say(f"{10 * tenth:3} %  {done:,} of {self._total:,} jobs done")


class Bar(Progress):
    """The same with a moving bar; lines are printed above it."""

    def __init__(self, total: int, drawn: Any) -> None:
        super().__init__(total)
        self._drawn = drawn
        self._task = drawn.add_task("indexing", total=total)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._drawn.console.print(text, markup=False, highlight=False)

    def update(self, done: int) -> None:
        """Move the bar."""
        self._drawn.update(self._task, completed=done)


@contextmanager
def progress(total: int) -> Iterator[Progress]:
    """A bar where a person watches, lines otherwise."""
    if not has_rich(sys.stdout):
        yield Progress(total)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with RichProgress(*columns) as drawn:
        yield Bar(total, drawn)


def show_tally(tally: Tally, done: int, seconds: float) -> None:
    """The table at the end.

    Args:
        tally: what is in the database.
        done: how many jobs this run finished.
        seconds: how long that took.
    """
    rows: list[tuple[str, Any]] = [(f"jobs {state}", count) for state, count in sorted(tally.states.items())]
    if done:
        rows.append(("jobs/s", round(done / seconds, 1)))
    rows += [
        ("rescued from a worker that was gone", tally.rescued),
        ("retried after a failure", tally.retried),
        ("attempts stopped whose lease was lost", tally.stale),
        ("symbols in the index", tally.symbols),
    ]
    print()
    show(Table(("what", "how many"), rows, numeric=frozenset({"how many"})))


def show_failures(failures: list[tuple[str, str]]) -> None:
    """Files that could not be indexed, with the last error of each."""
    if failures:
        print()
        show(Table(("discarded file", "last error"), failures))


def show_hits(hits: list[Hit], words: str) -> None:
    """What a search found."""
    rows = [(hit.name, hit.kind, hit.place, hit.summary) for hit in hits]
    show(
        Table(
            ("name", "kind", "place", "what it says"), rows, empty=f"nothing in the index has all of: {words}"
        )
    )
