"""The verbs on the oldest and the newest SQLite that can be had as a wheel of apsw (reliability #19)."""

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rowqueue.core.errors import ConfigurationError
from rowqueue.store.store import Store
from tests.support.inner import counted
from tests.support.session import ROOT

OLDEST, NEWEST = "apsw==3.39.2.1", "apsw"
"""There is none of 3.38, the oldest that is accepted, for Python 3.11 and newer."""

SUITES = ("claim", "enqueue", "finish", "operate", "payloads", "reading", "schema", "transitions", "upkeep")


@pytest.mark.long
@pytest.mark.parametrize("requirement", [OLDEST, "apsw==3.40.0.0", NEWEST])
def test_the_verbs_on_other_versions_of_sqlite(requirement: str, tmp_path: Path, publish: Any) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--only-binary", ":all:", "--no-deps", "--target"]
    done = subprocess.run([*pip, str(tmp_path), requirement], capture_output=True, text=True, check=False)
    if done.returncode:
        publish.cannot_run("#19", "SQLite's versions", f"pip finds no wheel of {requirement} for this Python")
    environment = os.environ | {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "ROWQUEUE_TEST_SQLITE": "apsw",
    }
    tests = [f"tests/store/test_{name}.py" for name in SUITES]
    command = [sys.executable, "-m", "pytest", "-q", "-k", "sqlite", "-p", "no:cacheprovider", *tests]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=1500
    )
    (version,) = re.findall(r"^SQLite (\S+)", ran.stdout, re.MULTILINE) or [""]
    assert version, (ran.stdout + ran.stderr)[-3000:]
    counts = counted(ran.stdout)
    assert version != sqlite3.sqlite_version or requirement != NEWEST, "it ran on the same old SQLite"
    assert counts.get("passed", 0) > 300, ran.stdout[-3000:]
    publish(
        "#19",
        "the conformance suite of the store on another SQLite",
        f"SQLite {version}: {counts}",
        value=counts.get("failed", 0) + counts.get("error", 0),
        bound="failed = 0",
        on=f"SQLite {version}",
    )


def test_a_sqlite_that_is_too_old_is_refused_in_words(
    sqlite_url: str, publish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with (
        contextlib.closing(Store(sqlite_url)) as store,
        pytest.raises(ConfigurationError, match=r"3\.38 or newer"),
    ):
        store.init()
    publish.control("#19", "SQLite 3.37", "refused before anything is written", value=1, bound="refused = 1")
