"""init and the check at start: missing, too old, too new, twice, at once, under other names."""

import contextlib
import functools

import pytest

from rowqueue.core.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    SchemaMissing,
    SchemaTooNew,
    SchemaTooOld,
)
from rowqueue.core.values import NewJob
from rowqueue.sql.migrations import CURRENT
from rowqueue.store.store import Store
from tests.support import nursery
from tests.support.stores import open_store, raw


@pytest.fixture
async def opened(asynchronous):
    async with contextlib.AsyncExitStack() as stack:

        def make(url, **options):
            store = open_store(url, asynchronous=asynchronous, **options)
            stack.push_async_callback(store.close)
            return store

        yield make


async def test_without_tables_every_verb_says_what_to_do(database_url, opened):
    store = opened(database_url)
    for _ in range(2):
        with pytest.raises(SchemaMissing, match=r"no table rowqueue_job .*run 'rowqueue init'"):
            await store.enqueue(NewJob(kind="k"))
    with pytest.raises(SchemaMissing):
        await store.check_schema()
    findings = await store.doctor()
    assert not findings[0].ok
    assert "rowqueue init" in findings[0].remedy
    assert await store.init() == CURRENT
    assert (await store.enqueue(NewJob(kind="k"))).inserted


async def test_tables_that_vanish_while_we_work_are_a_typed_error(database_url, opened):
    store = opened(database_url)
    await store.init()
    with raw(database_url) as rows:
        rows.execute("DROP TABLE rowqueue_job")
    with pytest.raises(SchemaMissing, match="rowqueue init"):
        await store.enqueue(NewJob(kind="k"))


async def test_too_new_tables_are_refused_and_not_touched(database_url, opened):
    await opened(database_url).init()
    with raw(database_url) as rows:
        rows.execute(f"UPDATE rowqueue_version SET version = {CURRENT + 1}")
    store = opened(database_url)
    for verb in (store.check_schema, store.init, store.stats):
        with pytest.raises(SchemaTooNew, match=f"version {CURRENT + 1}.*upgrade rowqueue"):
            await verb()


async def test_too_old_tables_are_refused(database_url, opened, monkeypatch):
    await opened(database_url).init()
    monkeypatch.setattr("rowqueue.operations.schema.CURRENT", CURRENT + 1)
    store = opened(database_url)
    with pytest.raises(SchemaTooOld, match="run 'rowqueue init'"):
        await store.enqueue(NewJob(kind="k"))


async def test_init_again_keeps_the_rows(database_url, opened):
    store = opened(database_url)
    await store.init()
    key = (await store.enqueue(NewJob(kind="k"))).job.id
    assert await store.init() == CURRENT
    assert await opened(database_url).init() == CURRENT
    assert (await store.get(key)).kind == "k"
    assert all(finding.ok for finding in await store.doctor())


async def test_the_doctor_finds_a_missing_index_and_gives_the_remedy(database_url, opened):
    store = opened(database_url)
    await store.init()
    with raw(database_url) as rows:
        where = " ON rowqueue_job" if rows.kind == "mariadb" else ""
        rows.execute(f"DROP INDEX rowqueue_job_claim{where}")
        (bad,) = [finding for finding in await store.doctor() if not finding.ok]
        assert "rowqueue_job_claim is missing" in bad.message
        rows.execute(bad.remedy)
    assert all(finding.ok for finding in await store.doctor())


def test_processes_may_init_at_once(database_url):
    with contextlib.ExitStack() as stack:
        start = functools.partial(nursery.start, "tests.support.initialising", database_url)
        processes = [stack.enter_context(start(stdin=nursery.PIPE, stdout=nursery.PIPE)) for _ in range(4)]
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
        for process in processes:
            process.stdin.close()
        assert [process.stdout.read() for process in processes] == [f"{CURRENT}\n"] * 4
        assert [process.wait(60) for process in processes] == [0] * 4
    with raw(database_url) as rows:
        assert rows.rows("SELECT version FROM rowqueue_version") == [{"version": CURRENT}]


async def test_another_prefix_is_another_queue(database_url, opened):
    one, two = opened(database_url), opened(database_url, prefix="other_")
    await one.init()
    with pytest.raises(SchemaMissing, match="other_job"):
        await two.stats()
    await two.init()
    await one.enqueue(NewJob(kind="one"))
    await two.enqueue_many([NewJob(kind="two"), NewJob(kind="two", unique_key="u")])
    (claim,) = await one.claim(9)
    assert claim.job.kind == "one"
    claims = await two.claim(9)
    assert [claim.job.kind for claim in claims] == ["two"] * 2
    assert all(await two.complete_many(claims))
    with raw(database_url, "other_job") as rows:
        assert rows.count("state = 'completed'") == 2


async def test_another_schema_is_another_queue(postgres_database, opened):
    here, there = opened(postgres_database), opened(postgres_database, schema="jobs of ours")
    await here.init()
    with pytest.raises(SchemaMissing):
        await there.stats()
    await there.init()
    await there.enqueue(NewJob(kind="there", unique_key="u"))
    assert not (await there.enqueue(NewJob(kind="there", unique_key="u"))).inserted
    assert await here.claim(9) == []
    (claim,) = await there.claim(9)
    await there.add_log(claim, "x")
    assert await there.complete(claim)
    assert await there.delete(claim.key)
    assert (await there.stats()).queues == ()
    assert all(finding.ok for finding in await there.doctor())


async def test_sqlite_has_no_schemas(sqlite_url, opened):
    with pytest.raises(ConfigurationError, match="schema"):
        opened(sqlite_url, schema="jobs")


def test_a_file_that_cannot_be_opened_is_a_typed_error(tmp_path):
    with (
        contextlib.closing(Store(f"sqlite:///{tmp_path}/none/jobs.db")) as store,
        pytest.raises(DatabaseUnavailable, match="cannot be opened"),
    ):
        store.init()


def test_a_server_that_is_not_there_is_a_typed_error_without_the_password():
    with (
        contextlib.closing(Store("postgresql://me:s3cret@127.0.0.1:1/none")) as store,
        pytest.raises(DatabaseUnavailable) as refused,
    ):
        store.init()
    assert "s3cret" not in str(refused.value)
    assert "s3cret" not in repr(store)
