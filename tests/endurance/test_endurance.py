"""The endurance run in short: see `run.py`, and `make endurance` for the long form."""

from pathlib import Path

import pytest

from tests.endurance.run import Plan, endure
from tests.support.postgres import PrivatePostgres


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_nothing_is_lost_and_nothing_is_left(private_postgres: PrivatePostgres, tmp_path: Path):
    result = endure(
        Plan(seconds=10, jobs=1000, kill_every=1.0, lease=2.0, restarts=2, down=0.2),
        tmp_path,
        private_postgres,
    )
    print(result)
    assert result.faults() == []
