"""How commands show data: a table on a terminal, aligned text when piped, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from typing import Any, TextIO


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings.

    Attributes:
        columns: the headings.
        rows: one cell for each column; None shows as "-", True and False as "yes" and "no".
        title: a line above it.
        numeric: headings of the columns that are aligned to the right.
        empty: what is shown instead when there are no rows.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    numeric: frozenset[str] = frozenset()
    empty: str = "nothing to show"


def show(table: Table, *, out: TextIO | None = None) -> None:
    """Print a table: with rich on a terminal where it is installed, as aligned text otherwise."""
    to = out or sys.stdout
    if not table.rows:
        print(table.empty, file=to)
    elif has_rich(to):
        _show_rich(table, to)
    else:
        print(plain(table), file=to)


def show_json(data: Any, *, out: TextIO | None = None, indent: int | None = 2) -> None:
    """Print data as JSON: dataclasses as objects, datetimes as ISO 8601 text; on one line without an indent."""
    text = json.dumps(data, default=_plain_value, indent=indent, ensure_ascii=False)
    print(text, file=out or sys.stdout, flush=True)


def show_fields(fields: Mapping[str, Any], *, out: TextIO | None = None) -> None:
    """Print one thing: a line for each of its fields, the names as wide as the widest."""
    width = max(map(len, fields))
    for name, value in fields.items():
        print(f"{name:{width}}  {cell(value)}", file=out or sys.stdout)


def note(text: str) -> None:
    """Tell a person something beside the answer: on stderr, so that pipes stay clean."""
    print("note:", printable(" ".join(text.split())), file=sys.stderr)


def count(number: int, noun: str) -> str:
    """A number of things: 1 job, 1,200 jobs."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def plain(table: Table) -> str:
    """A table as text: columns padded with blanks and two blanks apart, no colours, nothing cut off."""
    lines = [
        [str(column) for column in table.columns],
        *([cell(value) for value in row] for row in table.rows),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    pads: list[Callable[[str, int], str]] = [
        str.rjust if name in table.numeric else str.ljust for name in table.columns
    ]
    text = ["  ".join(map(_pad, pads, line, widths)).rstrip() for line in lines]
    return "\n".join([table.title, *text] if table.title else text)


def cell(value: Any) -> str:
    """One value as a person reads it, on one line."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case float():
            return f"{value:,.1f}"
        case int():
            return f"{value:,}"
        case _:
            return printable(" ".join(str(value).split()))


def printable(text: str) -> str:
    """Text without what would steer the terminal: escape and other control characters are spelled out."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in text
    )


def age(seconds: float | None) -> str | None:
    """A length of time as a person says it: 4 s, 12 min, 3 h, 5 d."""
    if seconds is None:
        return None
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def has_rich(out: TextIO) -> bool:
    """Whether to draw: a terminal, and the extra ``rich`` is installed."""
    if not out.isatty():
        return False
    try:
        import rich  # noqa: F401 - only whether it is there
    except ImportError:
        return False
    return True


def _show_rich(table: Table, out: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=table.title or None, title_justify="left")
    for name in table.columns:
        drawn.add_column(name, justify="right" if name in table.numeric else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell(value)) for value in row))
    Console(file=out).print(drawn)


def _pad(pad: Callable[[str, int], str], text: str, width: int) -> str:
    return pad(text, width)


def _plain_value(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
