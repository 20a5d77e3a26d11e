"""A batch at a time: what comes while one is being written goes into the next."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from rowqueue.worker.wake import Wake

T = TypeVar("T")

BATCH = 500


class Lane(Generic[T]):
    """Writes items in the order they came, so that one alone never waits and many share a statement.

    Args:
        write: writes one batch, however long it takes; its errors are its own business.
        on_written: called after each batch.
    """

    def __init__(self, write: Callable[[list[T]], Awaitable[None]], on_written: Callable[[], None]) -> None:
        self._write = write
        self._on_written = on_written
        self._waiting: list[T] = []
        self._wake = Wake()
        self._writing = 0

    def add(self, item: T) -> None:
        """Have it written soon."""
        self._waiting.append(item)
        self._wake.up()

    def __len__(self) -> int:
        """How many are not written yet."""
        return len(self._waiting) + self._writing

    async def run(self) -> None:
        """Write for ever; to be cancelled."""
        while True:
            await self._wake.sleep()
            while self._waiting:
                batch = self._waiting[:BATCH]
                del self._waiting[:BATCH]
                self._writing = len(batch)
                try:
                    await self._write(batch)
                except Exception:
                    logging.getLogger("rowqueue").exception(
                        "a batch of %d was lost; leases will run out", len(batch)
                    )
                self._writing = 0
                self._on_written()
