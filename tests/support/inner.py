"""pytest in a process of its own, on SQLite."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support.session import ROOT


def counted(said: str) -> dict[str, int]:
    """How many passed, failed and were in error, by pytest's last line: a figure's words may say "4 failed", too."""
    last = said.strip().rpartition("\n")[2]
    return {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|error)", last)}


def run(
    tests: Iterable[str],
    *options: str,
    source: Path = ROOT / "src",
    python: Iterable[str] = (),
    **environment: str,
) -> tuple[int, int]:
    """Run tests until one fails.

    Args:
        tests: files, or names of tests.
        options: of pytest.
        source: where rowqueue is imported from.
        python: options of Python.
        environment: more of it.

    Returns:
        How many passed and failed.
    """
    command = [
        sys.executable,
        *python,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
    ]
    own: Mapping[str, str] = {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run(
        [*command, "-k", "not postgres and not mariadb", *options, *tests],
        cwd=ROOT,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout[-2000:] + done.stderr[-2000:]
    counts = counted(done.stdout)
    return counts.get("passed", 0), counts.get("failed", 0) + counts.get("error", 0)
