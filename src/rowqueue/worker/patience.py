"""Asking a database that may be away, for as long as it takes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rowqueue.core.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    SchemaError,
    StoreFull,
    TransactionConflict,
)
from rowqueue.worker.events import Events, Reconnected, Reconnecting

T = TypeVar("T")

TRANSIENT = (DatabaseUnavailable, DatabaseBusy, StoreFull, TransactionConflict, SchemaError)
"""What passes by itself, or when a person has mended it: a running worker waits for it."""

FIRST, LONGEST = 0.05, 2.0
"""Seconds between tries; the longest stays below the shortest useful lease."""


def backoff(tries: int) -> float:
    """Seconds to wait after so many failed tries, half of them at random, so that workers do not return together."""
    most = min(LONGEST, FIRST * 2.0 ** min(tries - 1, 20))
    return most * (0.5 + 0.5 * random.random())  # noqa: S311 - not a secret


class Patience:
    """Repeats an operation until the database answers; tells about it once it must wait."""

    def __init__(self, events: Events) -> None:
        self._events = events

    async def ask(self, doing: str, call: Callable[[], Awaitable[T]], *, raises: bool = False) -> T:
        """Await ``call()`` again and again until it answers.

        An error that is not the database's being away is a fault of ours or of the data; it is
        logged with its traceback and waited for just the same: a worker's loops never end by one.

        Args:
            doing: what for, for people.
            call: makes one try.
            raises: such an error is raised instead, because the caller can do something about it.
        """
        tries = 0
        while True:
            try:
                answer = await call()
            except Exception as error:
                tries += 1
                if not isinstance(error, TRANSIENT):
                    if raises:
                        raise
                    logging.getLogger("rowqueue").exception("%s failed; it is tried again", doing)
                delay = backoff(tries)
                self._events.emit(Reconnecting, doing, f"{type(error).__name__}: {error}", tries, delay)
                await asyncio.sleep(delay)
            else:
                if tries:
                    self._events.emit(Reconnected, doing, tries)
                return answer
