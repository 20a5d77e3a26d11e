"""Reliability #5: pairs of operations, all orders of their statements, on real servers.

Whatever the order, answers and rows must be those of one operation after the other, or what a pair says is right too.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from rowqueue.core.finish import Finish
from rowqueue.core.states import State, Verb
from rowqueue.core.values import NewJob
from rowqueue.operations import claim, enqueue, finish, operate, upkeep
from rowqueue.operations.base import Access, Operation
from rowqueue.store.store import Store
from tests.simulation.controls import _claim_in_two
from tests.support.figures import Publisher
from tests.support.interleaving import Build, Ending, Found, Part, Stage
from tests.support.stores import Raw


@dataclass(frozen=True, slots=True)
class Pair:
    """Two operations on what was prepared.

    `also` judges an outcome that no serial order has. `skips`: the second passes over what the first has locked, and
    leaves it for its next round should the first undo its own.
    """

    one: Build
    two: Build
    prepare: Callable[[Store, Raw], Any]
    also: Callable[[str], bool] = lambda outcome: False
    skips: bool = False


def jobs(count: int, **options: Any) -> Callable[[Store, Raw], Any]:
    def prepare(store: Store, rows: Raw) -> Any:
        return [
            answer.job.id
            for answer in store.enqueue_many([NewJob(kind="k", **options) for _ in range(count)])
        ]

    return prepare


def claimed(count: int = 1, left: bool = False, more: int = 0) -> Callable[[Store, Raw], Any]:
    """So many claims, their leases run out or not, and so many more jobs."""

    def prepare(store: Store, rows: Raw) -> Any:
        jobs(count)(store, rows)
        claims = store.claim(count)
        if left:
            rows.pass_time(100)
        jobs(more)(store, rows)
        return claims

    return prepare


def reclaimed(store: Store, rows: Raw) -> Any:
    """A claim that was lost, and the one that has the job since."""
    (old,) = claimed(left=True)(store, rows)
    store.rescue()
    return old, store.claim()[0]


def due(store: Store, rows: Raw) -> Any:
    keys = jobs(2, delay=60)(store, rows)
    rows.pass_time(100)
    return keys


def old(store: Store, rows: Raw) -> Any:
    claims = claimed(2)(store, rows)
    store.complete_many(claims)
    rows.pass_time(1000)
    return [each.key for each in claims]


def finals(store: Store, rows: Raw) -> Any:
    """Two final jobs that had the same unique key."""
    keys = []
    for _ in range(2):
        keys += jobs(1, unique_key="u")(store, rows)
        store.cancel(keys[-1])
    return keys


def take(worker: str, limit: int = 2) -> Build:
    return lambda s, c: claim.claim(s.settings, limit, ["default"], None, None, None, worker)


def end(verb: Verb, which: int = 0, **more: Any) -> Build:
    return lambda s, c: finish.finish([Finish(c[which], verb, **more)])


def new(*keys: str | None) -> Build:
    return lambda s, c: enqueue.enqueue([NewJob(kind="k", unique_key=key) for key in keys], s.settings)


def batch(*order: int, verb: Verb = Verb.COMPLETE) -> Build:
    return lambda s, c: finish.finish([Finish(c[index], verb) for index in order])


def by_person(verb: Verb) -> Build:
    return lambda s, c: operate.end(verb, [each.key for each in reversed(c)], "no")


def rescue(s: Store, c: Any) -> Operation[Any]:
    return upkeep.rescue(s.settings, 10)


def promote(s: Store, c: Any) -> Operation[Any]:
    return upkeep.promote_due(10)


def extend(s: Store, c: Any) -> Operation[Any]:
    return claim.extend(s.settings, c, None)


def prune(s: Store, c: Any) -> Operation[Any]:
    return upkeep.prune({State.COMPLETED: 100}, None, 10)


def retry(*which: int) -> Build:
    return lambda s, c: operate.retry([c[index] for index in which])


def cancel_waiting(s: Store, c: Any) -> Operation[Any]:
    return operate.end(Verb.CANCEL, c, "")


def carelessly(s: Store, c: Any) -> Operation[Any]:
    """A claim that reads and then takes, each by itself: the negative control."""
    made = _claim_in_two(s, 2, "x", ("default",))  # type: ignore[arg-type]
    return replace(made, access=Access.READ) if s.database.name == "sqlite" else made


FAIL = end(Verb.FAIL, state=State.RETRYABLE, delay=9.0, error="x")


def alive_while_locked(outcome: str) -> bool:
    """A renewal passes over a row that is locked, and counts it as alive: the next one sees what came of it."""
    return " done running" in outcome.split(" | ", 1)[0]


PAIRS = {
    "claim/claim": Pair(take("a"), take("b"), jobs(3), skips=True),
    "claim/rescue": Pair(take("a"), rescue, claimed(1, left=True, more=1), skips=True),
    "complete/rescue": Pair(end(Verb.COMPLETE), rescue, claimed(left=True), skips=True),
    "fail/rescue": Pair(FAIL, rescue, claimed(left=True), skips=True),
    "release/claim": Pair(end(Verb.RELEASE), take("b"), claimed(), skips=True),
    "cancel/complete": Pair(by_person(Verb.CANCEL), end(Verb.COMPLETE), claimed()),
    "cancel/fail": Pair(by_person(Verb.CANCEL), FAIL, claimed()),
    "cancel/claim": Pair(cancel_waiting, take("b"), jobs(1), skips=True),
    "discard/complete": Pair(by_person(Verb.DISCARD), end(Verb.COMPLETE), claimed()),
    "extend/rescue": Pair(extend, rescue, claimed(left=True), alive_while_locked, skips=True),
    "extend/complete": Pair(extend, end(Verb.COMPLETE), claimed(), alive_while_locked),
    "extend/cancel": Pair(extend, by_person(Verb.CANCEL), claimed(), alive_while_locked),
    "complete/fail of one claim": Pair(end(Verb.COMPLETE), FAIL, claimed()),
    "a stale complete/complete": Pair(end(Verb.COMPLETE, 0), end(Verb.COMPLETE, 1), reclaimed),
    "batches in two orders": Pair(batch(0, 1), batch(1, 0, verb=Verb.RELEASE), claimed(2)),
    "a batch/cancel of both": Pair(batch(0, 1), by_person(Verb.CANCEL), claimed(2)),
    "enqueue unique/enqueue unique": Pair(new("u"), new("u"), jobs(0)),
    "unique batches in two orders": Pair(new("u", "v"), new("v", "u"), jobs(0)),
    "promote/claim": Pair(promote, take("b"), due, skips=True),
    "promote/promote": Pair(promote, promote, due, skips=True),
    "promote/cancel": Pair(promote, cancel_waiting, due),
    "rescue/rescue": Pair(rescue, rescue, claimed(2, left=True), skips=True),
    "prune/retry": Pair(prune, retry(0, 1), old),
    "prune/prune": Pair(prune, prune, old, skips=True),
    "delete/retry": Pair(lambda s, c: operate.delete(c), retry(0, 1), old),
    "retry/retry of one unique key": Pair(retry(0), retry(1), finals),
    "retry/enqueue unique": Pair(retry(0), new("u"), finals),
    "pause/claim": Pair(lambda s, c: operate.pause("default"), take("b"), jobs(1)),
}
ENDINGS: tuple[tuple[Ending, Ending], ...] = (("own", "own"), ("commit", "commit"), ("rollback", "commit"))
"""Both as the pool runs them; both in transactions of the caller's; and the first of these undone."""


@pytest.fixture
def stage(tables_url: str) -> Iterator[Stage]:
    with contextlib.closing(Stage(tables_url)) as stage:
        yield stage


def all_orders(stage: Stage, pair: Pair, endings: tuple[Ending, Ending]) -> tuple[Found, list[str]]:
    for name in ("job", "log", "queue"):
        stage.rows.execute(f"DELETE FROM rowqueue_{name}")
    context = pair.prepare(stage.store, stage.rows)
    stage.save()
    parts = [
        Part(build(stage.store, context), ending)
        for build, ending in zip((pair.one, pair.two), endings, strict=True)
    ]
    right = {stage.serially(parts, 0), stage.serially(parts, 1)}
    shapes = {shape for one in (*right, stage.untouched()) for shape in _shapes(one)}
    found, wrong = Found(), []
    for order, outcome in stage.explore(parts):
        found.orders += 1
        found.steps += len(order)
        found.blocked += stage.blocked > 0 or any(session.waited for session in stage.sessions)
        found.conflicts += sum(session.conflicts for session in stage.sessions)
        skipped = pair.skips and endings[0] == "rollback" and _shapes(outcome) <= shapes
        if outcome not in right and not skipped and not pair.also(outcome):
            wrong.append(f"order {''.join(map(str, order))}: {outcome}\n   but serially: {sorted(right)}")
    return found, wrong


def _shapes(outcome: str) -> set[str]:
    """How the rows stand, whichever they are: untouched, or as the second operation leaves one."""
    rows = outcome.rsplit(" | ", 1)[1]
    return {row.split(": ", 1)[1] for row in rows.split("; ") if row}


@pytest.mark.slow
def test_every_order_of_two_operations_is_as_one_after_the_other(
    stage: Stage, long: bool, publish: Publisher
) -> None:
    total, wrong = Found(), []
    # On MariaDB every write of the pool's is a transaction, and takes so many statements that there are 2,300 orders.
    ways = ENDINGS[:1] if stage.kind == "mariadb" and not long else ENDINGS
    for name, pair in PAIRS.items():
        for endings in ways:
            found, broken = all_orders(stage, pair, endings)
            total.join(found)
            wrong += [f"{name} ({'/'.join(endings)}), {each}" for each in broken]
            print(f"{name:<32} {'/'.join(endings):<16} {found.orders:>4} orders, {found.blocked} with a wait")
    print("\n".join(wrong))
    publish(
        "#5",
        "exhaustive interleavings",
        f"{len(PAIRS)} pairs x {len(ways)} ways: {total.orders} orders, {total.steps} statements, {total.blocked} orders "
        f"with a wait for a lock, {total.conflicts} deadlocks detected and retried; wrong {len(wrong)}, undetected deadlocks 0",
        value=len(wrong),
        bound="orders that break an invariant = 0",
        promise=4,
    )


def test_control_a_claim_that_looks_first_is_found_out(stage: Stage, publish: Publisher) -> None:
    found, wrong = all_orders(stage, Pair(carelessly, carelessly, jobs(2)), ("own", "own"))
    publish.control(
        "#5",
        "interleavings: a claim in two statements",
        f"{len(wrong)} of {found.orders} orders gave both the same job",
        value=len(wrong),
        bound="orders that break an invariant >= 1",
    )
