"""Clocks that are an hour wrong, jump, or step back (reliability #25): leases are judged by the database's clock alone."""

import contextlib
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from tests.support.clocks import Clock, library
from tests.support.postgres import PrivatePostgres
from tests.support.session import ROOT
from tests.support.stores import raw
from tests.support.waiting import wait_until

HOUR = 3600.0
LEASE = 30.0
SEED = 25
DST_ENDS = datetime(2026, 11, 1, 6, 0, 0, tzinfo=UTC)
"""When 2 o'clock becomes 1 o'clock again in New York."""


@pytest.fixture(autouse=True)
def _needs_libfaketime(publish: Any) -> None:
    if library() is None:
        publish.cannot_run(
            "#25", "wrong clocks", "libfaketime is not installed: apt install libfaketime", promise=6
        )


@contextlib.contextmanager
def hands(url: str, clocks: list[Clock], lease: float = LEASE) -> Iterator[None]:
    """Workers, each by a clock of its own; stopped in order at the end."""
    command = [sys.executable, "-m", "tests.faults.clock_hand", url, str(lease)]
    running = [subprocess.Popen(command, cwd=ROOT, env=clock.over()) for clock in clocks]
    try:
        yield
        for process in running:
            process.terminate()
        assert [process.wait(30) for process in running] == [0] * len(running)
    finally:
        for process in running:
            process.kill()
            process.wait()


def look(url: str, clock: Clock) -> tuple[int, int, int]:
    """What somebody with that clock rescues, promotes and claims."""
    command = [sys.executable, "-m", "tests.faults.clock_hand", url, "30", "rescue"]
    done = subprocess.run(
        command, cwd=ROOT, env=clock.over(), capture_output=True, text=True, check=True, timeout=60
    )
    rescued, promoted, claimed, now = done.stdout.split()
    assert abs(float(now) - time.time()) > HOUR / 2, "the clock is not wrong"
    return int(rescued), int(promoted), int(claimed)


def early(url: str, tmp_path: Path) -> int:
    """Jobs that somebody with a wrong clock takes from a live worker, or starts before they are due."""
    with contextlib.closing(Store(url)) as store:
        store.init()
        store.enqueue(NewJob(kind="k"))
        store.enqueue(NewJob(kind="late", delay=1800))
        assert len(store.claim(5)) == 1
    clock = Clock(tmp_path / "wrong")
    found = 0
    for offset in (HOUR, -HOUR):
        clock.set(offset)
        found += sum(look(url, clock))
    return found


@pytest.mark.every_database
@pytest.mark.parametrize("database_url", ["postgres", "mariadb"], indirect=True)
def test_a_worker_with_a_wrong_clock_takes_nothing_early(
    database_url: str, tmp_path: Path, publish: Any
) -> None:
    found = early(database_url, tmp_path)
    publish(
        "#25",
        "a worker whose clock is an hour before or after",
        f"{found} jobs rescued from a live worker or started before they were due",
        value=found,
        bound="early = 0",
        promise=6,
    )


def test_where_each_process_asks_its_own_clock_it_does(sqlite_url: str, tmp_path: Path, publish: Any) -> None:
    """A negative control: SQLite's clock is that of the process, and two of them do not agree on the time."""
    found = early(sqlite_url, tmp_path)
    publish.control(
        "#25",
        "two clocks on one SQLite file, an hour apart",
        f"{found} jobs rescued from a live worker or started before they were due",
        value=found,
        bound="early >= 1",
    )


def enqueue(url: str, count: int, *, long: bool) -> None:
    """A few of the jobs take longer than their lease in the long form: renewals have to keep it."""
    some, seconds = (500, 2 * LEASE) if long else (50, 2.0)
    with Store(url) as store:
        store.init()
        store.enqueue_many(
            [
                NewJob(
                    kind="k",
                    args={"number": number, "seconds": seconds if number % some == 0 else 0.01},
                    delay=1.0 if number % 10 == 0 else None,
                )
                for number in range(count)
            ]
        )


def finished(url: str) -> str:
    """How it came out: jobs that are not completed, and reruns."""
    with raw(url) as rows:
        (row,) = rows.rows(
            "SELECT count(*) AS jobs, sum(attempt - 1) AS reruns, sum(rescues) AS rescues, "
            "sum(CASE WHEN state = 'completed' THEN 0 ELSE 1 END) AS missing, "
            "sum(CASE WHEN attempted_at < scheduled_at THEN 1 ELSE 0 END) AS early FROM rowqueue_job"
        )
    return " ".join(f"{name} {int(value)}" for name, value in row.items())


def left(url: str) -> int:
    with raw(url) as rows:
        return rows.count("finalized_at IS NULL")


def wrong(said: str) -> int:
    words = said.split()
    return sum(int(count) for name, count in zip(words[::2], words[1::2], strict=True) if name != "jobs")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_with_jumping_clocks_start_nothing_twice(
    postgres_database: str, tmp_path: Path, long: bool, publish: Any
) -> None:
    jobs = 20_000 if long else 100
    enqueue(postgres_database, jobs, long=long)
    clocks = [Clock(tmp_path / f"clock-{number}", HOUR * (number - 1)) for number in range(4)]
    chance = random.Random(SEED)
    jumps = 0
    with hands(postgres_database, clocks):

        def jumped() -> bool:
            nonlocal jumps
            jumps += 1
            clocks[3].set(chance.uniform(-HOUR, HOUR))
            time.sleep(0.1)  # the pace of the jumps
            return not left(postgres_database)

        wait_until(jumped, "the last job", 600)
    said = finished(postgres_database)
    publish(
        "#25",
        "four workers: an hour behind, right, an hour ahead, and jumping",
        f"{jumps} jumps of up to an hour; {said}",
        value=wrong(said),
        bound="violations = 0",
        promise=6,
        seed=SEED,
    )


def faked(server: PrivatePostgres, clock: Clock, zone: str) -> None:
    """Start a server again, by that clock and in that time zone."""
    server.stop()
    place = server.directory / "clocked"
    place.mkdir()
    # Not before the server's own user has taken over: libfaketime makes a semaphore for each process.
    words = " ".join(
        shlex.quote(f"{name}={value}") for name, value in {**clock.environment, "TZ": zone}.items()
    )
    program = place / "postgres"
    program.write_text(f'#!/bin/sh\nexec env {words} {shlex.quote(str(server.bin_path / "postgres"))} "$@"\n')
    for made in (place, program):
        made.chmod(0o755)
    server.bin_path = place
    server.settings |= {"timezone": zone, "log_timezone": zone}
    server.start()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_database_whose_clock_steps_back_delays_and_does_not_repeat(
    private_postgres: PrivatePostgres, tmp_path: Path, long: bool, publish: Any
) -> None:
    clock = Clock(private_postgres.directory / "clock")
    faked(private_postgres, clock, "UTC")
    url = private_postgres.url
    enqueue(url, 10_000 if long else 150, long=long)
    rounds = 20 if long else 2
    right = Clock(tmp_path / "right")
    with hands(url, [right, right]):
        for step in range(rounds):
            already = left(url)
            wait_until(lambda already=already: left(url) < already - 20, "some jobs", 60)  # type: ignore[misc]
            clock.set(-10.0 * (step + 1))
        wait_until(lambda: not left(url), "the last job", 600)
    said = finished(url).rpartition(" early")[
        0
    ]  # an attempt may bear an earlier time than the due time before
    publish(
        "#25",
        "the database's clock steps back by 10 s while it works",
        f"{rounds} steps; {said}",
        value=wrong(said),
        bound="violations = 0",
        promise=3,
        on="PostgreSQL",
    )


def test_a_clock_that_steps_ahead_ends_leases_early_and_every_rerun_says_so(
    private_postgres: PrivatePostgres, tmp_path: Path, publish: Any
) -> None:
    """The negative control: time that passes for the database alone does end leases."""
    clock = Clock(private_postgres.directory / "clock")
    faked(private_postgres, clock, "UTC")
    with contextlib.closing(Store(private_postgres.url)) as store:
        store.init()
        store.enqueue(NewJob(kind="k"))
        (claim,) = store.claim()
        assert store.rescue() == []
        clock.set(HOUR)
        assert [found.key for found in store.rescue()] == [claim.key]
        refused = store.complete(claim)
        job = store.get(claim.key)
        assert job is not None
        assert (job.rescues, len(job.errors)) == (1, 1)
    publish.control(
        "#25",
        "the database's clock steps ahead by an hour",
        f"1 lease ended, recorded on the job; the late answer: {refused.reason}",
        value=refused.reason == "lost",
        bound="refused = 1",
        on="PostgreSQL",
    )


def test_the_end_of_summer_time_is_nothing_to_a_lease(
    private_postgres: PrivatePostgres, publish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Server and worker live in New York, and the hour from 1 to 2 comes twice."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    clock = Clock(private_postgres.directory / "clock", DST_ENDS.timestamp() - time.time() - 1.0)
    faked(private_postgres, clock, "America/New_York")
    try:
        with contextlib.closing(Store(private_postgres.url)) as store, raw(private_postgres.url) as rows:
            store.init()
            clock.set(DST_ENDS.timestamp() - time.time() - 1.0)
            store.enqueue_many([NewJob(kind="k") for _ in range(2)])
            claims = store.claim(2, lease=4.0)
            ended = 0

            def winter() -> bool:
                nonlocal ended
                ended += len(store.rescue())
                return _zone(rows) == "EST"

            assert not winter()
            wait_until(winter, "the end of summer time")
            assert all(store.extend(claims, lease=1.0))
            ended += len(store.rescue())
            late = 0

            def over() -> bool:
                nonlocal late
                late += len(store.rescue())
                return late == 2

            wait_until(over, "the leases to end")
    finally:
        monkeypatch.undo()
        time.tzset()
    publish(
        "#25",
        "summer time ends while jobs are claimed, in the zone of server and worker",
        f"{ended} leases ended early; {late} ended when they were to",
        value=ended,
        bound="early = 0",
        promise=6,
        on="PostgreSQL",
    )


def _zone(rows: Any) -> str:
    (row,) = rows.rows("SELECT to_char(now(), 'TZ') AS zone FROM (SELECT 1) AS one")
    return str(row["zone"])
