"""kill -9 of workers, and workers frozen for longer than their lease, judged by the checker (reliability #7, #8)."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from tests.checker import check
from tests.support.claim_loop import TABLES, Plan, history, run
from tests.support.stores import raw

JOBS = int(os.environ.get("ROWQUEUE_KILL_JOBS", "10000"))


def filled(url: str, count: int) -> list[int]:
    with raw(url) as rows:
        for name in ("effect", "effect_once"):
            rows.execute(f"DROP TABLE IF EXISTS {name}")
        for table in TABLES:
            rows.execute(table)
    with contextlib.closing(Store(url, max_rescues=1000)) as store:
        answers = store.enqueue_many([NewJob(kind="k", max_attempts=1000) for _ in range(count)])
    return [answer.job.id for answer in answers]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_and_frozen_workers_lose_nothing_and_change_nothing_that_is_not_theirs(
    tables_url: str, tmp_path: Path, publish, long: bool
) -> None:
    most = 100_000 if long else JOBS
    jobs = most // 3 if tables_url.startswith("mariadb") else most  # its commits take longer
    keys = filled(tables_url, jobs)
    plan = Plan(tables_url, str(tmp_path), kills=jobs if long else 60)
    began = time.monotonic()
    found = run(plan, timeout=3000 if long else 250)
    report = check(*history(plan, keys))
    assert found["kills"] > 5
    assert report.explained["rescued"] > 0
    assert report.stale_refused > 0, "too gentle: no stale write was tried"
    publish(
        "#7",
        "workers killed by SIGKILL, others frozen beyond their lease (#8)",
        f"{jobs:,} jobs in {time.monotonic() - began:.0f} s, {found}: {report}",
        value=len(report.violations()),
        bound="violations = 0",
        promise=1,
        seed=plan.seed,
    )
    publish(
        "#8",
        "workers stopped (SIGSTOP) for longer than their lease, and woken",
        f"{found['freezes']} stopped and woken: {report.stale_refused} writes refused, "
        f"accepted {len(report.stale_accepted)}, overlap {len(report.overlap)}",
        value=len(report.stale_accepted) + len(report.overlap),
        bound="stale accepted or overlap = 0",
        promise=4,
        seed=plan.seed,
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_without_the_lease_in_the_guard_the_checker_sees_stale_writes(
    tables_url: str, tmp_path: Path, publish
) -> None:
    """The negative control: the very same run, its statements guarded by key and state alone."""
    keys = filled(tables_url, 200)
    plan = Plan(tables_url, str(tmp_path), kills=0, freeze_every=20, fenced=False)
    run(plan, timeout=100)
    report = check(*history(plan, keys))
    for number in ("#7", "#8"):
        publish.control(
            number,
            "the lease left out of the guard of every statement",
            f"{len(report.stale_accepted)} stale writes accepted: {report}",
            value=len(report.stale_accepted),
            bound="stale accepted >= 1",
            promise=4,
            seed=plan.seed,
        )
