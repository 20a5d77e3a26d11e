"""A connection that hears what a channel of PostgreSQL is told."""

from __future__ import annotations

import asyncio
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from rowqueue.core.errors import DatabaseUnavailable
from rowqueue.store.database import Database
from rowqueue.store.drivers.psycopg import translate

CHECK_TIMEOUT = 10.0
"""Seconds that the server may take to answer before the connection is given up."""


class Listener:
    """Listens; its descriptor can be read when there is something, and then ``heard`` tells what.

    Args:
        raw: a connection of psycopg's, async, or sync (of an Engine of the caller's), in autocommit.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._heard: list[str] = []
        raw.add_notify_handler(lambda notify: self._heard.append(notify.payload))  # while a statement runs

    @classmethod
    async def open(cls, database: Database, channel: str) -> Listener:
        """Connect and listen.

        Raises:
            StoreError: it cannot, for now or for good.
        """
        if database.native_async:
            raw = await database.connect_async()
        else:
            raw = await asyncio.to_thread(database.connect)
        listener = cls(raw)
        try:
            await listener._execute("LISTEN {}", channel)
        except BaseException:
            await listener.close()
            raise
        return listener

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return int(self._raw.fileno())

    def heard(self) -> list[str]:
        """What was told since it was asked last, without waiting.

        Raises:
            DatabaseUnavailable: the server hung up.
        """
        pgconn = self._raw.pgconn
        try:
            pgconn.consume_input()
            while (notify := pgconn.notifies()) is not None:
                self._heard.append(notify.extra.decode())
        except psycopg.Error as error:
            raise translate(error) from None
        heard, self._heard = self._heard, []
        return heard

    async def check(self) -> None:
        """Ask whether the server is there; nobody may wait for the descriptor meanwhile.

        Raises:
            DatabaseUnavailable: it is not.
        """
        await self._execute("SELECT 1")

    async def close(self) -> None:
        """Close it."""
        closed = self._raw.close()
        if closed is not None:
            await closed

    async def _execute(self, text: LiteralString, *names: str) -> None:
        statement = sql.SQL(text).format(*map(sql.Identifier, names))
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                if isinstance(self._raw, psycopg.AsyncConnection):
                    await self._raw.execute(statement)
                else:
                    await asyncio.to_thread(self._raw.execute, statement)
        except psycopg.Error as error:
            raise translate(error) from None
        except TimeoutError:
            raise DatabaseUnavailable(f"the server did not answer for {CHECK_TIMEOUT:g} s") from None
