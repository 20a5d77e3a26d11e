"""kill -9 of producers in the middle of batched and transactional enqueues, judged by the checker (reliability #9)."""

import contextlib
import os
from pathlib import Path

from rowqueue.store.store import Store
from tests.checker import Event, Report, Row, check
from tests.support.producers import TABLE, Plan, history, run
from tests.support.stores import raw

KILLS = int(os.environ.get("ROWQUEUE_PRODUCER_KILLS", "12"))


def judged(plan: Plan) -> tuple[Report, set[int], str]:
    """Produce and kill, drain, and judge; the numbers that are in only one of jobs and the application's own table; and
    what happened."""
    with raw(plan.url) as rows:
        rows.execute("DROP TABLE IF EXISTS app_row")
        rows.execute(TABLE)
    run(plan)
    events, calls = history(plan)
    worked: dict[int, Row] = {}
    with contextlib.closing(Store(plan.url)) as store:
        while claims := store.claim(1000, worker="w"):
            outcomes = store.complete_many(claims)
            for claim, outcome in zip(claims, outcomes, strict=True):
                number = claim.job.args["number"]
                assert outcome
                assert number not in worked, "a job was enqueued twice"
                worked[number] = Row(final=True)
                events += [Event("start", number, claim.lease), Event("effect", number, claim.lease)]
    report = check(events, worked)
    with raw(plan.url) as rows:
        ours: set[int] = {row["number"] for row in rows.rows("SELECT number FROM app_row")}
    said = f"{calls.total():,} calls {dict(calls)}, {len(worked):,} jobs: {report}"
    assert calls["unknown"] or plan.hasty, "too gentle: no call was cut off"
    _check_whole(plan, events, worked)
    return report, ours ^ transactional(plan, worked), said


def transactional(plan: Plan, worked: dict[int, Row]) -> set[int]:
    """The numbers that are not of a batch: each round is a batch, and twice three in a transaction."""
    return {number for number in worked if number % 1_000_000 % (plan.batch + 6) >= plan.batch}


def _check_whole(plan: Plan, events: list[Event], worked: dict[int, Row]) -> None:
    """A batch is there whole, or not at all."""
    rounds: dict[int, int] = {}
    for number in worked.keys() - transactional(plan, worked):
        first = number - number % 1_000_000 % (plan.batch + 6)
        rounds[first] = rounds.get(first, 0) + 1
    assert set(rounds.values()) == {plan.batch}


def test_killed_producers_lose_nothing_and_leave_no_phantom(
    tables_url: str, tmp_path: Path, publish, long: bool
):
    kills = 200 if long else KILLS
    report, torn, said = judged(Plan(tables_url, str(tmp_path), kills=kills))
    publish(
        "#9",
        "producers killed in batches and in transactions with rows of their own",
        f"{kills} kills, {said}; jobs without their row or the other way round: {len(torn)}",
        value=len(report.violations()) + len(torn),
        bound="violations = 0",
        promise=2,
        seed=kills,
    )


def test_a_producer_that_answers_too_soon_loses_jobs(sqlite_tables: str, tmp_path: Path, publish):
    """A negative control."""
    report, _, said = judged(Plan(sqlite_tables, str(tmp_path), kills=6, hasty=True))
    publish.control(
        "#9", "a producer that answers before its commit", said, value=len(report.lost), bound="lost >= 1"
    )


def test_a_producer_that_enqueues_beside_its_transaction_leaves_phantoms(
    postgres_tables: str, tmp_path: Path, publish
):
    """A negative control."""
    report, torn, said = judged(Plan(postgres_tables, str(tmp_path), kills=2, apart=True))
    assert torn
    publish.control(
        "#9",
        "a producer that enqueues beside its transaction",
        said,
        value=len(report.phantom),
        bound="phantom >= 1",
    )
