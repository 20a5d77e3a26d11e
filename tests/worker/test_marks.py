"""A claim that goes on behind the last one, and what gets in front of it meanwhile."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from rowqueue import App, Claim, Job, NewJob, State
from rowqueue.operations.claim import place_of
from rowqueue.worker import events
from rowqueue.worker.marks import LONGEST, SHARE, Marks
from tests.worker.harness import Running, drain

QUICK = LONGEST / SHARE / 5
"""Seconds that a claim takes here."""


class Clock:
    """One that stands still until it is turned."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Queue:
    """Claims of one queue, as a worker notes them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.marks = Marks(self.clock)

    def claim(self, *ids: int, slots: int = 2, took: float = QUICK) -> None:
        self.marks.note({"q": slots}, self.marks.now(), [claim_of(key) for key in ids], took)

    @property
    def mark(self) -> int | None:
        """The id behind which it goes on."""
        found = self.marks.now().get("q")
        return None if found is None else found[2]


def claim_of(key: int) -> Claim:
    made = datetime(2027, 1, 1, tzinfo=UTC) + timedelta(seconds=key)
    nothing = dict.fromkeys(Job.__dataclass_fields__)
    return Claim(key, 1, Job(**{**nothing, "id": key, "queue": "q", "priority": 2, "scheduled_at": made}))


def test_a_claim_goes_on_behind_one_that_came_back_full():
    queue = Queue()
    assert queue.mark is None
    queue.claim(1, 2)
    assert queue.mark == 2
    queue.claim(3, 4)
    assert queue.mark == 4


def test_after_a_short_claim_the_next_one_begins_at_the_front():
    queue = Queue()
    queue.claim(1, 2)
    queue.claim(3)
    assert queue.mark is None


def test_after_a_claim_that_came_to_the_front_the_next_one_begins_there():
    queue = Queue()
    queue.claim(5, 6)
    queue.claim(1, 7)
    assert queue.mark is None


@pytest.mark.parametrize("took, due", [(QUICK, QUICK * SHARE), (LONGEST, LONGEST), (60.0, LONGEST)])
def test_claims_from_the_front_come_in_time_however_many_others_do(took: float, due: float):
    queue = Queue()
    queue.claim(1, 2, took=took)
    for part in range(10):
        queue.clock.now = due * part / 10
        assert queue.mark is not None, "it looks at the front more often than it must"
        queue.claim(2 * part + 3, 2 * part + 4, took=0.0)
    queue.clock.now = due
    assert queue.mark is None
    queue.claim(100, 101)
    assert queue.mark == 101


@pytest.mark.every_database
def test_what_is_more_urgent_is_claimed_from_the_front_or_when_the_rest_is_not_enough(app: App):
    store = app.store

    def claimed(limit: int, after: int | None = None) -> list[int]:
        from rowqueue.operations.claim import claim

        place = None if after is None else {"default": place_of(jobs[after].job)}
        operation = claim(store.settings, limit, {"default": limit}, None, None, None, "w", place)
        return [each.job.args["n"] for each in store.run(operation)]

    jobs = store.enqueue_many([NewJob(kind="k", args={"n": n}, priority=4) for n in range(8)])
    assert claimed(2) == [0, 1]
    store.enqueue(NewJob(kind="k", args={"n": 100}, priority=1))
    if store.database.name == "postgresql":
        assert claimed(2, after=1) == [2, 3]
    assert claimed(1) == [100]
    store.enqueue_many([NewJob(kind="k", args={"n": n}, priority=1) for n in (101, 102)])
    rest = claimed(9, after=3)
    assert rest == sorted(rest, key=lambda n: (n < 100, n)), "not in claim order"
    assert set(rest) >= {101, 102, 4, 5, 6, 7}, "a claim that came back short had not looked at the front"


def test_what_is_more_urgent_starts_soon_while_a_backlog_is_worked_that_never_ends(app: App):
    seen = False

    @app.job(kind="b", priority=4)
    async def backlog() -> None:
        await asyncio.sleep(0.001)
        if not seen:
            await backlog.enqueue_async()

    @app.job(kind="u", priority=1)
    async def urgent() -> None:
        nonlocal seen
        seen = True

    backlog.enqueue_many([()] * 200)
    with Running(app, concurrency=10) as running:
        running.wait_for(events.Completed, count=100)
        job = urgent.enqueue()
        running.wait_for(events.Completed, job)
    row = running.row(job)
    times = {one.attempted_at for one in started(app)}
    before = sorted(
        time for time in times if time is not None and row.attempted_at and time < row.attempted_at
    )
    late = before[-1] - row.created_at
    # The front is due so long after the answer of the claim that looked there last; how long that one took, and how
    # long the claim that was sent just before was on its way, is not more than there is between two claims.
    gap = max(b - a for a, b in pairwise([*before, row.attempted_at]) if b > row.created_at)
    assert late <= timedelta(seconds=LONGEST) + 2 * gap, f"{late} late, {gap} between two claims"


def started(app: App) -> list[Job]:
    jobs: list[Job] = []
    after: str | None = None
    while True:
        page = app.store.list(after=after, limit=1000)
        jobs += page.jobs
        after = page.next
        if after is None:
            return [job for job in jobs if job.attempted_at is not None]


def test_a_worker_that_drains_leaves_nothing_that_came_in_front_of_its_mark(app: App):
    ran: list[int] = []

    @app.job(kind="d")
    async def handler(n: int) -> None:
        ran.append(n)
        if n < 100:
            await handler.options(priority=1).enqueue_async(n + 1000)

    handler.options(priority=4).enqueue_many([(n,) for n in range(200)])
    drain(app, concurrency=10)
    assert sorted(ran) == [*range(200), *range(1000, 1100)]
    assert app.store.stats().total(State.COMPLETED) == 300
