"""A wake-up that may come before the sleep."""

from __future__ import annotations

import asyncio


class Wake:
    """One sleeper; any number of calls of ``up`` wake it once. For the loop's own thread."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def up(self) -> None:
        """Wake the sleeper, or spare it the next sleep."""
        self._event.set()

    async def sleep(self, seconds: float | None = None) -> None:
        """Sleep until woken, or for so long (None: until woken)."""
        timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self._event.set)
        try:
            await self._event.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._event.clear()
