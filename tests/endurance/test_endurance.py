"""The endurance run in short: see `run.py`, and `make endurance` for the long form."""

from pathlib import Path

import pytest

from tests.endurance.run import Plan, endure
from tests.support.postgres import PrivatePostgres


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_nothing_is_lost_and_nothing_is_left(private_postgres: PrivatePostgres, tmp_path: Path, publish):
    result = endure(
        Plan(seconds=10, jobs=1000, kill_every=1.0, lease=2.0, restarts=2, down=0.2),
        tmp_path,
        private_postgres,
    )
    print(result)
    assert result.faults() == []
    publish(
        "#33",
        "a supervised worker whose database is restarted and whose processes are killed",
        f"{result.states.total():,} jobs, kills {result.kills} of {result.processes} processes, 2 restarts: {result.report}",
        value=len(result.report.violations()),
        bound="violations = 0",
        promise=6,
        seed=1,
    )
