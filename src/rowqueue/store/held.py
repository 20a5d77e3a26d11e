"""Held claims: the row stays locked in the transaction that the work is done in, so both commit together."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from rowqueue.core.errors import FeatureMissing, StoreError
from rowqueue.core.finish import Finish
from rowqueue.core.values import Claim, Seconds
from rowqueue.operations import finish
from rowqueue.store import holding
from rowqueue.store.drivers.sqlalchemy import translate
from rowqueue.store.held_transaction import TRIES, HeldClaim, HeldTransaction, Request, limit_of

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
        self._timer = threading.Timer(limit, self.end)
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """Undo what was done, from any thread."""
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

    Args:
        store: whose claims.
        keep: how many connections are kept for the next claims; more are opened when needed.
    """

    def __init__(self, store: Store, keep: int = 5) -> None:
        self._store = store
        self._keep = keep
        self._engine: Engine | None = None
        self._pid = 0
        self._lock = threading.Lock()

    @contextmanager
    def claim(self, **options: Any) -> Iterator[Held | None]:
        """Claim one row and hold it for the block; see ``Store.claim_in_transaction``."""
        request = Request.of(self._store, options)
        current: Held | None = None
        try:
            with self._connect() as connection:
                transaction = self._take(connection, request)
                if transaction is None:
                    yield None
                    return
                with self._block(connection, transaction, request.limit) as current:
                    yield current
        finally:
            if current is not None and current.apart is not None:
                self._write(current, current.apart)

    @contextmanager
    def hold(
        self, claim: Claim, *, limit: Seconds | None = None, locking: Callable[[], None] | None = None
    ) -> Iterator[Held | None]:
        """Hold a claim that is there for the block, as a worker does; None where it is somebody else's by now.

        What the block raises is written and raised again; what could not be written here is ``held.apart``.

        Args:
            claim: its lease is made short, and nobody need renew it.
            limit: the longest hold (seconds or timedelta); None is the database's default.
            locking: called before the lease is made short, in this thread: from here on nothing may renew it.
        """
        seconds = limit_of(self._store, limit)
        with self._connect() as connection:
            if locking is not None:
                locking()
            transaction = HeldTransaction(connection, self._store, claim, seconds)
            if not transaction.open(holding.LEASE):
                yield None
                return
            with self._block(connection, transaction, seconds) as current:
                yield current

    @contextmanager
    def _block(self, connection: Connection, transaction: HeldTransaction, limit: float) -> Iterator[Held]:
        watch = Watch(connection, limit) if transaction.mark.whole else None
        abort = transaction.abort if watch is None else watch.end
        current = Held(transaction.claim, connection, self._store.settings, abort)
        error: BaseException | None = None
        with holding.inside(transaction.mark):
            try:
                yield current
            except BaseException as caught:  # noqa: BLE001 - written, and raised again below
                error = caught
        stopped = watch is not None and watch.stop()
        error = transaction.settle(current, error, stopped=stopped)
        if error is not None:
            raise error

    def _write(self, current: Held, ending: Finish) -> None:
        """Write an ending on another connection; should that fail too, its lease ends, and a rescue takes it."""
        with suppress(StoreError):
            try:
                current.outcome = self._store.run(finish.finish([ending]))[0]
            except FeatureMissing as missing:  # a table of the user's has no state for it
                current.outcome = self._store.run(finish.finish([current.decide(missing)]))[0]
                raise

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
                    pool_size=self._keep,
                    max_overflow=-1,
                    pool_pre_ping=database.name != "sqlite",
                )
            return self._engine

    def _open(self) -> Any:
        raw = self._store.database.connect()
        if self._store.database.name == "mariadb":
            raw.autocommit(False)
        elif self._store.database.name == "postgresql":
            raw.autocommit = False
        return raw

    def close(self) -> None:
        """Close the connections that are not in use; a child process only forgets its parent's."""
        if self._engine is not None:
            self._engine.dispose(close=self._pid == os.getpid())
            self._engine = None
