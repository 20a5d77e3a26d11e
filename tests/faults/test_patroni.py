"""The failover of `test_restarts.py`, decided by Patroni: nobody promotes but it (reliability #10)."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.scene import Verdict, scene, unsent
from tests.support import patroni
from tests.support.postgres import find_binaries, make_server_directory
from tests.support.waiting import wait_until

NAME = "Patroni and etcd: the primary's machine is gone"


@pytest.fixture
def place() -> Iterator[tuple[Path, Path]]:
    """A directory for clusters, and the binaries."""
    directory = make_server_directory("patroni-")
    yield directory, find_binaries(directory)
    shutil.rmtree(directory, ignore_errors=True)


def fail_over(
    place: Path, binaries: Path, folder: Path, jobs: int, *, synchronous: bool
) -> tuple[Verdict, float]:
    """Kill the primary with its Patroni in the middle of jobs; returns the time to the next claim, too."""
    place.mkdir(exist_ok=True)
    place.chmod(0o777)
    with patroni.Cluster(place, binaries, synchronous=synchronous) as cluster:
        old = cluster.primary()
        (new,) = set(cluster.ports) - {old}
        with scene(cluster.url(old), folder, url=cluster.url("one", "two"), lease=10.0) as stage:
            stage.hire(2)
            producer = stage.produce(jobs)
            wait_until(lambda: producer.answered > jobs // 3, "a third of the jobs", 600)
            cluster.sender(old).suspend()
            unsent(producer, synchronous)
            cluster.kill(old)
            killed = time.time()
            wait_until(lambda: cluster.primary() == new, "a new primary", 120)
            stage.drain(900, cluster.url(new))
            assert stage.stop() == [0, 0]
            verdict = stage.judge(cluster.url(new))
    return verdict, verdict.wait_after(killed)


@pytest.mark.long
def test_a_failover_by_patroni_loses_nothing_that_was_acknowledged(
    place: tuple[Path, Path], tmp_path: Path, publish: Any
) -> None:
    if why := patroni.missing():
        publish.cannot_run("#10", NAME, why, promise=1)
    directory, binaries = place
    jobs = 20_000
    found, wait = fail_over(directory / "sync", binaries, tmp_path / "sync", jobs, synchronous=True)
    control, _ = fail_over(directory / "async", binaries, tmp_path / "async", 2000, synchronous=False)
    publish(
        "#10",
        NAME,
        f"{jobs:,} jobs: lost {len(found.report.lost)}, effects not exactly once {len(found.report.not_once)}, "
        f"violations {len(found.faults())} ({found})",
        value=len(found.faults()),
        bound="violations = 0",
        promise=1,
        control=f"without synchronous_mode: lost {len(control.report.lost)}",
        on="PostgreSQL",
    )
    publish(
        "#10",
        "the first claim after a failover by Patroni",
        f"{wait:.2f} s after the kill, of which {patroni.TTL} s are Patroni's ttl",
        value=wait,
        bound=f"<= {patroni.TTL + 10} s",
        promise=1,
        on="PostgreSQL",
    )
    assert control.report.lost, "the control did not fail"
