"""The tests of races again and again, in Python's development mode and asyncio's debug mode (reliability #36)."""

import os
from typing import Any

import pytest

from tests.support.inner import run

LOOPS = int(os.environ.get("ROWQUEUE_STRESS_LOOPS", "20"))
RACES = [
    "tests/store/test_races.py",
    "tests/store/test_together.py",
    "tests/worker/test_leases.py",
    "tests/worker/test_waking.py",
    "tests/worker/test_stopping.py",
]


@pytest.mark.long
def test_what_races_passes_every_time(publish: Any) -> None:
    passed = failed = 0
    for loop in range(LOOPS):
        good, bad = run(RACES, f"--randomly-seed={loop}", python=("-X", "dev"), PYTHONASYNCIODEBUG="1")
        passed, failed = passed + good, failed + bad
    _, noticed = run(["tests/support/publishing.py"])
    publish(
        "#36",
        "tests of races, waking, leases and stopping, in another order each time, with -X dev and PYTHONASYNCIODEBUG",
        f"{LOOPS} loops, {passed:,} passed, {failed} failed",
        value=failed,
        bound="failed = 0",
        seed=f"0 to {LOOPS - 1}",
        control=f"a test that fails: {noticed} failed",
    )
    assert noticed
