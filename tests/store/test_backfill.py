"""backfill: a job for every source row, once for each destination, by any number of creators at once."""

import asyncio
import contextlib
import threading
import tracemalloc
import uuid

import pytest
import sqlalchemy as sa

from rowqueue.core.backfill import Backfilled
from rowqueue.core.errors import ConfigurationError, InvalidArguments, SchemaTooOld
from rowqueue.core.states import State
from rowqueue.core.values import NewJob
from rowqueue.sql.migrations import CURRENT, MIGRATIONS
from rowqueue.sql.tables import tables
from rowqueue.store.database import driver_dialect
from rowqueue.store.store import Store
from tests.support.backfill_source import ALL, ITEMS, MORE, Source
from tests.support.stores import raw


@pytest.fixture
def source(tables_url):
    with contextlib.ExitStack() as stack:
        yield Source(tables_url, stack)


async def run(backfill, asynchronous, **options):
    return await backfill.run_async(**options) if asynchronous else backfill.run(**options)


async def test_each_row_gets_one_job(source, asynchronous):
    source.add(*range(-3, 20))
    index = source.app.jobs["index"]
    backfill = source.app.backfill("search", index, sa.select(ITEMS.c.id))
    assert backfill.remaining() == 23
    assert await run(backfill, asynchronous, batch=5) == Backfilled(23, ALL)
    assert source.queued() == list(range(-3, 20))
    assert await run(backfill, asynchronous) == Backfilled(0, ALL)
    assert (source.jobs(), backfill.remaining()) == (23, 0)
    assert source.raw.rows("SELECT * FROM rowqueue_backfill_range") == []
    await source.app.aclose()


async def test_an_empty_source_is_all_queued(source, asynchronous):
    call = source.app.jobs["index"].backfill_async if asynchronous else source.app.jobs["index"].backfill
    answer = call(sa.select(ITEMS.c.id), destination="search")
    assert (await answer if asynchronous else answer) == Backfilled(0, ALL)
    await source.app.aclose()


def test_new_rows_are_found_wherever_their_keys_are(source):
    source.add(10, 20, 30)
    assert source.backfill() == Backfilled(3, ALL)
    source.add(40, 5, 25)
    assert source.backfill() == Backfilled(3, ALL)
    assert source.queued() == [5, 10, 20, 25, 30, 40]


def test_rows_that_become_eligible_late_are_found(source):
    source.add(*range(9))
    source.raw.execute("UPDATE items SET ready = 0 WHERE id % 3 = 0")
    eligible = sa.select(ITEMS.c.id).where(ITEMS.c.ready == 1)
    index = source.app.jobs["index"]
    assert index.backfill(eligible, destination="search", batch=2) == Backfilled(6, ALL)
    source.raw.execute("UPDATE items SET ready = 1")
    assert index.backfill(eligible, destination="search", batch=2) == Backfilled(3, ALL)
    assert source.queued() == list(range(9))


def test_each_destination_has_its_own_jobs(source):
    source.add(1, 2, 3)
    assert source.backfill() == Backfilled(3, ALL)
    assert source.backfill(destination='it\'s; %s :x "é"') == Backfilled(3, ALL)
    assert source.backfill(destination='it\'s; %s :x "é"') == Backfilled(0, ALL)
    assert source.jobs() == 6


def test_a_pruned_job_does_not_make_its_row_run_again(source):
    source.add(1, 2, 3)
    source.backfill()
    store = source.app.store
    for claim in store.claim(3):
        assert store.complete(claim)
    assert store.prune(ages={State.COMPLETED: 0}) == 3
    assert source.jobs() == 0
    assert source.backfill() == Backfilled(0, ALL)
    assert source.jobs() == 0


def test_a_limit_is_the_most_and_the_rest_is_left_for_anybody(source):
    source.add(*range(10))
    assert source.backfill(limit=4) == Backfilled(4, MORE)
    assert source.backfill(limit=1) == Backfilled(1, MORE)
    assert source.queued() == [0, 1, 2, 3, 4]
    assert source.backfill(limit=50) == Backfilled(5, ALL)
    assert source.queued() == list(range(10))


def test_a_smaller_limit_takes_a_part_of_a_range_that_was_given_back(source):
    source.add(*range(10))
    with pytest.raises(ZeroDivisionError):
        source.backfill(args=lambda row: (row.id // 0,))
    assert source.backfill(limit=4) == Backfilled(4, MORE)
    assert source.queued() == [0, 1, 2, 3]
    (left,) = source.raw.rows("SELECT first_key, last_key, leased_until FROM rowqueue_backfill_range")
    assert left == {"first_key": "3", "last_key": "9", "leased_until": None}
    assert source.backfill() == Backfilled(6, ALL)
    assert source.queued() == list(range(10))


@pytest.mark.parametrize("key", ["id", "word", "uuid"])
def test_keys_may_be_numbers_text_or_uuids(source, key):
    words = ["ä", "a b", "it's", "100%", ":x", '"', "z", "Z", "", "1"]
    if key == "uuid":
        type_, values = sa.Uuid(), [uuid.uuid5(uuid.NAMESPACE_DNS, word) for word in words]
    else:
        type_, values = (
            sa.Text().with_variant(sa.String(20, collation="utf8mb4_bin"), "mariadb")
            if key == "word"
            else sa.Integer(),
            words if key == "word" else list(range(-5, 5)),
        )
    keyed = sa.Table(
        "keyed",
        sa.MetaData(),
        sa.Column("k", type_, primary_key=True, autoincrement=False),
        sa.Column("word", sa.Text),
    )
    engine = sa.create_engine(source.app.store.database.url)
    source.stack.callback(engine.dispose)
    source.stack.callback(keyed.drop, engine, checkfirst=True)
    with engine.begin() as connection:
        keyed.create(connection)
        connection.execute(keyed.insert(), [{"k": k, "word": w} for k, w in zip(values, words, strict=True)])
    read = source.app.jobs["read"]
    options = {"destination": "d", "args": lambda row: {"word": row.word}, "key": "k", "batch": 3}
    assert read.backfill(sa.select(keyed.c.word, keyed.c.k), **options) == Backfilled(10, ALL)
    assert read.backfill(sa.select(keyed.c.word, keyed.c.k), **options) == Backfilled(0, ALL)
    assert sorted(job.args["word"] for job in source.app.store.list().jobs) == sorted(words)


def test_a_row_that_a_join_repeats_has_one_job(source):
    source.add(1, 2, 3)
    other = ITEMS.alias("other")
    repeated = sa.select(ITEMS.c.id, other.c.word).select_from(ITEMS.join(other, sa.true()))
    made = source.app.jobs["index"].backfill(
        repeated, destination="search", args=lambda row: (row.id,), batch=2
    )
    assert made == Backfilled(3, ALL)
    assert source.queued() == [1, 2, 3]


def test_args_may_be_a_tuple_a_dict_or_the_job_s_own(source):
    source.add(1)
    index = source.app.jobs["index"]
    for number, args in enumerate(
        [None, lambda row: (row[0],), lambda row: {"id": row.id}, lambda row: index.args(row.id)]
    ):
        assert source.backfill(destination=f"d{number}", args=args) == Backfilled(1, ALL)
        assert source.queued(f"d{number}") == [1]
    with pytest.raises(InvalidArguments, match="gave a list: return"):
        source.backfill(destination="list", args=lambda row: [row.id])
    with pytest.raises(InvalidArguments):
        source.backfill(destination="wrong", args=lambda _row: ("x",))
    assert source.jobs() == 4


def test_options_of_the_job_are_those_of_every_job(source):
    source.add(1, 2)
    index = source.app.jobs["index"].options(queue="slow", priority=4, tags=["bulk"])
    assert index.backfill(sa.select(ITEMS.c.id), destination="d") == Backfilled(2, ALL)
    assert {(job.queue, job.priority, job.tags) for job in source.app.store.list().jobs} == {
        ("slow", 4, ("bulk",))
    }
    with pytest.raises(ConfigurationError, match="no unique_key"):
        index.options(unique_key="u").backfill(sa.select(ITEMS.c.id), destination="unique")


async def test_follow_keeps_up_with_new_rows(source, asynchronous):
    source.add(10, 20)

    def progress(created):
        if created == 2:
            source.add(30)
        if created == 3:
            source.add(5)  # before the cursor: found by looking through the source again

    backfill = source.app.backfill("search", source.app.jobs["index"], sa.select(ITEMS.c.id))
    options = {"follow": True, "limit": 4, "poll": 0.001, "rescan": 0, "progress": progress}
    assert await run(backfill, asynchronous, **options) == Backfilled(4, MORE)
    assert source.queued() == [5, 10, 20, 30]
    await source.app.aclose()


async def test_follow_ends_when_it_is_told_to_stop(source, asynchronous):
    source.add(1, 2)
    stop = asyncio.Event() if asynchronous else threading.Event()
    backfill = source.app.backfill("search", source.app.jobs["index"], sa.select(ITEMS.c.id))
    answer = await run(
        backfill, asynchronous, follow=True, poll=3600, stop=stop, progress=lambda _created: stop.set()
    )
    assert answer == Backfilled(2, MORE)
    await source.app.aclose()


def test_it_reads_and_writes_in_chunks(source):
    source.add(*range(6_000))
    seen = []
    tracemalloc.start()
    try:
        source.backfill(progress=seen.append, batch=200)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == list(range(200, 6_200, 200))
    assert peak < 4 * 1024 * 1024  # one batch of all takes 14 MiB


@pytest.mark.parametrize(
    "select, message",
    [
        ("SELECT id FROM items", "takes a SQLAlchemy select.*not str"),
        (sa.select(ITEMS.c.id).limit(3), "no LIMIT.*limit="),
        (sa.select(ITEMS.c.id).with_for_update(), "FOR UPDATE"),
        (sa.select(sa.cast(ITEMS.c.id, sa.Float).label("f")), "'f' is FLOAT.*integer, text or a UUID"),
        (sa.select(sa.column("id")), "integer, text or a UUID"),
    ],
)
def test_a_select_that_cannot_be_used_is_refused(source, select, message):
    with pytest.raises(ConfigurationError, match=message):
        source.app.jobs["index"].backfill(select, destination="search")


def test_wrong_options_are_refused_in_words(source):
    index, select = source.app.jobs["index"], sa.select(ITEMS.c.id)
    with pytest.raises(ConfigurationError, match=r"no column 'nope'.*there are id"):
        index.backfill(select, destination="d", key="nope")
    with pytest.raises(ConfigurationError, match="destination must have"):
        index.backfill(select, destination="")
    with pytest.raises(ConfigurationError, match="args must be a function"):
        index.backfill(select, destination="d", args=("id",))
    for options in ({"limit": 0}, {"batch": 0}, {"lease": 0}, {"poll": 0}):
        with pytest.raises(ConfigurationError):
            index.backfill(select, destination="d", **options)
    source.app.backfill("name", index, select)
    assert source.app.backfills["name"].destination == "name"
    with pytest.raises(ConfigurationError, match="backfill 'name' already"):
        source.app.backfill("name", index, select)


def test_a_database_of_version_1_is_upgraded(database_url):
    store = Store(database_url)
    with raw(database_url) as rows:
        for statement in MIGRATIONS[1](tables(), driver_dialect(store.database.url.drivername)):
            rows.execute(statement)
        now = {"sqlite": "0", "mariadb": "utc_timestamp()"}.get(rows.kind, "now()")
        rows.execute(f"INSERT INTO rowqueue_version (version, applied_at) VALUES (1, {now})")
        with pytest.raises(SchemaTooOld, match="run 'rowqueue init'"):
            store.enqueue(NewJob(kind="k"))
        rows.execute(
            "INSERT INTO rowqueue_job (kind, queue, state, priority, args, scheduled_at, max_attempts, created_at)"
            f" VALUES ('k', 'default', 'available', 2, '{{}}', {now}, 3, {now})"
        )
        assert store.init() == CURRENT
        assert [row["version"] for row in rows.rows("SELECT version FROM rowqueue_version ORDER BY 1")][
            -1
        ] == CURRENT
    job = store.get(1)
    assert job is not None
    assert job.kind == "k"
    schema = [finding for finding in store.doctor() if finding.check in {"schema", "columns", "index"}]
    assert len(schema) > len(tables().metadata.sorted_tables)
    assert [finding for finding in schema if not finding.ok] == []
    store.close()
