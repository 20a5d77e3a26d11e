"""What the doctor finds: each thing made wrong for real, found with its remedy, and not found when it is mended."""

import contextlib
from collections.abc import Callable, Iterator

import psycopg
import pytest

from rowqueue import JobTable, NewJob, Store
from rowqueue.core.values import Finding
from tests.support.pooler import pooler
from tests.support.session import plain_url
from tests.support.stores import Raw, raw


@pytest.fixture
def opened() -> Iterator[Callable[..., Store]]:
    with contextlib.ExitStack() as stores:
        yield lambda url, **options: stores.enter_context(contextlib.closing(Store(url, **options)))


@pytest.fixture
def store(database_url: str, opened: Callable[..., Store]) -> Store:
    """Tables of its own, because other tests' transactions and settings are findings, too."""
    store = opened(database_url)
    store.init()
    return store


@pytest.fixture
def rows(database_url: str) -> Iterator[Raw]:
    with raw(database_url) as connection:
        yield connection


def wrong(store: Store) -> list[Finding]:
    found = [finding for finding in store.doctor() if not finding.ok]
    assert all(finding.remedy for finding in found)
    return found


def only(store: Store, check: str) -> Finding:
    (finding,) = wrong(store)
    assert finding.check == check
    return finding


def silence(rows: Raw, seconds: int = 120) -> None:
    rows.execute(f"UPDATE rowqueue_worker SET seen_at = seen_at - {seconds} * {rows.second}")


# jobs and workers


def test_a_queue_that_nobody_works(store: Store, rows: Raw):
    store.enqueue_many([NewJob(kind="k", queue="mail"), NewJob(kind="k", queue="mail")])
    assert wrong(store) == []  # it has only just come
    rows.pass_time(300)
    finding = only(store, "queue")
    assert "mail: 2 wait, the first for 5 min" in finding.message
    assert "--queue mail" in finding.remedy
    store.heartbeat("w", queues={"other": 1}, kinds=["k"])
    only(store, "queue")
    store.heartbeat("x", queues={"mail": 1}, kinds=["k"])
    assert wrong(store) == []
    silence(rows)
    assert {finding.check for finding in wrong(store)} == {"queue", "worker"}


def test_a_paused_queue_is_nobodys_fault(store: Store, rows: Raw):
    store.enqueue(NewJob(kind="k", queue="mail"))
    store.pause("mail")
    rows.pass_time(300)
    assert wrong(store) == []
    assert any("mail is paused, 1 jobs wait" in finding.message for finding in store.doctor())


def test_a_kind_that_nobody_knows(store: Store, rows: Raw):
    store.enqueue_many([NewJob(kind="old"), NewJob(kind="new"), NewJob(kind="later", delay=86_400)])
    store.heartbeat("w", queues={"default": 1}, kinds=["new"])
    store.heartbeat("v", queues={"mail": 1}, kinds=["old"])  # knows it, but works elsewhere
    assert wrong(store) == []
    rows.pass_time(300)
    assert "knows old: 1 jobs wait" in only(store, "kind").message
    store.snooze_unknown(store.claim(kinds=["old"]))  # what a worker does with it
    assert "knows old" in only(store, "kind").message
    store.forget_worker("v")
    store.heartbeat("v", queues={"default": 1}, kinds=["old"])
    assert wrong(store) == []


def test_a_worker_that_fell_silent(store: Store, rows: Raw):
    store.heartbeat("host-1", queues={"default": 1}, kinds=[])
    silence(rows, 30)
    assert wrong(store) == []
    silence(rows, 630)
    assert "host-1 was last heard of 11 min ago" in only(store, "worker").message


def test_jobs_that_nobody_looks_after(store: Store, rows: Raw):
    store.enqueue_many([NewJob(kind="k"), NewJob(kind="k", delay=60)])
    store.claim()
    store.heartbeat("w", queues={"default": 1}, kinds=["k"])
    rows.pass_time(110)  # the lease ended 80 s ago, the other was due 50 s ago
    assert "1 running jobs lost their worker" in only(store, "rescue").message
    rows.pass_time(30, 2)
    assert {finding.check for finding in wrong(store)} == {"rescue", "promote"}
    store.rescue()
    store.promote_due()
    assert wrong(store) == []


def test_without_the_tables_nothing_else_is_asked(store: Store, rows: Raw):
    rows.execute("ALTER TABLE rowqueue_job DROP COLUMN correlation_group")
    rows.execute("DROP TABLE rowqueue_log")
    messages = [finding.message for finding in wrong(store)]
    assert messages == ["rowqueue_job lacks correlation_group", "rowqueue_log is missing"]


async def test_the_async_store_has_the_same_doctor(store: Store, rows: Raw):
    store.heartbeat("host-1", queues={"default": 1}, kinds=[])
    silence(rows)
    asynchronous = store.asynchronous()
    assert [finding.check for finding in await asynchronous.doctor() if not finding.ok] == ["worker"]
    await asynchronous.close()


def test_a_table_of_the_users_is_left_to_check(store: Store, rows: Raw, database_url: str, opened):
    store.enqueue(NewJob(kind="k"))
    rows.pass_time(300)
    mapped = opened(database_url, table=JobTable("rowqueue_job"))
    assert all(finding.ok for finding in mapped.doctor())  # the mapping's own layout is no default table


# SQLite


def test_sqlite_synchronous(sqlite_url: str, opened: Callable[..., Store]):
    opened(sqlite_url).init()
    (full,) = [one for one in opened(sqlite_url).doctor() if one.check == "synchronous"]
    assert (full.ok, full.remedy) == (True, "")
    (normal,) = [
        one for one in opened(sqlite_url, synchronous="NORMAL").doctor() if one.check == "synchronous"
    ]
    assert "power loss" in normal.message
    assert normal.remedy


def test_sqlite_with_a_log_that_grows(
    sqlite_url: str, opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
):
    store = opened(sqlite_url)
    store.init()
    monkeypatch.setattr("rowqueue.store.health._WAL", 100_000)
    with raw(sqlite_url) as reader:
        reader.execute("BEGIN")
        reader.all()
        store.enqueue_many([NewJob(kind="k", args={"a": "x" * 1000}) for _ in range(200)])
        assert "-wal file" in only(store, "journal").message


# PostgreSQL


@pytest.fixture
def postgres(postgres_database: str, opened: Callable[..., Store]) -> Store:
    store = opened(postgres_database)
    store.init()
    return store


@pytest.fixture
def server(postgres_database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(plain_url(postgres_database), autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("schema", [None, 'My "Jobs"'])
def test_autovacuum(
    postgres_database: str, opened: Callable[..., Store], server: psycopg.Connection, schema: str | None
):
    store = opened(postgres_database, schema=schema)
    if schema:
        server.execute('CREATE SCHEMA "My ""Jobs"""')
    store.init()
    table = '"My ""Jobs""".rowqueue_job' if schema else "rowqueue_job"
    assert wrong(store) == []
    server.execute(f"ALTER TABLE {table} RESET (fillfactor, autovacuum_vacuum_threshold)")
    finding = only(store, "autovacuum")
    assert "lacks fillfactor, autovacuum_vacuum_threshold" in finding.message
    server.execute(finding.remedy)
    assert wrong(store) == []
    server.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")  # tuned by somebody who knows
    assert wrong(store) == []
    server.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
    finding = only(store, "autovacuum")
    assert "is off" in finding.message
    server.execute(finding.remedy)
    assert wrong(store) == []


def test_dead_rows(postgres: Store, server: psycopg.Connection):
    server.execute("ALTER TABLE rowqueue_job SET (autovacuum_vacuum_threshold = 10)")
    postgres.enqueue_many([NewJob(kind="k") for _ in range(300)])
    postgres.cancel_many(range(1, 301))
    assert wrong(postgres) == []
    server.execute("DELETE FROM rowqueue_job")
    server.execute("SELECT pg_stat_force_next_flush()")
    server.execute("SELECT 1")
    finding = only(postgres, "dead rows")
    assert "dead rows beside" in finding.message
    server.execute("VACUUM rowqueue_job")
    assert wrong(postgres) == []


def test_an_index_that_a_failed_reindex_left_behind(postgres: Store, server: psycopg.Connection):
    server.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'rowqueue_job_claim'::regclass")
    finding = only(postgres, "index")
    assert "rowqueue_job_claim is invalid" in finding.message
    server.execute(finding.remedy)
    assert wrong(postgres) == []


def test_a_long_transaction(postgres: Store, server: psycopg.Connection, monkeypatch: pytest.MonkeyPatch):
    with psycopg.connect(server.info.dsn, password=server.info.password, application_name="report") as other:
        other.execute("SELECT 'hunter2'")
        assert wrong(postgres) == []
        monkeypatch.setattr("rowqueue.store.health.LONG", 0.0)
        finding = only(postgres, "transaction")
        assert finding.message.startswith(
            f"{other.info.backend_pid} (postgres report, idle in transaction) has held"
        )
        assert "hunter2" not in finding.message
        assert f"pg_terminate_backend({other.info.backend_pid})" in finding.remedy
    assert wrong(postgres) == []


def test_transactions_that_may_not_be_seen_are_told(
    postgres: Store, server: psycopg.Connection, postgres_database: str, opened
):
    role = f"doctor_{server.info.backend_pid}"
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        server.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        server.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        store = opened(
            postgres_database.replace(plain_url(postgres_database).split("@")[0], f"postgresql://{role}:x")
        )
        findings = [one for one in store.doctor() if one.check == "transaction"]
        assert "cannot be seen" in findings[0].message
        assert "pg_read_all_stats" in findings[0].remedy
        store.close()
    finally:
        server.execute(f"DROP OWNED BY {role}")
        server.execute(f"DROP ROLE {role}")


def test_a_server_that_takes_no_writes(postgres: Store, postgres_database: str, opened):
    url = f"{postgres_database}?options=-c%20default_transaction_read_only%3Don"
    assert "takes no writes" in only(opened(url), "server").message


@pytest.mark.slow
def test_a_prepared_transaction_that_was_forgotten(private_postgres, opened, monkeypatch: pytest.MonkeyPatch):
    private_postgres.settings["max_prepared_transactions"] = 2
    private_postgres.restart()
    store = opened(private_postgres.url)
    store.init()
    monkeypatch.setattr("rowqueue.store.health.LONG", 0.0)
    with psycopg.connect(private_postgres.url, autocommit=True) as server:
        server.execute("BEGIN")
        server.execute("SELECT txid_current()")
        server.execute("PREPARE TRANSACTION 'lost'")
        finding = only(store, "transaction")
        assert "lost (postgres, prepared)" in finding.message
        server.execute("ROLLBACK PREPARED 'lost'")
    monkeypatch.undo()  # or a moment of autovacuum's is long, too
    assert wrong(store) == []


@pytest.mark.parametrize("prepared", [True, False])
def test_a_pooler_in_transaction_mode(postgres: Store, postgres_database: str, opened, prepared: bool):
    with pooler(plain_url(postgres_database)) as url:
        store = opened(url, prepared=prepared)
        (finding,) = [one for one in store.doctor() if one.check == "pooler"]
        assert "in transaction mode" in finding.message
        assert finding.ok is not prepared
        assert ("prepared=False" in finding.remedy) is prepared
        store.close()


def test_a_pooler_in_session_mode(postgres: Store, postgres_database: str, opened):
    with pooler(plain_url(postgres_database), session=True) as url:
        store = opened(url)
        (finding,) = [one for one in store.doctor() if one.check == "pooler"]
        assert finding.ok
        assert "session mode" in finding.message
        store.close()
    (finding,) = [one for one in postgres.doctor() if one.check == "pooler"]
    assert "none" in finding.message
