"""backfill by several creators: ranges are leased, shared, lost and taken back, and each job is made once."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from rowqueue.core.backfill import Backfilled
from rowqueue.core.errors import StoreError
from rowqueue.operations.base import Operation
from tests.support.backfill_source import ALL, HELD, ITEMS, MORE, Source


@pytest.fixture
def source(tables_url):
    with contextlib.ExitStack() as stack:
        yield Source(tables_url, stack)


def test_who_finds_all_ranges_taken_is_told_that_others_hold_the_rest(source):
    source.add(*range(5))
    answers = []

    def args(row):
        if not answers:  # in the middle of the only range
            answers.append(
                source.new_app().jobs["index"].backfill(sa.select(ITEMS.c.id), destination="search")
            )
        return (row.id,)

    assert source.backfill(args=args) == Backfilled(5, ALL)
    assert answers == [Backfilled(0, HELD)]
    assert str(answers[0]) == "created 0, others hold the rest"


def test_creators_share_what_is_left(source):
    source.add(*range(10))
    answers = []

    def args(row):
        if not answers:
            answers.append(
                source.new_app().jobs["index"].backfill(sa.select(ITEMS.c.id), destination="search", batch=4)
            )
        return (row.id,)

    assert source.backfill(args=args, batch=4) == Backfilled(4, ALL)
    assert answers == [Backfilled(6, HELD)]
    assert source.queued() == list(range(10))


def test_two_creators_that_look_at_once_do_not_take_the_same_range(source):
    source.add(*range(5))
    backfill = source.app.backfill("search", source.app.jobs["index"], sa.select(ITEMS.c.id))
    works = [backfill._work(None, False, 1000, 60.0, 1.0, 60.0, None, lambda: False) for _ in range(2)]
    run = source.app.store.run
    for work in works:
        run(next(work))
    looks = [work.send(run(work.send(None))) for work in works]  # begun, nothing to take back: look
    advances = [work.send(run(look)) for work, look in zip(works, looks, strict=True)]
    taken = [run(advance) for advance in advances]
    assert [one is None for one in taken] == [False, True]
    assert len(source.raw.rows("SELECT * FROM rowqueue_backfill_range")) == 1


def test_a_dead_creators_range_returns_after_its_lease(source):
    source.add(*range(5))
    work = source.app.backfill("search", source.app.jobs["index"], sa.select(ITEMS.c.id))._work(
        None, False, 1000, 60.0, 1.0, 60.0, None, lambda: False
    )
    answer = None
    while not source.raw.rows("SELECT * FROM rowqueue_backfill_range"):  # up to where it has its range
        step = work.send(answer)
        assert isinstance(step, Operation)
        answer = source.app.store.run(step)
    work.close()
    assert source.backfill() == Backfilled(0, HELD)
    expire(source)
    assert source.backfill() == Backfilled(5, ALL)
    assert source.queued() == list(range(5))


def expire(source):
    past = f"leased_until - 3600 * {source.raw.second}"
    source.raw.execute(f"UPDATE rowqueue_backfill_range SET leased_until = {past}")


def test_a_creator_that_lost_its_range_makes_nothing_twice(source):
    source.add(*range(6))
    answers = []

    def args(row):
        if not answers:
            expire(source)
            answers.append(
                source.new_app().jobs["index"].backfill(sa.select(ITEMS.c.id), destination="search", limit=4)
            )
        return (row.id,)

    assert source.backfill(args=args) == Backfilled(2, ALL)
    assert answers == [Backfilled(4, MORE)]
    assert source.queued() == list(range(6))
    assert source.jobs() == 6
    assert source.backfill() == Backfilled(0, ALL)


def test_a_function_that_fails_gives_its_range_back(source):
    source.add(*range(10))

    def args(row):
        if row.id == 7:
            raise ZeroDivisionError
        return (row.id,)

    with pytest.raises(ZeroDivisionError):
        source.backfill(args=args, batch=5)
    assert source.queued() == [0, 1, 2, 3, 4]
    assert source.backfill() == Backfilled(5, ALL)


async def test_a_cancelled_creator_gives_its_range_back(source):
    source.add(*range(10))

    def args(row):
        task.cancel()
        return (row.id,)

    task = asyncio.ensure_future(
        source.app.jobs["index"].backfill_async(sa.select(ITEMS.c.id), destination="search", args=args)
    )
    with pytest.raises(asyncio.CancelledError):
        await task
    await source.app.aclose()
    assert source.backfill().rest is ALL
    assert source.queued() == list(range(10))


def test_job_and_ledger_entry_are_written_together(source):
    source.add(1, 2, 3)
    if source.raw.is_sqlite:
        source.raw.execute(
            "CREATE TRIGGER no BEFORE INSERT ON rowqueue_backfill BEGIN SELECT RAISE(ABORT, 'no') ; END"
        )
    else:
        source.raw.execute("ALTER TABLE rowqueue_backfill ADD CONSTRAINT no CHECK (source_key <> '3')")
    with pytest.raises(StoreError):
        source.backfill()
    assert source.jobs() == 0
    source.raw.execute(
        "DROP TRIGGER no" if source.raw.is_sqlite else "ALTER TABLE rowqueue_backfill DROP CONSTRAINT no"
    )
    assert source.backfill() == Backfilled(3, ALL)
    assert source.jobs() == 3


def test_six_creators_make_each_job_once(source):
    source.add(*range(3000))
    apps = [source.new_app() for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        calls = [
            threads.submit(app.jobs["index"].backfill, sa.select(ITEMS.c.id), destination="search", batch=50)
            for app in apps
        ]
        answers = [call.result() for call in calls]
    assert sum(answer.created for answer in answers) == 3000
    assert {answer.rest for answer in answers} <= {ALL, HELD}
    assert source.backfill() == Backfilled(0, ALL)
    assert source.queued() == list(range(3000))
    assert source.jobs() == 3000


def test_who_was_slower_asks_for_more_and_leaves_what_it_does_not_need(source):
    source.add(*range(12))
    backfill = source.app.backfill("search", source.app.jobs["index"], sa.select(ITEMS.c.id))
    works = [backfill._work(None, False, 2, 60.0, 1.0, 60.0, None, lambda: False) for _ in range(2)]
    run = source.app.store.run
    for work in works:
        run(next(work))
    looks = [work.send(run(work.send(None))) for work in works]
    advances = [work.send(run(look)) for work, look in zip(works, looks, strict=True)]
    taken = [run(advance) for advance in advances]
    step = works[1].send(taken[1])
    while len(source.raw.rows("SELECT * FROM rowqueue_backfill_range")) < 2:
        step = works[1].send(run(step))
    first, second = source.raw.rows("SELECT first_key, last_key FROM rowqueue_backfill_range ORDER BY id")
    assert (first["first_key"], first["last_key"]) == ("0", "1")
    assert (second["first_key"], second["last_key"]) == ("2", "5"), "twice as much"
    for work in works:
        work.close()  # both die
    expire(source)
    assert source.backfill(batch=2) == Backfilled(12, ALL)
    assert source.queued() == list(range(12))
