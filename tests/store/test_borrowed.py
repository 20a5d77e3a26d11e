"""Enqueue and complete in the caller's transaction: visible exactly when it commits (reliability #22)."""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from rowqueue.core.errors import ConfigurationError, InvalidArguments, TransactionConflict
from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from tests.support.borrowing import WAYS, settle
from tests.support.session import ROOT, plain_url
from tests.support.stores import Raw, raw

CELLS = [(database, way) for database, ways in WAYS.items() for way in ways]
ENDS = ["commit", "rollback", "savepoint", "exception"]


class OurError(Exception):
    pass


@pytest.fixture
def url(request: pytest.FixtureRequest, database: str) -> str:
    name = {"sqlite": "sqlite_tables", "postgresql": "postgres_tables", "mariadb": "mariadb_tables"}[database]
    url: str = request.getfixturevalue(name)
    with raw(url) as rows:
        rows.execute("DROP TABLE IF EXISTS app_row")
        rows.execute("CREATE TABLE app_row (n integer)")
    return url


@pytest.fixture
def rows(url: str) -> Iterator[Raw]:
    with raw(url) as rows:
        yield rows


@pytest.fixture
def borrowing_store(url: str) -> Iterator[Store]:
    with contextlib.closing(Store(url)) as store:
        yield store


def seen(rows: Raw) -> tuple[int, set[str]]:
    """What another connection sees: the application's rows, and jobs."""
    (row,) = rows.rows("SELECT count(*) AS n FROM app_row")
    return row["n"], {row["kind"] for row in rows.all().values()}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("database, way", CELLS)
async def test_a_job_is_there_exactly_when_the_callers_transaction_commits(
    database, way, end, url, rows, borrowing_store, publish
):
    store = borrowing_store
    async with WAYS[database][way](url) as borrowed:
        if end == "commit":
            await borrowed.write(1)
            done = await borrowed.enqueue(store, "one")
            assert done.inserted
            assert seen(rows) == (0, set())
            await borrowed.commit()
            assert seen(rows) == (1, {"one"})
            assert store.get(done.job.id) == done.job
        elif end == "rollback":
            await borrowed.write(1)
            await borrowed.enqueue(store, "one")
            await borrowed.rollback()
            assert seen(rows) == (0, set())
        elif end == "savepoint":
            await borrowed.write(1)
            await borrowed.enqueue(store, "kept")
            with contextlib.suppress(OurError):
                async with borrowed.savepoint():
                    await borrowed.write(2)
                    await borrowed.enqueue(store, "undone")
                    raise OurError
            async with borrowed.savepoint():
                await borrowed.enqueue(store, "kept, too")
            await borrowed.commit()
            assert seen(rows) == (1, {"kept", "kept, too"})
        else:
            await borrowed.write(1)
            await borrowed.enqueue(store, "one")
            with pytest.raises(InvalidArguments):  # ours, before anything is written: the transaction goes on
                await settle(store.on(borrowed.connection).enqueue(NewJob(kind="k", args={"a": b"x"})))
            await borrowed.enqueue(store, "two")
    # the exception left the block without a commit
    if end == "exception":
        assert seen(rows) == (0, set())
    publish(
        "#22",
        "a job enqueued in the caller's transaction, by each kind of connection and each end of the transaction",
        "the job is seen exactly when the transaction committed",
        value=0,
        bound="wrong = 0",
        promise=2,
    )


@pytest.mark.parametrize("database, way", CELLS)
async def test_a_completion_counts_exactly_when_the_callers_transaction_commits(
    database, way, url, rows, borrowing_store
):
    store = borrowing_store
    store.enqueue_many([NewJob(kind="k") for _ in range(3)])
    one, two, stale = store.claim(3)
    async with WAYS[database][way](url) as borrowed:
        await borrowed.write(1)
        outcome = await borrowed.complete(store, one)
        assert (outcome.done, outcome.state) == (True, "completed")
        assert rows.row(one.key)["state"] == "running"
        await borrowed.commit()
    assert store.get(one.key).result == "done"
    async with WAYS[database][way](url) as borrowed:
        await borrowed.write(2)
        assert await borrowed.complete(store, two)
        await borrowed.rollback()
    assert rows.row(two.key)["state"] == "running"
    store.release(stale)
    (fresh,) = store.claim()
    async with WAYS[database][way](url) as borrowed:
        await borrowed.write(3)
        outcome = await borrowed.complete(store, stale)
        assert (outcome.reason, outcome.lease) == ("lost", fresh.lease)
        await borrowed.rollback()
    assert rows.row(fresh.key)["state"] == "running"
    assert seen(rows)[0] == 1


@pytest.mark.parametrize("database, way", CELLS)
async def test_a_batch_and_a_taken_key_in_the_callers_transaction(database, way, url, rows, borrowing_store):
    store = borrowing_store
    held = store.enqueue(NewJob(kind="held", unique_key="u")).job
    async with WAYS[database][way](url) as borrowed:
        bound = store.on(borrowed.connection)
        jobs = [
            NewJob(kind="a", delay=60),
            NewJob(kind="b", unique_key="u"),
            NewJob(kind="c", unique_key="v"),
        ]
        answers = await settle(bound.enqueue_many(jobs))
        assert [answer.inserted for answer in answers] == [True, False, True]
        assert answers[1].job == held
        again = await settle(bound.enqueue(NewJob(kind="d", unique_key="v")))
        assert (again.inserted, again.job.id) == (False, answers[2].job.id)
        await borrowed.commit()
    assert seen(rows)[1] == {"held", "a", "c"}


@pytest.mark.parametrize("database", list(WAYS))
def test_a_process_killed_before_its_commit_leaves_nothing(database, url, rows, publish):
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.borrowing", url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(len(WAYS[database]))
    assert seen(rows) == (0, set())
    publish(
        "#22",
        "a process killed before its commit, by each kind of connection",
        f"{len(WAYS[database])} kinds of connection, no row and no job left",
        value=rows.count(),
        bound="jobs left = 0",
        promise=2,
    )


@pytest.mark.parametrize("database", ["postgresql"])
async def test_a_conflict_on_a_borrowed_connection_is_the_callers(database, url, borrowing_store):
    """Repeating our statement alone would drop the caller's work, so it is a typed error that says so."""
    store = borrowing_store
    store.enqueue(NewJob(kind="k", unique_key="u", pending=True))
    with contextlib.closing(psycopg.connect(plain_url(url))) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT 1 FROM rowqueue_job")
        store.enqueue(NewJob(kind="k", unique_key="v", pending=True))
        with pytest.raises(TransactionConflict, match="run it again from its start"):
            store.on(connection).enqueue(NewJob(kind="k", unique_key="v"))


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_what_is_no_connection_of_this_database_is_refused_in_words(database, url, borrowing_store, tmp_path):
    with pytest.raises(ConfigurationError, match=r"on\(\) takes a SQLAlchemy Session"):
        borrowing_store.on(object())
    with pytest.raises(ConfigurationError, match=r"on\(\) takes"):
        borrowing_store.on(url)
    if database == "postgresql":
        with (
            contextlib.closing(sqlite3.connect(tmp_path / "x.db")) as connection,
            pytest.raises(ConfigurationError, match="to sqlite, but this store's database is postgresql"),
        ):
            borrowing_store.on(connection)
