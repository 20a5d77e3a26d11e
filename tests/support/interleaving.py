"""Two operations on two connections of a real database, their statements in every order (after isolationtester).

Each session runs its operation by the product's own runner in a thread of its own, and stops at a gate before every
statement. A statement that waits for the other session's lock is seen in the database's own lists, and the other goes
on. What one order teaches about who could have gone next leads to the next order, until none is left.
"""

import contextlib
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rowqueue.core.errors import DatabaseBusy, RowqueueError, TransactionConflict
from rowqueue.operations.base import Access, Operation
from rowqueue.sql.compiled import Call, Rows
from rowqueue.store.pools import _wrap
from rowqueue.store.runner import run
from rowqueue.store.store import Store
from tests.support import mariadb
from tests.support.stores import kind_of, raw

Ending = Literal["own", "commit", "rollback"]
"""As the pool runs it; in a transaction that is committed, or rolled back, in a step of its own."""
Stand = Literal["gate", "runs", "waits", "done"]

PATIENCE = 10.0
"""Seconds after which two sessions that wait for each other, and whom the database does not part, are a deadlock that
nobody detects."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one session does."""

    operation: Operation[Any]
    ending: Ending = "own"


class Stuck(AssertionError):
    """A deadlock that the database did not detect, or a wait that it does not list."""


class Session:
    """One connection and its thread.

    Attributes:
        stand: at its gate, running a statement, waiting for a turn of the other's (SQLite), or done.
        conflicts: how often the database undid it, so that it began again.
    """

    def __init__(self, store: Store) -> None:
        self._raw = store.database.connect()
        self.kind = store.database.name
        if self.kind == "sqlite":
            self._raw.execute("PRAGMA busy_timeout = 0")
        if self.kind == "postgresql":
            self._raw.execute("SET deadlock_timeout = '20ms'")
        self._inner = _wrap(store.database, store._statements, self._raw)
        self.statements = store._statements
        self.id = 0
        """By which the server lists it."""
        if self.kind == "postgresql":
            self.id = self._raw.info.backend_pid
        if self.kind == "mariadb":
            self.id = self._raw.thread_id()
        self.stand: Stand = "done"
        self.answer: Any = None
        self.conflicts = 0
        self.waited = False
        self.changed = threading.Condition()
        self.last = ""
        self._go = threading.Semaphore(0)
        self._work: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def begin_part(self, part: Part) -> None:
        """Let it come to its first gate."""
        self.stand = "runs"
        self._work.put(part)

    def step(self) -> None:
        """Let it through its gate."""
        self.stand = "runs"
        self._go.release()

    def close(self) -> None:
        """End the thread and the connection."""
        self._work.put(None)
        self._thread.join(PATIENCE)
        self._inner.close()

    # in its thread

    def _serve(self) -> None:
        while (part := self._work.get()) is not None:
            try:
                self.answer = self._perform(part)
            except RowqueueError as error:
                self.answer = type(error).__name__
            except BaseException as error:  # noqa: BLE001 - shown by the comparison
                self.answer = repr(error)
            self._say("done")

    def _perform(self, part: Part) -> Any:
        while True:
            try:
                return self._once(part)
            except (TransactionConflict, DatabaseBusy):
                self.conflicts += 1

    def _once(self, part: Part) -> Any:
        access = part.operation.access
        single = self.kind != "postgresql"  # SQLite and MariaDB open a transaction around every write
        if part.ending == "own" and (access is Access.READ or (access is Access.WRITE and not single)):
            return run(part.operation, self, [])
        self._begin()
        try:
            result = run(part.operation, self, [])
        except BaseException:
            self._inner.rollback()
            raise
        last = "ROLLBACK" if part.ending == "rollback" else "COMMIT"
        self._gate(last)
        (self._inner.rollback if part.ending == "rollback" else self._inner.commit)()
        return "rolled back" if part.ending == "rollback" else result

    def _begin(self) -> None:
        if self.kind != "sqlite":  # at READ COMMITTED it takes no snapshot, and goes with the first statement
            self._inner.begin()
            return
        self._gate("BEGIN")
        while True:
            try:
                self._inner.begin()
                return
            except DatabaseBusy:
                self.waited = True
                self._say("waits")
                self._go.acquire()

    def execute(self, call: Call) -> Rows:
        """As a connection: a statement, when its turn comes."""
        self._gate(call.statement.name)
        return self._inner.execute(call)

    def _gate(self, name: str) -> None:
        self.last = name
        self._say("gate")
        self._go.acquire()

    def _say(self, stand: Stand) -> None:
        with self.changed:
            self.stand = stand
            self.changed.notify()


@dataclass(slots=True)
class Found:
    """What all orders of two parts came to."""

    orders: int = 0
    steps: int = 0
    blocked: int = 0
    conflicts: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])

    def join(self, other: "Found") -> None:
        """The orders of other parts."""
        for name in ("orders", "steps", "blocked", "conflicts"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.outcomes += other.outcomes


class Stage:
    """Two sessions on one database, and somebody who looks at it."""

    def __init__(self, url: str) -> None:
        self.url, self.kind = url, kind_of(url)
        self.store = Store(url)
        self.store.check_schema()
        self.table = self._watch = raw(url)
        self.rows = self.table.__enter__()
        if self.kind == "mariadb":
            self._watcher = mariadb.connect(url)
        self.sessions = (Session(self.store), Session(self.store))
        self._columns = ", ".join(column.name for column in self.store.tables.job.columns)

    def close(self) -> None:
        """Leave nothing open."""
        for session in self.sessions:
            session.close()
        if self.kind == "mariadb":
            self._watcher.close()
        self.table.__exit__(None, None, None)
        self.store.close()

    # what each order begins with

    def save(self) -> None:
        """Every order begins with the rows as they are now."""
        self.rows.execute("DROP TABLE IF EXISTS saved_job")
        self.rows.execute(f"CREATE TABLE saved_job AS SELECT {self._columns} FROM rowqueue_job")

    def _restore(self) -> None:
        self.rows.execute("BEGIN")
        self.rows.execute("DELETE FROM rowqueue_queue")
        self.rows.execute("DELETE FROM rowqueue_job")
        self.rows.execute(f"INSERT INTO rowqueue_job ({self._columns}) SELECT {self._columns} FROM saved_job")
        self.rows.execute("COMMIT")

    # one order

    def serially(self, parts: Sequence[Part], first: int) -> str:
        """What comes of one part after the other."""
        outcome, _, _ = self._play(parts, [first] * 100)
        return outcome

    def untouched(self) -> str:
        """The rows as they are before anybody does anything."""
        self._restore()
        for session in self.sessions:
            session.answer = None
        return self._outcome()

    def explore(self, parts: Sequence[Part]) -> Iterator[tuple[list[int], str]]:
        """Every order, and what came of it."""
        prefix: list[int] = []
        while True:
            outcome, choices, _ = self._play(parts, prefix)
            yield [chosen for _, chosen in choices], outcome
            while choices and choices[-1][1] == choices[-1][0][-1]:
                choices.pop()
            if not choices:
                return
            options, chosen = choices.pop()
            prefix = [*(one for _, one in choices), options[options.index(chosen) + 1]]

    def _play(
        self, parts: Sequence[Part], prefix: Sequence[int]
    ) -> tuple[str, list[tuple[list[int], int]], int]:
        self._restore()
        choices: list[tuple[list[int], int]] = []
        self.blocked = 0
        for session, part in zip(self.sessions, parts, strict=True):
            session.conflicts, session.waited = 0, False
            session.begin_part(part)
        self._settle()
        while ready := [number for number, session in enumerate(self.sessions) if session.stand == "gate"]:
            wish = prefix[len(choices)] if len(choices) < len(prefix) else ready[0]
            chosen = wish if wish in ready else ready[0]
            choices.append((ready, chosen))
            self.sessions[chosen].step()
            self._settle()
        assert all(session.stand == "done" for session in self.sessions), "both wait"
        return self._outcome(), choices, self.blocked

    def _settle(self) -> None:
        """Until each session is at its gate, done, or seen to wait for the other."""
        began = time.monotonic()
        while True:
            for session in self.sessions:
                with session.changed:
                    session.changed.wait_for(lambda one=session: one.stand != "runs", 0.001)  # type: ignore[misc]
            self._wake_waiting()
            running = [session for session in self.sessions if session.stand == "runs"]
            if not running:
                return
            others_ready = any(session.stand == "gate" for session in self.sessions)
            if others_ready and all(
                self._is_blocked(session) and session.stand == "runs" for session in running
            ):
                self.blocked += 1
                return
            if time.monotonic() - began > PATIENCE:
                raise Stuck(f"{[(one.last, one.stand) for one in self.sessions]} for {PATIENCE} s")

    def _wake_waiting(self) -> None:
        """SQLite: whoever waits for the file tries again once the other has no transaction open."""
        for session, other in (self.sessions, self.sessions[::-1]):
            if session.stand == "waits" and not other._raw.in_transaction and other.stand != "runs":
                session.step()

    def _is_blocked(self, session: Session) -> bool:
        if self.kind == "postgresql":
            (row,) = self.rows.rows(f"SELECT cardinality(pg_blocking_pids({session.id})) > 0 AS waits")
            return bool(row["waits"])
        if self.kind == "mariadb":
            return self._waits_in_innodb(session.id)
        return False

    def _waits_in_innodb(self, thread: int) -> bool:
        # information_schema.innodb_trx is a copy that is made anew only when nobody has read it for 100 ms.
        with contextlib.closing(self._watcher.execute("SHOW ENGINE INNODB STATUS")) as cursor:
            (_, _, text), *_ = cursor.fetchall()
        ours = [each for each in text.split("---TRANSACTION") if f"MariaDB thread id {thread}," in each]
        return any("\nLOCK WAIT " in each for each in ours)

    def _outcome(self) -> str:
        """Answers and rows without what differs by the clock."""
        found = self.rows.all()
        old = {row["id"] for row in self.rows.rows("SELECT id FROM saved_job")}
        names = {key: f"new {number}" for number, key in enumerate(sorted(set(found) - old), 1)}
        lines = []
        for key, row in sorted(found.items()):
            moments = [name for name in ("leased_until", "finalized_at", "cancel_requested_at") if row[name]]
            kept = ("state", "attempt", "lease", "failures", "rescues", "unique_key", "attempted_by")
            lines.append(f"{names.get(key, key)}: {[row[name] for name in kept]} {moments}")
        answers = [_plain(session.answer, names) for session in self.sessions]
        return f"{answers[0]} | {answers[1]} | {'; '.join(lines)}"


def _plain(answer: Any, names: dict[int, str]) -> str:
    if isinstance(answer, list | tuple):
        return f"[{', '.join(_plain(each, names) for each in answer)}]"
    if hasattr(answer, "inserted"):
        return f"{'new' if answer.inserted else 'held'} {names.get(answer.job.id, answer.job.id)}"
    if hasattr(answer, "reason"):
        return f"{answer.key} {answer.reason or 'done'} {answer.state or ''} {names.get(answer.conflict, answer.conflict or '')}"
    if hasattr(answer, "record"):
        return f"claim {answer.key} {answer.lease}"
    if hasattr(answer, "worker"):
        return f"rescued {answer.key} {answer.state} {answer.lease}"
    return str(answer)


Build = Callable[[Store, Any], Operation[Any]]
