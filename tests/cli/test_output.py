"""Tables and JSON, as every command shows them."""

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from rowqueue.cli.output import Table, age, plain, show, show_json


def test_plain_columns_are_aligned_and_nothing_is_cut_off():
    table = Table(
        ("name", "count", "paused"),
        [("a" * 100, 12_345, True), ("two\nlines", None, False)],
        title="queues",
        numeric=frozenset({"count"}),
    )
    wide = "a" * 100
    assert plain(table) == "\n".join(
        [
            "queues",
            f"{'name':100}   count  paused",
            f"{wide}  12,345  yes",
            f"{'two lines':100}       -  no",
        ]
    )


def test_a_terminal_gets_a_drawn_table_without_markup_from_the_data():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    show(Table(("name",), [("[red]x[/red]",)]), out=out)
    assert "[red]x[/red]" in out.getvalue()
    assert "─" in out.getvalue() or "━" in out.getvalue()


def test_no_rows():
    out = io.StringIO()
    show(Table(("name",), [], empty="no jobs"), out=out)
    assert out.getvalue() == "no jobs\n"


def test_json_takes_dataclasses_and_datetimes():
    @dataclass(frozen=True, slots=True)
    class Thing:
        at: datetime
        words: frozenset[str]

    out = io.StringIO()
    show_json([Thing(datetime(2026, 1, 2, tzinfo=UTC), frozenset({"b", "a"}))], out=out)
    assert json.loads(out.getvalue()) == [{"at": "2026-01-02T00:00:00+00:00", "words": ["a", "b"]}]


def test_age():
    assert [age(value) for value in (None, 0.4, 119, 120, 7_199, 7_200, 200_000)] == [
        None, "0 s", "119 s", "2 min", "120 min", "2 h", "2 d",
    ]  # fmt: skip
