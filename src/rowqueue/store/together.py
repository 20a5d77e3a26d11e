"""Group commit: what waits for the one writer of an SQLite file is written in one transaction, with one flush to the disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from rowqueue.core.errors import StoreError
from rowqueue.operations.base import Operation
from rowqueue.sql.compiled import Call
from rowqueue.store.runner import Connection, run

T = TypeVar("T")

MOST = 100
"""Operations of one transaction, so that the first of them is answered soon."""


class Writer(Connection, Protocol):
    """A connection of ours, with transactions."""

    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def usable(self) -> bool: ...
    def close(self) -> None: ...


class Fate(Enum):
    """What is to become of an operation that waits."""

    WAITS = "waits"
    LEADS = "leads"
    """It is its turn: its caller writes it, and with it what waits."""
    TAKEN = "taken"
    """Another's transaction has it."""
    WRITTEN = "written"
    """And is committed."""
    ALONE = "alone"
    """And was undone: its caller writes it alone."""


class Entry(Generic[T]):
    """One operation that is to be written.

    Args:
        operation: what.
        wake: called once, in any thread, when ``settle`` does not have to wait any more.
    """

    __slots__ = ("fate", "operation", "result", "wake")

    def __init__(self, operation: Operation[T], wake: Callable[[], None]) -> None:
        self.operation = operation
        self.wake = wake
        self.fate = Fate.WAITS
        self.result: Any = None


class Together:
    """Writes operations one after the other, and those that wait meanwhile together; safe in any thread.

    The first caller leads: it writes its own operation, then each that waits, commits, and only then are
    the others answered. Should anything fail, all of it is undone, and each caller writes its own alone,
    so that an error reaches the one whose it is. One that is alone waits for nobody.

    Args:
        lend: lends the writing connection.
    """

    def __init__(self, lend: Callable[[], AbstractContextManager[Writer]]) -> None:
        self._lend = lend
        self._lock = threading.Lock()
        self._waiting: deque[Entry[Any]] = deque()
        self._led = False

    def run(self, operation: Operation[T]) -> T:
        """Write one, and wait until it is committed.

        Raises:
            StoreError: what the database answered, typed.
        """
        woken = threading.Lock()
        woken.acquire()
        entry = Entry(operation, woken.release)
        if not self.join(entry):
            try:
                woken.acquire()
            except BaseException:  # interrupted
                if not self.leave(entry) and entry.fate is Fate.LEADS:
                    self._pass_on()
                raise
        return self.settle(entry)

    def join(self, entry: Entry[Any]) -> bool:
        """Have it written; True when its caller leads, and must ``settle`` it now, False when it is woken for that."""
        with self._lock:
            if self._led:
                self._waiting.append(entry)
                return False
            self._led = True
            entry.fate = Fate.LEADS
            return True

    def leave(self, entry: Entry[Any]) -> bool:
        """Nobody wants it any more; False when it is too late for that."""
        with self._lock, suppress(ValueError):
            self._waiting.remove(entry)
            return True
        return False

    def settle(self, entry: Entry[T]) -> T:
        """What became of it, once it leads or was woken; called again after an error, it is written alone.

        Raises:
            StoreError: what the database answered, typed.
        """
        if entry.fate is Fate.LEADS:
            self._lead(entry)
        if entry.fate is Fate.ALONE:
            with self._lend() as connection:
                _write(connection, [entry], lambda: None)
        result: T = entry.result
        return result

    def _lead(self, entry: Entry[Any]) -> None:
        group = [entry]
        try:
            with self._lend() as connection:
                _write(connection, group, lambda: self._next(len(group)))
        except Exception:
            if len(group) == 1:
                raise
        finally:
            for each in group:
                if each.fate is not Fate.WRITTEN:
                    each.fate = Fate.ALONE
            self._pass_on()
            for each in group[1:]:
                each.wake()

    def _next(self, taken: int) -> Entry[Any] | None:
        if not self._waiting:  # as mostly: no lock for that
            return None
        with self._lock:
            if taken >= MOST or not self._waiting:
                return None
            entry = self._waiting.popleft()
            entry.fate = Fate.TAKEN
            return entry

    def _pass_on(self) -> None:
        with self._lock:
            entry = self._waiting.popleft() if self._waiting else None
            self._led = entry is not None
            if entry is not None:
                entry.fate = Fate.LEADS
        if entry is not None:
            entry.wake()


def _write(connection: Writer, group: list[Entry[Any]], more: Callable[[], Entry[Any] | None]) -> None:
    """Write a group, and what ``more`` adds to it, in one transaction."""
    after: list[Call] = []
    connection.begin()
    try:
        for entry in group:  # which grows
            entry.result = run(entry.operation, connection, after)
            if (another := more()) is not None:
                group.append(another)
    except BaseException:
        connection.rollback()
        raise
    committed = True
    try:
        connection.commit()
    except StoreError:
        committed = False
        raise
    finally:  # an interrupt may come between a commit and its answer
        if committed and connection.usable():
            for entry in group:
                entry.fate = Fate.WRITTEN
    if after:
        with suppress(StoreError):
            for call in after:
                connection.execute(call)
