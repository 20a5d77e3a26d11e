"""A server that crashes under its workers and comes back, in its own place or in its standby's (reliability #10)."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.scene import Verdict, scene, unsent
from tests.support.postgres import PrivatePostgres
from tests.support.waiting import wait_until

SEED = 10
LATE_COMMITS = {"synchronous_commit": "off", "wal_writer_delay": "10s", "wal_writer_flush_after": "1GB"}
Make = Callable[..., PrivatePostgres]


def version(server: PrivatePostgres) -> str:
    with psycopg.connect(server.url) as connection:
        return (
            f"PostgreSQL {connection.info.server_version // 10000}.{connection.info.server_version % 10000}"
        )


def crashed(
    server: PrivatePostgres, folder: Path, crashes: int, within: Callable[[], float], pause: float = 0.05
) -> tuple[Verdict, int, float]:
    """Crash the server so often while jobs run, each time some time after an acknowledgement.

    Returns:
        The verdict, how many jobs were acknowledged, and the longest time from a server that is back to the next claim.
    """
    with scene(server.url, folder, lease=4.0) as stage:
        stage.hire(2)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")  # the tables are to stay, whatever becomes of the rows
        producer = stage.produce(10**9, pause=pause)
        backs = []
        for _ in range(crashes):
            answered = producer.answered
            wait_until(lambda answered=answered: producer.answered > answered, "an acknowledgement")  # type: ignore[misc]
            threading.Event().wait(within())
            server.stop("immediate")
            server.start()
            backs.append(time.time())
            wait_until(lambda: stage.claimed_after(backs[-1]), "a claim")
        producer.stopped.set()
        stage.drain(900)
        assert stage.stop() == [0, 0]
        verdict = stage.judge()
    return verdict, producer.answered, max(map(verdict.wait_after, backs))


def test_a_server_that_crashes_loses_nothing_that_it_acknowledged(
    new_private_postgres: Make, tmp_path: Path, publish: Any, long: bool
) -> None:
    chance = random.Random(SEED)
    crashes, pause = (12, 0.25) if long else (2, 0.05)
    server = new_private_postgres()
    on = version(server)
    found, jobs, worst = crashed(
        server,
        tmp_path / "durable",
        crashes,
        lambda: chance.uniform(5, 40) if long else chance.random(),
        pause,
    )
    server.stop("immediate")
    late = new_private_postgres(**LATE_COMMITS)
    control, _, _ = crashed(late, tmp_path / "late", 1, lambda: 0.5)
    publish(
        "#10",
        "the server crashes and restarts",
        f"{jobs} jobs acknowledged, {crashes} crashes: lost {len(found.report.lost)}, violations {len(found.faults())} ({found})",
        value=len(found.faults()),
        bound="violations = 0",
        promise=1,
        control=f"synchronous_commit=off: lost {len(control.report.lost)}",
        seed=SEED,
        on=on,
    )
    publish(
        "#10",
        "the first claim after the server is back",
        f"worst of {crashes}: {worst:.2f} s",
        value=worst,
        bound="<= 3 s",
        seed=SEED,
        on=on,
    )
    assert control.report.lost, "the control did not fail"


def fail_over(make: Make, folder: Path, jobs: int, *, synchronous: bool) -> tuple[Verdict, dict[str, float]]:
    """Kill the primary in the middle of jobs, promote the standby, and let the clients find it.

    Just before, the primary sends nothing more to its standby: what it acknowledges from here on only it has.
    """
    primary = make()
    standby = make(follow=primary)
    with psycopg.connect(primary.url, autocommit=True) as connection:
        if synchronous:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
        state = "sync" if synchronous else "async"
        query = "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'"
        wait_until(lambda: connection.execute(query).fetchall() == [(state,)], f"an {state} standby")
    head, _, place = primary.url.rpartition("@")
    clients = (
        f"{head}@{place.partition('/')[0]},127.0.0.1:{standby.port}/postgres?target_session_attrs=read-write"
    )
    with scene(primary.url, folder, url=clients, lease=10.0) as stage:
        stage.hire(2)
        producer = stage.produce(jobs)
        wait_until(lambda: producer.answered > jobs // 3, "a third of the jobs", 300)
        wait_until(lambda: stage.count("Completed") > jobs // 6, "work done", 300)
        primary.process("walsender").suspend()
        unsent(producer, synchronous)
        primary.kill()
        killed = time.time()
        standby.promote()
        promoted = time.time()
        stage.drain(600, standby.url)
        assert stage.stop() == [0, 0]
        verdict = stage.judge(standby.url)
    return verdict, {"killed": verdict.wait_after(killed), "promoted": verdict.wait_after(promoted)}


def test_a_failover_loses_nothing_that_was_acknowledged(
    new_private_postgres: Make, tmp_path: Path, publish: Any, long: bool
) -> None:
    jobs = 20_000 if long else 500
    found, waits = fail_over(new_private_postgres, tmp_path / "sync", jobs, synchronous=True)
    control, _ = fail_over(new_private_postgres, tmp_path / "async", 500, synchronous=False)
    on = "PostgreSQL 18"
    publish(
        "#10",
        "primary killed, synchronous standby promoted",
        f"{jobs} jobs: lost {len(found.report.lost)}, effects not exactly once {len(found.report.not_once)}, "
        f"violations {len(found.faults())} ({found})",
        value=len(found.faults()),
        bound="violations = 0",
        promise=1,
        control=f"asynchronous standby: lost {len(control.report.lost)}",
        on=on,
    )
    publish(
        "#10",
        "the first claim after a failover",
        f"{waits['killed']:.2f} s after the kill, {waits['promoted']:.2f} s after the promotion",
        value=waits["promoted"],
        bound="<= 3 s",
        promise=1,
        on=on,
    )
    assert control.report.lost, "the control did not fail"
