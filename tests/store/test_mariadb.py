"""What is MariaDB's own: locks in three steps, JSON that it checks, sessions of the caller's, a server that dies."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rowqueue.core.errors import (
    ConfigurationError,
    DatabaseBusy,
    DatabaseUnavailable,
    InvalidArguments,
    TransactionConflict,
)
from rowqueue.core.states import Verb
from rowqueue.core.values import NewJob
from rowqueue.operations import operate
from rowqueue.sql.dialects.json_table import GivenRows
from rowqueue.store import AsyncStore
from rowqueue.store.database import Database
from rowqueue.store.store import Store
from tests.support.mariadb import connect
from tests.support.private_mariadb import PrivateMariaDB, missing_program
from tests.support.stores import raw
from tests.support.together import finish_in_any_order, together
from tests.support.waiting import wait_until

RACE_ROWS = int(os.environ.get("ROWQUEUE_RACE_ROWS", "2000"))
KILL_JOBS = int(os.environ.get("ROWQUEUE_MARIADB_KILL_JOBS", "1500"))


@pytest.fixture
def store(mariadb_tables: str) -> Iterator[Store]:
    with contextlib.closing(Store(mariadb_tables)) as store:
        yield store


@contextlib.contextmanager
def borrowed(url: str, *settings: str) -> Iterator[Any]:
    with contextlib.closing(connect(url)) as connection:
        for setting in settings:
            connection.query(f"SET SESSION {setting}")
        yield connection


# claims and finishes by many


@pytest.mark.slow
def test_eight_claimers_that_finish_in_any_order_take_each_row_once(
    mariadb_tables: str, store: Store, publish
) -> None:
    """Large: ROWQUEUE_RACE_ROWS=20000."""
    for _ in range(RACE_ROWS // 1000):
        store.enqueue_many([NewJob(kind="k", priority=1 + n % 3) for n in range(1000)])
    began = time.monotonic()
    answers = together(finish_in_any_order, 8, timeout=110, url=mariadb_tables, batch=20)
    claimed = Counter(key for answer in answers for key in answer["keys"])
    retries = sum(answer["retries"] for answer in answers)
    took = time.monotonic() - began
    assert len(claimed) == RACE_ROWS
    assert set(claimed.values()) == {1}
    with raw(mariadb_tables) as rows:
        assert rows.count("state = 'completed' AND attempt = 1 AND lease = 1") == RACE_ROWS
    publish(
        "#5",
        "eight processes claim at once and finish in any order",
        f"{RACE_ROWS:,} rows in {took:.1f} s, each claimed once; {retries} transactions were run again",
        value=claimed.total() - RACE_ROWS,
        bound="claims too many = 0",
        promise=3,
    )


# what is stored


def test_json_that_the_database_would_not_check_is_refused_by_name(store: Store) -> None:
    deep: Any = []
    for _ in range(29):
        deep = [deep]
    assert store.enqueue(NewJob(kind="k", args={"deep": deep})).inserted
    with pytest.raises(InvalidArguments, match="deeper than the 31 levels that MariaDB checks"):
        store.enqueue(NewJob(kind="k", args={"deep": [deep]}))
    with pytest.raises(InvalidArguments, match="deeper"):
        store.enqueue_many([NewJob(kind="k"), NewJob(kind="k", args={"deep": [deep]}, unique_key="u")])
    assert store.enqueue(NewJob(kind="k", args={"text": "[" * 40})).inserted, "brackets in text nest nothing"


def test_a_batch_that_is_larger_than_a_packet_goes_in_parts(store: Store) -> None:
    text = 'ä"\\' * 20_000  # 80,000 bytes, and several times that when it is written out
    jobs = [NewJob(kind="k", args={"n": n, "text": text}) for n in range(150)]
    answers = store.enqueue_many(jobs)
    assert [answer.job.args["n"] for answer in answers] == list(range(150))
    claims = store.claim(150)
    assert [claim.job.args for claim in claims] == [job.args for job in jobs]
    assert all(store.complete_many(claims, [text] * 150))
    assert store.get(claims[149].key).result == text  # type: ignore[union-attr]


def test_rows_are_parted_in_order() -> None:
    texts = ["x" * 400_000, "y" * 700_000, "z", None, "w" * 1_500_000, ""]
    rows = GivenRows({"n": list(range(6)), "text": texts})
    parts = [part.text() for part in rows.parts()]
    assert [part.count("], [") + 1 for part in parts] == [1, 3, 1, 1]


def test_names_that_differ_in_a_space_or_in_case_are_two(store: Store) -> None:
    names = ["u", "u ", "U", "ü"]
    assert all(store.enqueue(NewJob(kind="k", queue=name, unique_key=name)).inserted for name in names)
    for name in names:
        assert not store.enqueue(NewJob(kind="k", unique_key=name)).inserted
        assert len(store.claim(5, queues=[name])) == 1


# connections of the caller's


def test_a_connection_without_a_transaction_is_refused_where_it_matters(
    mariadb_tables: str, store: Store
) -> None:
    store.enqueue(NewJob(kind="k"))
    (claim,) = store.claim()
    with borrowed(mariadb_tables) as connection:
        assert store.on(connection).enqueue(NewJob(kind="k")).inserted  # type: ignore[union-attr]
        with pytest.raises(ConfigurationError, match="begin a transaction first"):
            store.on(connection).complete(claim)
        connection.begin()
        assert store.on(connection).complete(claim)
        connection.rollback()
    assert store.complete(claim)


def test_the_callers_time_zone_and_isolation_are_not_ours(mariadb_tables: str, store: Store) -> None:
    with borrowed(mariadb_tables, "time_zone = '+05:00'", "sql_mode = 'ANSI_QUOTES'") as connection:
        connection.begin()  # REPEATABLE READ, the server's default
        connection.query("SELECT count(*) FROM rowqueue_job")
        other = store.enqueue(NewJob(kind="k", unique_key="u"))
        bound: Any = store.on(connection)
        mine = bound.enqueue(NewJob(kind="k"))
        assert abs((mine.job.created_at - other.job.created_at).total_seconds()) < 30
        again = bound.enqueue(NewJob(kind="k", unique_key="u"))
        assert (again.inserted, again.job.id) == (False, other.job.id), "seen though it is after the snapshot"
        connection.commit()
    assert {claim.key for claim in store.claim(5)} == {other.job.id, mine.job.id}


def test_a_deadlock_is_ours_to_repeat_and_on_a_borrowed_connection_the_callers(
    mariadb_tables: str, store: Store
) -> None:
    one, two = (answer.job.id for answer in store.enqueue_many([NewJob(kind="k")] * 2))
    locked = threading.Barrier(2)
    said: list[str] = []

    def cross(first: int, second: int) -> None:
        with borrowed(mariadb_tables, "innodb_lock_wait_timeout = 20") as connection:
            connection.begin()
            bound: Any = store.on(connection)
            connection.query(f"SELECT 1 FROM rowqueue_job WHERE id = {first} FOR UPDATE")
            locked.wait(10)
            try:
                assert bound.run(operate.end(Verb.CANCEL, [second], "x"))[0]
                connection.commit()
            except TransactionConflict as conflict:
                said.append(str(conflict))

    threads = [threading.Thread(target=cross, args=pair) for pair in ((one, two), (two, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(said) == 1
    assert "run it again from its start" in said[0]


def test_a_lock_that_is_held_for_long_says_busy(
    mariadb_tables: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowqueue.store.pools._TRIES", 1)
    key = store.enqueue(NewJob(kind="k")).job.id
    with borrowed(mariadb_tables) as connection:
        connection.begin()
        connection.query(f"SELECT 1 FROM rowqueue_job WHERE id = {key} FOR UPDATE")
        assert store.claim() == [], "what is locked is passed over"
        with store._pool.connection() as ours:
            ours.raw.query("SET SESSION innodb_lock_wait_timeout = 1")
        with pytest.raises(DatabaseBusy):
            store.cancel(key)
        connection.rollback()
    assert store.cancel(key)


# a server that dies


@pytest.fixture
def private_mariadb() -> Iterator[PrivateMariaDB]:
    if (missing := missing_program()) is not None:
        pytest.skip(f"no {missing}")
    directory = Path(tempfile.mkdtemp(prefix="rqm"))
    try:
        with PrivateMariaDB(directory) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


_WORKER = """
import sys, rowqueue
app = rowqueue.App(sys.argv[1], lease=2.0)
@app.job(kind="k", max_attempts=100)
def k(n: int) -> None: ...
from rowqueue.worker import Worker, events
worker = Worker(app, concurrency=20, poll=0.05, renew=0.5)
worker.on(lambda event: print("started", flush=True), events.WorkerStarted)
sys.exit(worker.run())
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_kill_9_of_the_server_and_of_workers_loses_nothing(private_mariadb: PrivateMariaDB, publish) -> None:
    """Large: ROWQUEUE_MARIADB_KILL_JOBS=20000. One worker is never started again: it waits for the server."""
    url = private_mariadb.url
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(Store(url, max_rescues=1000)))
        store.init()

        def started() -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-c", _WORKER, url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert process.stdout is not None
            stack.callback(process.stdout.close)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        def fill(more: int) -> list[int]:
            jobs = [NewJob(kind="k", args={"n": n}, max_attempts=100) for n in range(more)]
            return [answer.job.id for answer in store.enqueue_many(jobs)]

        keys = [key for _ in range(3) for key in fill(KILL_JOBS // 3)]
        steady, spare = started(), started()
        kills = 0
        with raw(url) as rows:
            _wait_for(rows, "completed", len(keys) // 5)
            spare.kill()
        spare.wait()
        spare = started()
        for part in (2, 3):
            with raw(url) as rows:
                _wait_for(rows, "completed", part * len(keys) // 5)
            private_mariadb.kill()
            kills += 1
            private_mariadb.start()
        with raw(url) as rows:
            _wait_for(rows, "completed", len(keys), timeout=150)
            found = {key: row["attempt"] for key, row in rows.all().items()}
            assert set(found) == set(keys)
            again = sum(attempt > 1 for attempt in found.values())
        assert steady.poll() is None, "the worker that was there from the start still runs"
        for worker in (steady, spare):
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"started\n", "it may have started after the last job ended"
            worker.terminate()
            assert worker.wait(30) == 0
    publish(
        "#10",
        "the database server is killed by SIGKILL while workers run",
        f"{len(keys):,} jobs, the server killed {kills} times and a worker once: lost 0, {again} ran again",
        value=len(set(keys) - set(found)),
        bound="lost = 0",
        promise=1,
    )


def _wait_for(rows: Any, state: str, count: int, timeout: float = 100) -> None:
    wait_until(lambda: rows.count(f"state = '{state}'") >= count, f"{count} rows {state}", timeout=timeout)


def test_what_is_acknowledged_outlives_the_server(private_mariadb: PrivateMariaDB) -> None:
    with contextlib.closing(Store(private_mariadb.url)) as store:
        store.init()
        key = store.enqueue(NewJob(kind="k")).job.id
        (claim,) = store.claim()
        assert store.complete(claim, "done")
        private_mariadb.kill()
        with pytest.raises(DatabaseUnavailable):
            store.get(key)
        private_mariadb.start()
        job = store.get(key)
        assert job is not None
        assert (job.state, job.result) == ("completed", "done")


def notices_dead_peers(connected: socket.socket) -> bool:
    """Within a minute."""
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    idle, interval, count, unacknowledged = (
        connected.getsockopt(socket.IPPROTO_TCP, option) for option in options
    )
    alive = connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    return bool(alive) and idle + interval * count < 60 and unacknowledged < 60_000


async def test_dead_peers_are_noticed(mariadb_tables: str) -> None:
    """As on PostgreSQL, where libpq has words for it."""
    with contextlib.closing(Database(mariadb_tables).connect()) as ours:
        assert notices_dead_peers(ours._sock)
    async with AsyncStore(mariadb_tables) as store:
        await store.enqueue(NewJob(kind="k"))
        async with store.claim_in_transaction() as held:
            assert held is not None
            own: Any = (await held.connection.get_raw_connection()).driver_connection
            assert notices_dead_peers(own._writer.get_extra_info("socket"))
