"""Writes RELIABILITY.md of the rows that reliability tests published: `python -m tests.reliability FIGURES…`.

A row of a later file replaces what an earlier one said of the same test on the same database. The exit code is 1 when a
figure breaks its bound or a test failed. `--add NUMBER NAME -- COMMAND` runs a command that is no test of pytest, and
adds a row of its last line to the (one) file.
"""

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from tests.support.figures import Row, append, commit, merged, read, versions

ROOT = Path(__file__).parents[1]
TITLES = {
    1: "The transition matrix: every state, every verb, the right lease, a stale one and none",
    2: "The core against a model",
    3: "The store against a model",
    4: "Deterministic simulation: crashes between any two statements, stalls, lost replies, jumping clocks",
    5: "Many at once, and every order of the statements of two",
    6: "The lease protocol as a closed space of states",
    7: "Workers killed by SIGKILL",
    8: "Workers stopped for longer than their lease, and woken",
    9: "Producers killed by SIGKILL",
    10: "The database server killed and started again",
    11: "Sessions of the database ended at random",
    12: "The network: slow, half open, cut between a commit and its reply",
    13: "The network parted for longer than a lease",
    14: "Each statement fails before and after it ran",
    15: "Power loss on SQLite",
    16: "I/O errors on SQLite",
    17: "A full disk",
    18: "One SQLite file, many processes",
    19: "Versions of SQLite",
    20: "Unique keys under concurrency",
    21: "Limits of concurrency and rate",
    22: "Enqueue in the caller's transaction",
    23: "Completion in the handler's transaction",
    24: "Schedules",
    25: "Clocks that are wrong, jump and step back",
    26: "Signals and graceful shutdown",
    27: "Handlers that harm their process",
    28: "Payloads and names through the database and back",
    29: "Hostile identifiers",
    30: "Parsers under fuzzing, hostile kinds",
    31: "Upgrades",
    32: "Query plans on large tables",
    33: "Load: soak, burst, many queues, many processes",
    34: "Starvation",
    35: "Benchmarks with durability on",
    36: "Stress of the test suite itself",
    37: "Mutation of the core",
}
ELSEWHERE = {
    21: "rowqueue has no such limits yet",
    24: "rowqueue has no schedules yet",
    31: "there is no earlier release to upgrade from",
    35: "measured by `benchmarks/`, which has a page of its own",
}
"""Why a number has no figure here."""

HEAD = """# Reliability

What rowqueue promises, what shows it, and what was measured: on real databases, with real processes, signals and disks, beside
**negative controls**, in which a guard is taken away and the same judge must find the fault. A figure without its control is no evidence.
This page is written by `make reliability`, which fails when a figure breaks its bound; nothing in it is typed by hand.

```console
make reliability                 # everything, in its long form (some hours), and this page
make reliability LONG=           # the same in its short form (some minutes)
make soak HOURS=12               # the soak alone, for as long as you like
make burst                       # a million jobs at once
make simulate SEEDS=1000000      # as many simulated lives as you like; SEED=n replays one
make nightly                     # all of that
.venv/bin/python -m pytest --long 'tests/…::test_…[postgres]'   # one row: its command stands beside it
```

"""


def document(rows: Iterable[Row]) -> str:
    """The page."""
    found = merged(rows)
    text = HEAD + _run(found) + _promises(found)
    numbers = sorted({_number(row) for row in found if row.sort in {"figure", "control"}})
    for number in numbers:
        text += _section(number, [row for row in found if _number(row) == number])
    return text + _left_out(found, set(numbers))


def _number(row: Row) -> int:
    return int(row.number.strip("#") or 0)


def _run(rows: list[Row]) -> str:
    commits = ", ".join(f"`{each}`" for each in sorted({row.commit for row in rows if row.commit}))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    figures = sum(row.sort == "figure" for row in rows)
    controls = sum(row.sort == "control" or bool(row.control) for row in rows)
    broken = [row for row in rows if _is_bad(row)]
    long = sum(" --long" in row.command for row in rows if row.sort in {"figure", "control"})
    return (
        f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {platform.system()} "
        f"{platform.release()}, {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB; measured at {commits}. "
        f"{figures} figures, {controls} negative controls; {long} rows in the long form, the others in the short form that "
        "`make test` runs; "
        f"{f'**{len(broken)} broken or failed**' if broken else 'none broken'}, "
        f"{sum(row.sort == 'not run' for row in rows)} not run. Durations add up the cases of a row.\n\n"
    )


def _is_bad(row: Row) -> bool:
    return row.sort != "not run" and not row.holds


def _promises(rows: list[Row]) -> str:
    """Each promise, worded as the README words it, and the numbers of the tests that show it."""
    promises = re.findall(r"^\| (.+?) \| `", _readme(), re.MULTILINE)
    lines = ["## The promises", "", "| | promise | shown by | holds |", "|---|---|---|---|"]
    for number, promise in enumerate(promises, 1):
        of = [row for row in rows if row.promise == number]
        shown = sorted({_number(row) for row in of if row.sort != "not run"})
        links = (
            ", ".join(f"[#{each}](#{_anchor(each)})" for each in shown)
            or "(tests without a figure: see the README)"
        )
        holds = "**no**" if any(map(_is_bad, of)) else "yes" if shown else ""
        lines.append(f"| {number} | {promise} | {links} | {holds} |")
    return "\n".join(lines) + "\n\n"


def _readme() -> str:
    return (ROOT / "README.md").read_text().partition("| promise |")[2].partition("\n\n")[0]


def _title(number: int) -> str:
    return f"#{number} {TITLES.get(number, '')}".strip() if number else "Beside the plan"


def _anchor(number: int) -> str:
    """As GitHub and the documentation make it of a heading."""
    return re.sub(r"[^\w -]", "", _title(number).lower()).replace(" ", "-")


def _section(number: int, rows: list[Row]) -> str:
    lines = [
        f"## {_title(number)}",
        "",
        "| what | figure | bound | control | seed | on | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    commands: dict[str, None] = {}
    for row in sorted(rows, key=lambda row: (row.name, row.sort != "figure", row.versions)):
        if row.sort not in {"figure", "control"}:
            continue
        name, control = row.name, row.control
        if row.sort == "control":
            name, control = (
                f"*control:* {row.name}",
                "must fail, and does" if row.holds else "**does not fail**",
            )
        bound = row.bound if row.holds else f"**{row.bound}: broken, {row.value:g}**"
        cells = [name, row.figure, bound, control, row.seed, row.versions, f"{row.seconds:.1f}"]
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
        commands[
            row.command.replace("[" + row.node.partition("[")[2], "") if "[" in row.node else row.command
        ] = None
    lines += [
        "",
        "```console",
        *(f".venv/bin/python -m {each}" if each.startswith("pytest") else each for each in commands),
    ]
    return "\n".join(lines) + "\n```\n\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;").replace(">", "&gt;")


def _left_out(rows: list[Row], numbers: set[int]) -> str:
    lines = []
    bad = [row for row in rows if row.sort == "failed"]
    if bad:
        lines += ["## Failed", "", *(f"- `{row.command}`: {_cell(row.figure)}" for row in bad), ""]
    skipped = [row for row in rows if row.sort == "not run"]
    if skipped:
        lines += ["## Not run here", ""]
        lines += [
            f"- **{row.number or 'a test'}** {row.name}: {_cell(row.figure)} (`{row.command}`)"
            for row in skipped
        ]
        lines += [""]
    without = [number for number in TITLES if number not in numbers]
    if without:
        lines += ["## In the plan, without a figure here", ""]
        for number in without:
            why = ELSEWHERE.get(number, "not measured in this run")
            lines.append(f"- {_title(number)}: {why}.")
    return "\n".join(lines) + "\n"


def latest(files: Iterable[Path]) -> Iterator[Row]:
    """The rows of files, without what a later file says again."""
    by_file = [list(dict.fromkeys(read(file))) for file in files]
    said: set[tuple[str, str]] = set()
    kept: list[list[Row]] = []
    for rows in reversed(by_file):
        kept.append([row for row in rows if (row.node, row.command if not row.node else "") not in said])
        said |= {(row.node, row.command if not row.node else "") for row in rows}
    for rows in reversed(kept):
        yield from rows


def add(file: Path, number: str, name: str, command: list[str]) -> int:
    """Run a command that ends with 0 when all is well, and add a row of its last line."""
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", file=sys.stderr)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else f"ended with {done.returncode}"
    row = Row(
        number,
        name,
        "figure",
        figure=last,
        value=done.returncode,
        bound="exit code = 0",
        command=shlex.join(command),
        seconds=round(time.monotonic() - began, 1),
        versions=versions(""),
        holds=done.returncode == 0,
        commit=commit(),
    )
    append(file, [row])
    return done.returncode


def main() -> int:
    """The command."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("files", type=Path, nargs="+")
    options.add_argument("--add", nargs=2, metavar=("NUMBER", "NAME"))
    given, command = sys.argv[1:], []
    if "--" in given:
        given, command = given[: given.index("--")], given[given.index("--") + 1 :]
    chosen = options.parse_args(given)
    if chosen.add:
        return add(chosen.files[0], *chosen.add, command)
    rows = list(latest(chosen.files))
    (ROOT / "RELIABILITY.md").write_text(document(rows))
    bad = [row for row in rows if _is_bad(row)]
    for row in bad:
        print(row, file=sys.stderr)
    return 1 if bad or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
