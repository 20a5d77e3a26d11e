"""Reliability #4: thousands of runs of the operations, each decided by its seed, judged by the checker."""

import random
import sqlite3
from dataclasses import replace

import pytest

from rowqueue.core.values import Claim
from tests.checker import Event, Report, Row, check
from tests.simulation.controls import CONTROLS, EXPECTED
from tests.simulation.crew import Rules, Worker
from tests.simulation.memory import Record
from tests.simulation.people import Producer
from tests.simulation.simulate import Stage, Sum, play_all
from tests.simulation.world import World
from tests.support.figures import Publisher

EACH = 1000
ON = f"SQLite {sqlite3.sqlite_version} in memory"
SOMETIMES = {
    "crashed",
    "crashed in a transaction",
    "stalled",
    "reply of a commit lost",
    "reply in a transaction lost",
    "deadlock",
    "clock set back",
    "clock set forward",
    "claim unknown",
    "rescued to available",
    "rescued to cancelled",
    "rescued to discarded",
    "told of a lost lease",
    "complete_in refused",
    "unique key taken",
    "enqueue rolled back",
    "deleted",
    "stale: extend",
    "stale: complete",
    "stale: fail",
    "unknown: complete",
    "unknown: extend",
    "unknown: fail",
    "person: retry done",
    "person: cancel done",
    "person: discard done",
    "person: promote done",
    "person: delete wrong_state",
}
"""What each thousand of runs must come by: a simulation that never meets it proves nothing about it."""


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 1, 2])
def test_whatever_happens_between_two_statements_no_promise_is_broken(
    part: int, long: bool, publish: Publisher
) -> None:
    each = EACH * (20 if long else 1)
    found = play_all(range(part * each, (part + 1) * each))
    never = SOMETIMES - set(found.reached)
    publish(
        "#4",
        f"deterministic simulation, part {part + 1} of 3",
        f"{found}{'; NEVER REACHED: ' + ', '.join(sorted(never)) if never else ''}",
        value=len(found.bad) + len(never),
        bound="runs with a violation = 0",
        promise=3,
        seed=f"{part * each} to {(part + 1) * each - 1}",
        on=ON,
    )


@pytest.mark.parametrize("name", CONTROLS)
def test_control_what_is_taken_away_is_missed(name: str, publish: Publisher) -> None:
    stage, found = Stage(name), Sum()
    for seed in range(EACH):
        verdict = stage.play(seed)
        found.add(verdict)
        if caught := EXPECTED[name] & set(verdict.violations):
            break
    else:
        caught, seed = set(), EACH
    publish.control(
        "#4",
        f"simulation: {name}",
        f"caught by {' and '.join(sorted(caught)) or 'nothing'} in run {seed + 1} of at most {EACH}",
        value=seed + 1,
        bound=f"runs <= {EACH}",
        seed=seed,
        on=ON,
    )


def test_a_seed_is_a_run() -> None:
    """Whatever ran before it, and in whichever process."""
    told: list[list[str]] = [[], []]
    fresh, used = Stage(), Stage()
    used.play(1)
    one, two = fresh.play(7, told[0].append), used.play(7, told[1].append)
    assert told[0] == told[1]
    assert len(told[0]) > 20
    assert (one, one.report) == (two, two.report)


def test_one_worker_starts_jobs_in_order(publish: Publisher) -> None:
    """By priority, time and id, while nothing else happens."""
    stage, starts = Stage(), 0
    wrong: list[object] = []
    for seed in range(100):
        report = _alone(stage, seed)
        starts += report.starts
        wrong += report.violations().items()
    publish(
        "#4",
        "starts of one worker in order",
        f"{starts} starts in 100 runs: out of order or otherwise wrong {len(wrong)}",
        value=len(wrong),
        bound="out of order = 0",
        seed="0 to 99",
        on=ON,
    )
    assert starts > 200


def _alone(stage: Stage, seed: int) -> Report:
    world = World(random.Random(seed), stage.memory.raw)
    record = Record(world)
    stage.memory.begin(record)
    stage.memory.show(world)
    starts: list[Event] = []

    def marked(claim: Claim) -> Claim:
        job, now = claim.job, world.clock.true
        place = (job.priority, job.scheduled_at, job.id)
        starts.append(Event("start", job.args["n"], claim.lease, now, until=now, place=place))
        return claim

    rules: Rules = replace(stage.rules, marked=marked)
    producer = Producer(world, record, rules, 0, 8)
    try:
        producer.start()
        world.run(lambda: producer.done, 500)
        stage.memory.raw.execute("UPDATE rowqueue_job SET queue = 'a', state = 'available'")
        Worker(world, record, rules, 1).start()
        world.run(lambda: not record.unfinished, 1000)
        events = [event for event in record.history() if event.what not in {"start", "extend"}] + starts
        events += [Event("once", record.numbers[key], lease) for key, lease in stage.memory.once()]
        rows: dict[int, Row] = record.rows()
    finally:
        world.close()
    return check(events, rows, in_order=True)
