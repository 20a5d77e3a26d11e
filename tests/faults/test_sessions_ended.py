"""Sessions that the server ends while they work, two a second (reliability #11)."""

import random
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg

from tests.faults.scene import Scene, repeat_while, scene
from tests.support.waiting import wait_until

SEED = 11
OTHERS = (
    "FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    " AND pid <> pg_backend_pid()"
)


def disturb(stage: Scene, watch: "psycopg.Connection[Any]", seconds: float, seed: int) -> int:
    """Work for so long while every half second a session ends that somebody has, and every other time all of them."""
    chance = random.Random(seed)
    ended: list[int] = []

    def end_some() -> None:
        pids = sorted(row[0] for row in watch.execute(f"SELECT pid {OTHERS}"))
        ended.append(len(pids) if len(ended) % 2 else 1)
        watch.execute("SELECT pg_terminate_backend(unnest(%s::int[]))", [chance.sample(pids, ended[-1])])

    producer = stage.produce(10**9, pause=0.05)
    until = time.monotonic() + seconds
    repeat_while(lambda: time.monotonic() < until, 0.5, end_some)
    producer.stopped.set()
    return sum(ended)


def sessions(connection: "psycopg.Connection[Any]") -> int:
    row = connection.execute(f"SELECT count(*) {OTHERS}").fetchone()
    assert row is not None
    return int(row[0])


def test_sessions_that_the_server_ends_cost_nothing_and_none_is_leaked(
    fresh_postgres: str, tmp_path: Path, publish: Any, long: bool
) -> None:
    with (
        scene(fresh_postgres, tmp_path, lease=4.0) as stage,
        psycopg.connect(fresh_postgres, autocommit=True) as watch,
    ):
        hands = [psutil.Process(hand.pid) for hand in stage.hire(2)]
        files = sum(hand.num_fds() for hand in hands)
        ended = disturb(stage, watch, 60 if long else 4, SEED)
        stage.drain()
        most = 2 * (4 + stage.plan.concurrency)
        wait_until(lambda: sessions(watch) <= most, f"at most {most} sessions")
        wait_until(
            lambda: sum(hand.num_fds() for hand in hands) <= files + most, "files of no more than those"
        )
        assert stage.stop() == [0, 0]
        wait_until(lambda: sessions(watch) == 0, "no session")
        verdict = stage.judge()
    assert verdict.said["Reconnecting"] > 0, "too gentle"
    publish(
        "#11",
        "sessions ended by the server, two a second",
        f"{ended} sessions ended: violations {len(verdict.faults())}, sessions and files left 0 ({verdict})",
        value=len(verdict.faults()),
        bound="violations = 0",
        promise=1,
        seed=SEED,
    )


def test_a_worker_that_asks_only_once_does_not_survive_it(
    fresh_postgres: str, tmp_path: Path, publish: Any
) -> None:
    """The negative control."""
    with (
        scene(fresh_postgres, tmp_path, lease=4.0, without="patience") as stage,
        psycopg.connect(fresh_postgres, autocommit=True) as watch,
    ):
        hands = stage.hire(2)
        producer = stage.produce(10**9, pause=0.01)

        def end_all() -> bool:
            watch.execute(f"SELECT pg_terminate_backend(pid) {OTHERS}")
            return any(hand.poll() is not None for hand in hands)

        wait_until(end_all, "a worker to end by itself, in the middle of a statement")
        producer.stopped.set()
        ended = sum(hand.poll() is not None for hand in hands)
    publish.control(
        "#11",
        "a worker that asks only once",
        f"{ended} of 2 workers ended by themselves",
        value=ended,
        bound=">= 1",
        seed=SEED,
    )
