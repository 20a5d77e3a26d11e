"""Telling idle workers of new jobs: once for a queue, when the transaction commits, and only if one is idle."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from rowqueue.core.finish import Finish
from rowqueue.core.states import State, Verb
from rowqueue.core.values import NewJob
from rowqueue.operations.wake import look, say_idle
from rowqueue.sql.statements.wake import channel_of, read_payload
from rowqueue.sql.tables import tables
from rowqueue.store.async_store import AsyncStore
from rowqueue.store.store import Store
from tests.support.borrowing import WAYS
from tests.support.faulty import faulty_store
from tests.support.listening import Ears, ears
from tests.support.stores import raw

HOUR = timedelta(hours=1)


@pytest.fixture
def store(postgres_tables: str) -> Iterator[Store]:
    with contextlib.closing(Store(postgres_tables)) as store:
        yield store


@pytest.fixture
def listening(postgres_tables: str) -> Iterator[Ears]:
    with ears(postgres_tables) as listening:
        yield listening


def job(queue: str = "mail", **options) -> NewJob:
    return NewJob(kind="k", queue=queue, **options)


def test_nobody_is_told_while_nobody_is_idle(store, listening, postgres_tables):
    store.enqueue(job())
    store.enqueue_many([job(), job("other")])
    store.run(say_idle("one", {"mail": 30.0, "other": 30.0}))
    store.run(say_idle("one", {"mail": 0.0, "other": 0.0}))
    store.enqueue(job())
    store.run(say_idle("two", {"mail": 30.0}))
    with raw(postgres_tables) as rows:  # it was not heard of since
        rows.execute("UPDATE rowqueue_idle SET idle_until = now()")
    store.enqueue(job())
    assert listening.heard() == []


def test_an_idle_worker_is_told_of_its_queues_only(store, listening):
    store.run(say_idle("one", {"mail": 30.0}))
    store.run(say_idle("two", {"mail": 30.0, "bills": 30.0}))
    store.enqueue(job())
    store.enqueue(job("other"))
    store.enqueue(job(delay=HOUR))
    store.enqueue(job(pending=True))
    assert listening.heard() == ["available mail", "scheduled mail"]
    store.enqueue_many(
        [job(), job("bills"), job("other"), job(), job("bills", delay=HOUR), job("bills", pending=True)]
    )
    assert sorted(listening.heard()) == ["available bills", "available mail", "scheduled bills"]


def test_a_job_that_was_there_already_is_no_news(store, listening):
    store.run(say_idle("one", {"mail": 30.0}))
    store.enqueue(job(unique_key="u"))
    assert listening.heard() == ["available mail"]
    store.enqueue(job(unique_key="u"))
    store.enqueue_many([job(unique_key="u"), job("other", unique_key="v")])
    assert listening.heard() == []


async def test_an_async_store_tells_too(postgres_tables, listening):
    store = AsyncStore(postgres_tables)
    await store.run(say_idle("one", {"mail": 30.0}))
    await store.enqueue(job())
    await store.enqueue_many([job(), job()])
    await store.close()
    assert listening.heard() == ["available mail", "available mail"]


def test_what_becomes_available_is_told(store, listening):
    store.run(say_idle("one", {"mail": 30.0}))
    later = store.enqueue(job(delay=HOUR)).job
    parked = store.enqueue(job(pending=True)).job
    assert listening.heard() == ["scheduled mail"]
    store.promote(later.id)
    store.promote(parked.id)
    assert listening.heard() == ["available mail"] * 2
    first, second = store.claim(2)
    store.release(first)
    store.fail(second, "no", state=State.AVAILABLE, delay=0)
    assert listening.heard() == ["available mail"] * 2
    first, second = store.claim(2)
    store.finish([Finish(first, Verb.COMPLETE), Finish(second, Verb.RELEASE)])
    assert listening.heard() == ["available mail"]
    store.retry(first.key)
    store.pause("mail")
    assert listening.heard() == ["available mail"]
    store.resume("mail")
    assert listening.heard() == ["available mail"]
    claims = store.claim(2)
    store.complete_many(claims)
    assert listening.heard() == []


def test_promoted_and_rescued_jobs_are_told(store, listening, postgres_tables):
    store.run(say_idle("one", {"mail": 30.0}))
    store.enqueue(job(delay=HOUR))
    with raw(postgres_tables) as rows:
        rows.pass_time(7200)
        listening.heard()
        assert store.promote_due() == {"mail": 1}
        assert listening.heard() == ["available mail"]
        assert len(store.claim()) == 1
        rows.pass_time(7200)
    assert len(store.rescue()) == 1
    assert listening.heard() == ["available mail"]


@pytest.mark.parametrize("end", ["commit", "rollback", "savepoint"])
@pytest.mark.parametrize("way", WAYS["postgresql"])
async def test_a_callers_transaction_tells_when_it_commits(way, end, store, listening, postgres_tables):
    store.run(say_idle("one", {"default": 30.0}))
    async with WAYS["postgresql"][way](postgres_tables) as borrowed:
        if end == "savepoint":
            with contextlib.suppress(ZeroDivisionError):
                async with borrowed.savepoint():
                    await borrowed.enqueue(store, "k")
                    raise ZeroDivisionError
        else:
            await borrowed.enqueue(store, "k")
            await borrowed.enqueue(store, "k")
        assert listening.heard() == []
        await (borrowed.rollback if end == "rollback" else borrowed.commit)()
    assert listening.heard() == (["available default"] if end == "commit" else [])


def test_an_enqueue_takes_one_round_trip_while_nobody_is_idle(postgres_tables):
    store, faults = faulty_store(postgres_tables)
    with contextlib.closing(store):
        store.enqueue(job())
        store.run(say_idle("one", {"mail": 30.0}))
        faults.watch()
        store.enqueue(job("other"))
        store.enqueue_many([job("other"), job("bills")])
        assert len(faults.seen) == 4  # INSERT; BEGIN, INSERT, COMMIT
        assert not {"wake", "tell"} & set(faults.seen)
        faults.watch()
        store.enqueue_many([job("other"), job()])
        assert faults.seen[-2:] == ["COMMIT", "tell"]


def test_a_wake_that_fails_fails_nobody(postgres_tables):
    store, faults = faulty_store(postgres_tables)
    with contextlib.closing(store):
        store.enqueue(job())
        store.run(say_idle("one", {"mail": 30.0}))
        faults.watch(1)
        assert store.enqueue(job()).inserted
        assert faults.struck
        assert store.stats().total(State.AVAILABLE) == 2


def test_a_callers_transaction_takes_one_round_trip(store, listening, postgres_tables):
    store.run(say_idle("one", {"mail": 30.0}))
    sent: list[str] = []

    class Counting(psycopg.Cursor):
        def execute(self, query, *args, **options):
            sent.append(query)
            return super().execute(query, *args, **options)

    with psycopg.connect(postgres_tables.replace("+psycopg", "")) as connection:
        connection.cursor_factory = Counting
        store.on(connection).enqueue(job())
        store.on(connection).enqueue_many([job(), job("bills")])
    assert [query.split()[0] for query in sent] == ["INSERT", "INSERT"]
    assert listening.heard() == ["available mail"]


def test_a_worker_that_is_gone_is_idle_no_more(store, listening, postgres_tables):
    store.run(say_idle("one", {"mail": 30.0}))
    store.forget_worker("one")
    store.enqueue(job())
    assert listening.heard() == []
    store.run(say_idle("two", {"mail": 30.0}))
    with raw(postgres_tables) as rows:
        rows.execute("UPDATE rowqueue_idle SET idle_until = now() - interval '1 hour'")
        store.forget_silent_workers(300)
        assert rows.rows("SELECT * FROM rowqueue_idle") == []


def test_stores_of_another_prefix_or_schema_do_not_hear_each_other():
    names = {
        channel_of(tables(prefix, schema))
        for prefix in ("rowqueue_", "other_")
        for schema in (None, "app", "Ünï cödé " * 4, "x" * 63)
    }
    assert len(names) == 8
    assert all(len(name.encode()) <= 63 for name in names)


def test_a_store_in_a_schema_of_any_name_tells(new_postgres_database):
    schema = 'Wäke "it\'s" :x'
    url = new_postgres_database()
    with contextlib.closing(Store(url, schema=schema, prefix="p_")) as store:
        store.init()
        store.run(say_idle("one", {"mail: 100% ☃": 30.0}))
        with ears(url, channel_of(store.tables).replace('"', '""')) as listening:
            store.enqueue(job("mail: 100% ☃"))
            told = [*listening._connection.notifies(timeout=10, stop_after=1)]
    assert [notify.payload for notify in told] == ["available mail: 100% ☃"]


def test_what_is_told_can_be_read_and_nothing_else_can():
    assert read_payload("available a b  c") == (State.AVAILABLE, "a b  c")
    assert read_payload("scheduled x") == (State.SCHEDULED, "x")
    for strange in ("", "mail", "available ", "running mail", "nonsense mail"):
        assert read_payload(strange) is None


async def test_a_look_shows_queues_with_ready_jobs_and_the_next_due_time(tables_url, make_store):
    store = make_store()
    nothing = await store.run(look(["a", "b"]))
    assert (nothing.ready, nothing.due) == ((), None)
    other = make_store()
    await other.enqueue_many([job("a"), job("b"), job("c"), job("a", delay=60), job("c", delay=30)])
    seen = await store.run(look(["b", "a", "z"]))
    assert sorted(seen.ready) == ["a", "b"]
    assert 20 < seen.due <= 30
    await other.pause("a")
    assert (await store.run(look(["b", "a", "z"]))).ready == ("b",)
