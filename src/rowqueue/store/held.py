"""Held claims: the row stays locked in the transaction that the work is done in, so both commit together."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from rowqueue.core.errors import StoreError
from rowqueue.operations import finish
from rowqueue.store import holding
from rowqueue.store.drivers.sqlalchemy import translate
from rowqueue.store.held_transaction import TRIES, HeldClaim, HeldTransaction, Request

if TYPE_CHECKING:
    from rowqueue.store.store import Store


class Held(HeldClaim[Connection]):
    """What ``with store.claim_in_transaction() as held`` gives."""


class Watch:
    """SQLite: gives the write lock of the file back when a claim is held for too long; other writers wait for it.

    Args:
        connection: the held transaction's.
        limit: seconds.
    """

    def __init__(self, connection: Connection, limit: float) -> None:
        self._raw: Any = connection.connection.driver_connection
        self._passed = False
        self._timer = threading.Timer(limit, self._pass)
        self._timer.daemon = True
        self._timer.start()

    def _pass(self) -> None:
        with suppress(sqlite3.Error):  # an engine may tie connections to their threads: then nobody watches
            # First nothing can be written on it, then it is undone: after a rollback, a write would commit alone.
            self._raw.execute("PRAGMA query_only = ON")
            self._passed = True
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")

    def stop(self) -> bool:
        """Stop watching; True when the limit has passed."""
        self._timer.cancel()
        self._timer.join()
        return self._passed


class Holder:
    """The held claims of a sync store, and the connections for them.

    This is all that a worker with ``claim="held"`` needs, in the thread of a handler, once for each free slot:

        with store.claim_in_transaction(queues=names, kinds=kinds, worker=worker_id, independent=True) as held:
            if held is not None:
                held.retry = policy_of(held.job.kind)
                held.complete(run_handler(held.job, held.connection))

    There is nothing to renew and nothing to finish: what the handler raises goes through the block, which writes it
    and raises it again (but for Retry, Snooze, Skip, Cancel and Discard); ``held.outcome`` says how it ended.

    Args:
        store: whose claims.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._engine: Engine | None = None
        self._pid = 0
        self._lock = threading.Lock()

    @contextmanager
    def claim(self, **options: Any) -> Iterator[Held | None]:
        """Claim one row and hold it for the block; see ``Store.claim_in_transaction``."""
        request = Request.of(self._store, options)
        error: BaseException | None = None
        with self._connect() as connection:
            transaction = self._take(connection, request)
            if transaction is None:
                yield None
                return
            current = Held(transaction.claim, connection, self._store.settings)
            watch = Watch(connection, request.limit) if transaction.mark.whole else None
            with holding.inside(transaction.mark):
                try:
                    yield current
                except BaseException as caught:  # noqa: BLE001 - written, and raised again below
                    error = caught
            stopped = watch is not None and watch.stop()
            apart, error = transaction.settle(current, error, stopped=stopped)
        if apart is not None:
            with suppress(StoreError):  # then its lease ends, and a rescue takes it
                current.outcome = self._store.run(finish.finish([apart]))[0]
        if error is not None:
            raise error

    def _take(self, connection: Connection, request: Request) -> HeldTransaction | None:
        for _ in range(TRIES):
            claims = self._store.claim(**request.options)
            if not claims:
                break
            transaction = HeldTransaction(connection, self._store, claims[0], request.limit)
            try:
                if transaction.open():
                    return transaction
            except BaseException:
                with suppress(StoreError):
                    self._store.release(claims[0])
                raise
        return None

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        try:
            connection = self._engine_here().connect()
        except exc.DBAPIError as error:
            raise translate(error) from None
        with connection:
            yield connection

    def _engine_here(self) -> Engine:
        database = self._store.database
        if database.engine is not None:
            return database.engine
        with self._lock:
            if self._engine is None or self._pid != os.getpid():
                self.close()
                self._pid = os.getpid()
                # As many as are held at once, which is the caller's to say; a few are kept.
                self._engine = sa.create_engine(
                    f"{database.url.drivername}://",
                    creator=self._open,
                    poolclass=QueuePool,
                    max_overflow=-1,
                    pool_pre_ping=database.name != "sqlite",
                )
            return self._engine

    def _open(self) -> Any:
        raw = self._store.database.connect()
        if self._store.database.name != "sqlite":
            raw.autocommit = False
        return raw

    def close(self) -> None:
        """Close the connections that are not in use; a child process only forgets its parent's."""
        if self._engine is not None:
            self._engine.dispose(close=self._pid == os.getpid())
            self._engine = None
