"""The store's suite and a worker behind PgBouncer in transaction mode, where nothing of a session lasts."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rowqueue.core.errors import StoreError
from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from tests.faults.scene import scene
from tests.support.inner import counted
from tests.support.pgbouncer import ADDRESS, missing_program, pgbouncer, through
from tests.support.session import ENVIRONMENT, ROOT

HANDFUL = ["tests/store/test_finish.py"]


def test_the_stores_suite_behind_it(postgres_url: str, fresh_postgres: str, publish: Any, long: bool) -> None:
    name = "the store's suite behind PgBouncer in transaction mode"
    if why := missing_program():
        publish.cannot_run("#12", name, why)
    chosen = ["tests/store"] if long else HANDFUL
    with pgbouncer(postgres_url) as address:
        passed, failed = suite(chosen, postgres_url, address)
        with contextlib.closing(Store(fresh_postgres)) as store:
            store.init()
        refused = prepares(through(fresh_postgres, address))
    publish(
        "#12",
        name,
        f"{', '.join(chosen)}: {passed} passed, {failed} failed",
        value=failed,
        bound="failed = 0",
        control=f"prepared=True: {refused} of 60 statements refused",
    )
    assert passed > 20
    assert refused > 0, "the control did not fail"


def suite(chosen: list[str], url: str, address: str) -> tuple[int, int]:
    """Run it in a pytest of its own; how many passed, and how many did not."""
    options = ["-q", "-p", "no:cacheprovider", "-k", "postgres", "--tb=short", "--timeout=300"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *chosen],
        cwd=ROOT,
        env={**os.environ, ENVIRONMENT: url, ADDRESS: address},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout[-6000:])
    counts = counted(done.stdout)
    return counts.get("passed", 0), counts.get("failed", 0) + counts.get("error", 0)


def test_workers_behind_it(fresh_postgres: str, tmp_path: Path, publish: Any, long: bool) -> None:
    name = "workers behind PgBouncer in transaction mode"
    if why := missing_program():
        publish.cannot_run("#12", name, why)
    with pgbouncer(fresh_postgres) as address:
        url = through(fresh_postgres, address)
        with scene(fresh_postgres, tmp_path, url=url, listen=False, prepared=False) as stage:
            stage.hire(2)
            stage.produce(20_000 if long else 400, url=fresh_postgres)
            stage.drain(600)
            assert stage.stop() == [0, 0]
            verdict = stage.judge()
        refused = prepares(url)
    publish(
        "#12",
        name,
        f"{verdict.report.starts} starts: violations {len(verdict.faults())} ({verdict})",
        value=len(verdict.faults()),
        bound="violations = 0",
        control=f"prepared=True: {refused} of 60 statements refused",
    )
    assert refused > 0, "the control did not fail"


def prepares(url: str) -> int:
    """The negative control: how many calls fail where statements are prepared."""
    refused = 0
    with contextlib.closing(Store(url)) as one, contextlib.closing(Store(url)) as other:
        for _ in range(30):
            for store in (one, other):
                try:
                    store.enqueue(NewJob(kind="k"))
                except StoreError:
                    refused += 1
    return refused
