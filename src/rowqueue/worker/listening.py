"""Hearing of new jobs on PostgreSQL: a connection that listens, for as long as there is a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rowqueue.core.states import State
from rowqueue.sql.statements.wake import read_payload
from rowqueue.store.database import Database
from rowqueue.store.listener import Listener
from rowqueue.worker.events import Events, Reconnected, Reconnecting
from rowqueue.worker.patience import backoff
from rowqueue.worker.wake import Wake

CHECK = 30.0
"""Seconds of silence after which the server is asked whether it is still there."""

SLOWER = 15
"""How much longer than others a listener waits between tries: meanwhile the poll does its work."""


class Listening:
    """Listens until it is cancelled; a server that goes away, or refuses, is tried again for ever.

    Args:
        database: where to connect.
        channel: what to listen to.
        told: called with the state and the queue of a new job.
        on_up: called whenever it begins to listen: what was told before is unknown.
        events: who is told when the server is away.
    """

    def __init__(
        self,
        database: Database,
        channel: str,
        told: Callable[[State, str], None],
        on_up: Callable[[], None],
        events: Events,
    ) -> None:
        self._database = database
        self._channel = channel
        self._told = told
        self._on_up = on_up
        self._events = events
        self._readable = Wake()
        self._tries = 0
        self.up = False

    async def run(self) -> None:
        """Listen, and try again, for ever; to be cancelled."""
        while True:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - whatever it is, the poll goes on, and the next try may work
                self._tries += 1
                delay = backoff(self._tries) * (1 if self._tries < 5 else SLOWER)  # a restart is over by then
                said = f"{type(error).__name__}: {error}"
                self._events.emit(Reconnecting, "listening for new jobs", said, self._tries, delay)
                await asyncio.sleep(delay)

    async def _listen(self) -> None:
        listener = await Listener.open(self._database, self._channel)
        try:
            if self._tries:
                self._events.emit(Reconnected, "listening for new jobs", self._tries)
            self._tries = 0
            self.up = True
            self._on_up()
            while True:
                await self._hear(listener)
                await listener.check()
        finally:
            self.up = False
            await listener.close()

    async def _hear(self, listener: Listener) -> None:
        """Pass on what is told, until there was nothing for a while."""
        loop, descriptor = asyncio.get_running_loop(), listener.fileno()
        failed: list[Exception] = []
        spoken = True

        def read() -> None:
            nonlocal spoken
            spoken = True
            try:
                self._pass_on(listener.heard())
            except Exception as error:  # noqa: BLE001 - it is raised where the connection is closed
                failed.append(error)
                loop.remove_reader(descriptor)
                self._readable.up()

        loop.add_reader(descriptor, read)
        try:
            read()  # what came with the answer to the last statement
            while spoken and not failed:
                spoken = False
                await self._readable.sleep(CHECK)
        finally:
            loop.remove_reader(descriptor)
        if failed:
            raise failed[0]

    def _pass_on(self, payloads: list[str]) -> None:
        for told in filter(None, map(read_payload, payloads)):
            self._told(*told)
