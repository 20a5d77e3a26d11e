"""Group commit on SQLite: what waits for the writer shares a transaction, and nobody's error is another's."""

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event

from rowqueue.core.errors import StoreError
from rowqueue.core.values import NewJob
from rowqueue.store.async_store import AsyncStore
from rowqueue.store.drivers import sqlite
from rowqueue.store.store import Store
from tests.support.session import ROOT
from tests.support.waiting import wait_until

CALLS = 16

REFUSALS = {
    "a statement": "CREATE TRIGGER no BEFORE INSERT ON rowqueue_job WHEN new.kind = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END",
    "the transaction": "CREATE TRIGGER no BEFORE INSERT ON rowqueue_job WHEN new.kind = 'bad' BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    "the commit": "CREATE TRIGGER no BEFORE INSERT ON rowqueue_job WHEN new.kind = 'bad' BEGIN INSERT INTO child VALUES (7); END",
}


class Traced:
    """Stores over an engine whose statements are counted."""

    def __init__(self, url: str) -> None:
        self.statements: list[str] = []
        self.file = url.removeprefix("sqlite:///")
        self.engine = create_engine(url)
        event.listen(self.engine, "connect", self._trace)
        with contextlib.closing(Store(url)) as store:
            store.init()

    def _trace(self, raw: Any, _: object) -> None:
        raw.execute("PRAGMA foreign_keys = ON")
        raw.set_trace_callback(self.statements.append)

    @property
    def commits(self) -> int:
        return self.statements.count("COMMIT")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """The file is locked by somebody else, so that the first writer waits."""
        with contextlib.closing(sqlite3.connect(self.file, 30, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    def jobs(self) -> Counter[int]:
        """How often each number was enqueued."""
        with contextlib.closing(sqlite3.connect(self.file)) as raw:
            rows = raw.execute("SELECT json_extract(args, '$.number') FROM rowqueue_job").fetchall()
        return Counter(number for (number,) in rows)


@pytest.fixture
def traced(sqlite_url: str) -> Iterator[Traced]:
    found = Traced(sqlite_url)
    yield found
    found.engine.dispose()


def waiting(store: Any) -> int:
    pool = store._pool
    return len(getattr(pool, "_pool", pool)._together._waiting)


def job(number: int, *, bad: bool = False) -> NewJob:
    return NewJob(kind="bad" if bad else "k", args={"number": number})


def test_one_call_alone_is_one_transaction(traced: Traced):
    with contextlib.closing(Store(traced.engine)) as store:
        store.enqueue(job(0))
        traced.statements.clear()
        store.enqueue(job(1))
    assert [statement.split()[0] for statement in traced.statements] == ["BEGIN", "INSERT", "COMMIT"]


def test_threads_that_wait_share_one_commit(traced: Traced):
    with contextlib.closing(Store(traced.engine)) as store, ThreadPoolExecutor(CALLS) as threads:
        store.enqueue(job(CALLS))
        before = traced.commits
        with traced.locked():
            calls = [threads.submit(store.enqueue, job(number)) for number in range(CALLS)]
            wait_until(lambda: waiting(store) == CALLS - 1, "all wait")
        answers = [call.result() for call in calls]
    assert [answer.job.args["number"] for answer in answers] == list(range(CALLS))
    assert len({answer.job.id for answer in answers}) == CALLS
    assert traced.commits - before == 1
    assert traced.jobs() == Counter(range(CALLS + 1))


def test_tasks_that_wait_share_one_commit(traced: Traced):
    async def main() -> None:
        store = AsyncStore(traced.engine)
        await store.enqueue(job(CALLS))
        before = traced.commits
        with traced.locked():
            calls = [asyncio.create_task(store.enqueue(job(number))) for number in range(CALLS)]
            await asyncio.sleep(0)  # each begins, and waits: joining takes no thread
            assert waiting(store) == CALLS - 1
        answers = await asyncio.gather(*calls)
        assert [answer.job.args["number"] for answer in answers] == list(range(CALLS))
        assert traced.commits - before == 1
        await store.close()

    asyncio.run(main())
    assert traced.jobs() == Counter(range(CALLS + 1))


@pytest.mark.parametrize("asynchronous", [False, True], ids=["threads", "tasks"])
@pytest.mark.parametrize("bad", [0, CALLS // 2, CALLS - 1])
@pytest.mark.parametrize("refused", REFUSALS)
def test_what_is_refused_fails_alone(traced: Traced, refused: str, bad: int, asynchronous: bool):
    with contextlib.closing(sqlite3.connect(traced.file)) as raw:
        raw.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        raw.execute("CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
        raw.execute(REFUSALS[refused])
    run = together_in_tasks if asynchronous else together_in_threads
    answers = run(traced, [job(number, bad=number == bad) for number in range(CALLS)])
    assert [number for number, answer in enumerate(answers) if isinstance(answer, StoreError)] == [bad]
    assert traced.jobs() == Counter(set(range(CALLS)) - {bad})


def together_in_threads(traced: Traced, jobs: list[NewJob]) -> list[Any]:
    with contextlib.closing(Store(traced.engine)) as store, ThreadPoolExecutor(CALLS) as threads:
        store.check_schema()
        with traced.locked():
            calls = []
            for number, each in enumerate(jobs):  # in this order, so that the first one leads
                calls.append(threads.submit(store.enqueue, each))
                wait_until(lambda number=number: waiting(store) == number and led(store), "it waits")
        return [call.exception() or call.result() for call in calls]


def led(store: Any) -> bool:
    return bool(store._pool._together._led)


def together_in_tasks(traced: Traced, jobs: list[NewJob]) -> list[Any]:
    async def main() -> list[Any]:
        store = AsyncStore(traced.engine)
        await store.check_schema()
        with traced.locked():
            calls = [asyncio.create_task(store.enqueue(each)) for each in jobs]
            await asyncio.sleep(0)  # each begins, and waits: joining takes no thread
            assert waiting(store) == CALLS - 1
        answers = await asyncio.gather(*calls, return_exceptions=True)
        await store.close()
        return answers

    return asyncio.run(main())


def test_tasks_that_find_the_file_busy_try_again(traced: Traced, monkeypatch: pytest.MonkeyPatch):
    """With fewer threads than tasks: one whose turn has come must not wait for a thread of one that waits for it."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.001)

    async def main() -> None:
        store = AsyncStore(traced.engine, pool_size=2)
        with traced.locked():
            calls = [asyncio.create_task(store.enqueue(job(number))) for number in range(CALLS)]
            tried = lambda: traced.statements.count("BEGIN IMMEDIATE") >= 6  # noqa: E731
            await asyncio.to_thread(wait_until, tried, "some have tried in vain")
        async with asyncio.timeout(20):
            await asyncio.gather(*calls)
        await store.close()

    asyncio.run(main())
    assert traced.jobs() == Counter(range(CALLS))


def test_threads_that_race_are_each_answered_once(traced: Traced):
    """With no lock that arranges them; the trigger refuses some, so that groups are undone again and again."""
    with contextlib.closing(sqlite3.connect(traced.file)) as raw:
        raw.execute(REFUSALS["a statement"])
    with contextlib.closing(Store(traced.engine)) as store, ThreadPoolExecutor(CALLS) as threads:
        store.check_schema()

        def enqueue(number: int) -> bool:
            try:
                return store.enqueue(job(number, bad=number % 50 == 0)).inserted
            except StoreError:
                return False

        answers = list(threads.map(enqueue, range(1000)))
    assert answers == [number % 50 != 0 for number in range(1000)]
    assert traced.jobs() == Counter(number for number in range(1000) if number % 50)
    assert traced.commits < 900


class Interrupted(BaseException):
    """As KeyboardInterrupt is."""


def test_one_who_is_interrupted_while_it_waits_is_not_written(traced: Traced):
    def interrupt(*_: object) -> None:
        raise Interrupted

    usual = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with contextlib.closing(Store(traced.engine)) as store, ThreadPoolExecutor(2) as threads:
            store.check_schema()
            with traced.locked():
                first = threads.submit(store.enqueue, job(0))
                wait_until(lambda: led(store), "the first one leads")
                main = threading.main_thread().ident
                assert main is not None

                def kill() -> None:
                    wait_until(lambda: waiting(store) == 1, "the second one waits")
                    signal.pthread_kill(main, signal.SIGUSR1)

                killer = threads.submit(kill)
                with pytest.raises(Interrupted):
                    store.enqueue(job(1))
                killer.result()
            first.result()
            store.enqueue(job(2))
    finally:
        signal.signal(signal.SIGUSR1, usual)
    assert traced.jobs() == Counter([0, 2])


def test_what_was_answered_is_there_after_a_kill(sqlite_url: str, tmp_path: Path):
    path = tmp_path / "answered"
    with contextlib.closing(Store(sqlite_url)) as store:
        store.init()
    command = [sys.executable, "-m", "tests.support.enqueuers", sqlite_url, str(path)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") > 500, "500 are answered")
        process.kill()
    answered = {int(line) for line in path.read_bytes().split(b"\n")[:-1]}
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as raw:
        rows = raw.execute("SELECT json_extract(args, '$.number') FROM rowqueue_job").fetchall()
    there = Counter(number for (number,) in rows)
    assert len(answered) > 500
    assert answered <= there.keys()
    assert set(there.values()) == {1}
