"""Workers in a thread of the test, and a way to wait for what they say."""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Self, TypeVar

import psycopg

from rowqueue import App, Enqueued, Job
from rowqueue.worker import Worker
from rowqueue.worker.events import Event, JobEvent, WorkerStarted
from tests.support import mariadb
from tests.support.waiting import wait_until

E = TypeVar("E", bound=Event)
PATIENCE = 60.0
"""Seconds to wait for what must come; no bound of anything, because the machine may be busy."""


class Running:
    """A worker that runs in a thread; stopped, and looked at for its exit code, at the end of the block."""

    def __init__(self, app: App, **options: Any) -> None:
        self.app = app
        given: dict[str, Any] = {"poll": 0.05, "grace": 10.0, **options}
        self.worker = Worker(app, **given)
        self.seen: list[Event] = []
        self.exit_code: int | None = None
        self._said = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="the worker's loop")
        self.worker.on(self._note)

    def __enter__(self) -> Self:
        self._thread.start()
        self.wait_for(WorkerStarted)
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stop()
        self.join()

    def join(self) -> int:
        """Wait for its end."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"the worker does not stop; it said {self.seen[-10:]}"
        assert self.exit_code is not None, "the worker raised"
        return self.exit_code

    def wait_for(
        self,
        kind: type[E],
        job: Enqueued | None = None,
        such: Callable[[E], bool] = lambda _: True,
        count: int = 1,
    ) -> E:
        """Wait until it has said that so many times (about a job); returns the last one."""

        def found() -> list[E]:
            return [
                event
                for event in self.seen
                if isinstance(event, kind) and (job is None or _is_about(event, job)) and such(event)
            ]

        with self._said:
            assert self._said.wait_for(lambda: len(found()) >= count, PATIENCE), (
                f"no {count} {kind.__name__} in {PATIENCE:g} s, but {self.seen[-10:]}"
            )
            return found()[-1]

    def said(self, kind: type[E]) -> list[E]:
        """What it has said of a kind so far."""
        return [event for event in self.seen if isinstance(event, kind)]

    def row(self, job: Enqueued) -> Job:
        """The job's row now."""
        row = self.app.store.get(job.job.id)
        assert row is not None
        return row

    def _run(self) -> None:
        self.exit_code = self.worker.run()

    def _note(self, event: Event) -> None:
        with self._said:
            self.seen.append(event)
            self._said.notify_all()


def _is_about(event: Event, job: Enqueued) -> bool:
    return isinstance(event, JobEvent) and event.job.id == job.job.id


def settle(running: Running) -> None:
    """Wait until only somebody else can make it look before the poll."""
    runtime = running.worker._runtime
    (source,) = runtime._sources
    claiming = source.claiming

    def at_rest() -> bool:
        said = getattr(claiming.rest, "_said", None)
        is_heard = bool(said) if said is not None else claiming.rest._waiting is not None
        sleeps = bool(claiming._wake._event._waiters)  # and no look is under way
        return claiming.resting and is_heard and not claiming._looks and sleeps

    def settled() -> bool:
        """Asked between two steps of the loop: of one step another thread may see the half."""
        answer: Future[bool] = Future()
        runtime._loop.call_soon_threadsafe(lambda: answer.set_result(at_rest()))
        return answer.result(PATIENCE)

    wait_until(settled, "a worker at rest")


def drain(app: App, **options: Any) -> Running:
    """Run a worker until nothing is left."""
    running = Running(app, drain=True, **options)
    running._run()
    assert running.exit_code == 0
    return running


class MariaConnection:
    """PyMySQL's, with an `execute` of its own as the other drivers have one."""

    def __init__(self, url: str) -> None:
        self._connection = mariadb.connect(url)

    def execute(self, command: str) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(command)
        return cursor

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def raw_connection(url: str) -> Iterator[Any]:
    """A connection of the driver's in autocommit, for what no API offers."""
    if url.startswith("sqlite"):
        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=20)
    elif url.startswith("mariadb"):
        connection = MariaConnection(url)
    else:
        connection = psycopg.connect(url, autocommit=True)
    try:
        yield connection
    finally:
        connection.close()


def past(database: str) -> str:
    """A moment that is over, as SQL of a database."""
    hour_ago = {"sqlite": "1", "mariadb": "utc_timestamp() - interval 1 hour"}
    return hour_ago.get(database, "now() - interval '1 hour'")


def steal(app: App, url: str, job: Enqueued) -> None:
    """Let a job's lease run out and take it from its worker, as another worker's rescue would."""
    moment = past(url.partition(":")[0])
    rescued: list[Any] = []
    with raw_connection(url) as connection:
        while not rescued:  # a renewal may come between the two
            connection.execute(f"UPDATE rowqueue_job SET leased_until = {moment} WHERE id = {job.job.id}")
            rescued = [each for each in app.store.rescue() if each.key == job.job.id]
            lease = app.store.get(job.job.id)
            if lease is not None and lease.rescues:  # the worker's own rescue was faster
                return
