"""What a reliability test measured, beside its bound and its control: one row for RELIABILITY.md.

A test asks for the fixture `publish` and calls it once for each figure. Every row goes as a line of JSON into the
directory of the run, whichever process of pytest-xdist it comes from, from there into the summary of the run and, with
`--figures FILE`, to the end of that file. What is no test of pytest writes its rows by `append`.
"""

import json
import operator
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, NoReturn

import pytest

Sort = Literal["figure", "control", "not run", "failed"]

_BOUND = re.compile(r"(<=|>=|<|>|=)\s*(-?[\d_]+(?:\.\d+)?)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of RELIABILITY.md."""

    number: str
    name: str
    sort: Sort
    promise: int | None = None
    figure: str = ""
    value: float | None = None
    bound: str = ""
    control: str = ""
    seed: str = ""
    command: str = ""
    seconds: float = 0.0
    versions: str = ""
    holds: bool = True
    cases: int = 1
    node: str = ""
    commit: str = ""

    @property
    def test(self) -> str:
        """The test without its parameters."""
        return self.node.partition("[")[0]

    def __str__(self) -> str:
        if self.sort in {"not run", "failed"}:
            return f"{self.number} {self.name}: {self.sort.upper()}: {self.figure}".strip()
        control = f"; control: {self.control}" if self.control else ""
        seed = f"; seed {self.seed}" if self.seed else ""
        broken = "" if self.holds else ": BROKEN"
        return (
            f"{self.number} {self.name}{' (control)' if self.sort == 'control' else ''}: {self.figure} "
            f"[{self.bound}{broken}]{control}{seed}; {self.versions}; {self.seconds:.1f} s"
        )


def within(value: float, bound: str) -> bool:
    """Whether the value keeps a bound as it is written: "= 0", "lost = 0", "<= 2.5 s"."""
    found = _BOUND.search(bound)
    if found is None:
        raise ValueError(f"{bound!r} is no bound: it takes one of {', '.join(_COMPARE)} and a number")
    return _COMPARE[found[1]](value, float(found[2]))


def merged(rows: Iterable[Row]) -> list[Row]:
    """One row for all cases of a test on one database: the worst of them, and how many they were."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        words = re.sub(r"\d+", "", row.bound)
        groups.setdefault((row.number, row.test, row.name, row.sort, row.versions, words), []).append(row)
    found = [_merge(group) for group in groups.values()]
    return sorted(found, key=lambda row: (int(row.number.strip("#") or 0), row.name, row.versions))


def _merge(group: list[Row]) -> Row:
    sign = -1 if ">" in group[0].bound else 1
    worst = max(group, key=lambda row: (not row.holds, sign * (row.value or 0)))
    cases = sum(row.cases for row in group)
    if cases == 1:
        return worst
    at = f"at worst: {worst.figure}" if len({row.figure for row in group}) > 1 else worst.figure
    command = worst.command if len(group) == 1 else worst.command.replace(worst.node, worst.test)
    seconds = sum(row.seconds for row in group)
    return replace(worst, figure=f"{cases:,} cases, {at}", command=command, seconds=seconds)


def append(file: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file; each is one write, so that processes may do it at once."""
    with file.open("ab", buffering=0) as end:
        for row in rows:
            end.write((json.dumps(asdict(row)) + "\n").encode())


def read(file: Path) -> Iterator[Row]:
    """The rows of a file that `append` wrote."""
    if file.exists():
        for line in file.read_text().splitlines():
            yield Row(**json.loads(line))


def commit() -> str:
    """What is checked out, with "-dirty" when it was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def versions(database: str) -> str:
    """What a row ran on."""
    return ", ".join(filter(None, [f"Python {platform.python_version()}", database]))


@dataclass(slots=True)
class Publisher:
    """The fixture `publish`: knows the test, how it is run again, and since when it runs."""

    file: Path
    node: str
    command: str
    database: Callable[[], str]
    seed: str = ""
    """Of the whole run: what Hypothesis chooses, when the test has no seed of its own."""
    began: float = field(default_factory=time.monotonic)
    explained: bool = False
    """A row already says why the test did not pass."""

    def __call__(
        self,
        number: str,
        name: str,
        figure: str,
        *,
        value: float,
        bound: str,
        promise: int | None = None,
        control: str = "",
        seed: object = "",
        on: str = "",
        cases: int = 1,
    ) -> None:
        """Publish a figure; it fails the test when it breaks its bound.

        Args:
            number: of the test in the plan of reliability tests, "#7".
            name: what was done, in a few words: "workers killed every 200 ms".
            figure: what came of it, in words and numbers: "10,000 jobs, 41 kills: lost 0, unexplained reruns 0".
            value: the number that is judged.
            bound: what it is judged by: "violations = 0", "p99 <= 50 s", ">= 1".
            promise: which promise of the README (1 to 9) it shows.
            control: what the negative control of this very test gave; a control that is a test of its own publishes
                itself by `publish.control` with the same number.
            seed: of what was left to chance.
            on: the database and its version, where the fixtures of the test do not tell.
            cases: how many cases the row stands for: of a test with parameters one row is shown, the worst.
        """
        self._judge(
            Row(
                number,
                name,
                "figure",
                promise,
                figure,
                value,
                bound,
                control,
                str(seed),
                cases=cases,
                versions=on,
            )
        )

    def control(
        self,
        number: str,
        name: str,
        figure: str,
        *,
        value: float,
        bound: str,
        promise: int | None = None,
        seed: object = "",
        on: str = "",
    ) -> None:
        """Publish what the negative control of a test gave: its bound says that it failed, as it must."""
        self._judge(Row(number, name, "control", promise, figure, value, bound, "", str(seed), versions=on))

    def cannot_run(self, number: str, name: str, why: str, *, promise: int | None = None) -> NoReturn:
        """Skip the test, with a row that says so: `why` names what to install."""
        self.ended("not run", why, number, name, promise)
        pytest.skip(f"{number} {name}: {why}")

    def ended(
        self, sort: Sort, why: str, number: str = "", name: str = "", promise: int | None = None
    ) -> None:
        """Say why there is no figure, once."""
        if not self.explained:
            self._write(Row(number, name, sort, promise, why, holds=False))
            self.explained = True

    def _judge(self, row: Row) -> None:
        """Write a row that has a value and a bound; it fails the test when it breaks that."""
        if row.promise is not None and row.promise not in range(1, 10):
            raise ValueError(f"there are promises 1 to 9, and no {row.promise}")
        seconds = round(time.monotonic() - self.began, 3)
        holds = within(row.value or 0, row.bound)
        row = self._write(replace(row, seed=row.seed or self.seed, seconds=seconds, holds=holds))
        if not row.holds:
            self.explained = True
            pytest.fail(f"a figure breaks its bound: {row}")

    def _write(self, row: Row) -> Row:
        on = versions(row.versions or self.database())
        row = replace(row, command=self.command, node=self.node, versions=on)
        append(self.file, [row])
        return row
