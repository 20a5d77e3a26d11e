"""What users write around stores: every line must pass mypy --strict and pyright's strict."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from rowqueue import (
    App,
    AsyncStore,
    Claim,
    Enqueued,
    Job,
    LeaseLost,
    NewJob,
    Outcome,
    RetryPolicy,
    State,
    Store,
)

store = Store(
    "postgresql://localhost/jobs",
    prefix="jobs_",
    schema="work",
    lease=timedelta(seconds=10),
    retry=RetryPolicy.schedule([1, 5, timedelta(minutes=1)]),
    max_attempts=3,
    prepared=False,
)
new = NewJob(kind="mail", args={"to": [1, 2]}, delay=5, unique_key="a", tags=("x",), meta={"by": None})


def work() -> None:
    store.init()
    assert_type(store.enqueue(new), Enqueued)
    assert_type(store.enqueue_many([new, new]), list[Enqueued])
    claims = store.claim(limit=10, queues={"mail": 5, "default": 2}, kinds=["mail"], worker="me")
    assert_type(claims, list[Claim])
    for claim in claims:
        assert_type(claim.job, Job)
        outcome = store.complete(claim, {"sent": True})
        assert_type(outcome, Outcome)
        if not outcome and outcome.reason == "lost":
            raise LeaseLost
        outcome.or_raise()
    assert_type(store.complete_many(claims), list[Outcome])
    assert_type(store.extend(claims, lease=5), list[Outcome])
    store.fail(claims[0], "no", delay=timedelta(seconds=3))
    store.snooze(claims[0], 60)
    store.release_many(claims)
    store.cancel(7, "by hand")
    store.discard(claims[0])


def look() -> None:
    job = store.get(7)
    if job is not None:
        assert_type(job.state, State)
        assert_type(job.tags, tuple[str, ...])
    page = store.list(queue="mail", state=State.AVAILABLE, limit=10)
    while page.next is not None:
        page = store.list(queue="mail", state={State.AVAILABLE, State.RUNNING}, after=page.next)
        for job in page.jobs:
            assert_type(job, Job)
    assert_type(store.stats().total(State.RUNNING), int)
    assert_type(store.pause("mail"), bool)


async def work_async(app: App) -> None:
    other = AsyncStore("sqlite:///jobs.db", synchronous="NORMAL")
    await other.init()
    assert_type(await other.enqueue(new), Enqueued)
    claims = await other.claim(5, queues=["mail"])
    assert_type(claims, list[Claim])
    for claim in claims:
        assert_type(await other.complete(claim), Outcome)
    assert_type(app.store, Store)
    assert_type(app.async_store, AsyncStore)
    assert_type(store.asynchronous(), AsyncStore)
    await other.close()
    await app.aclose()
