"""What sync and async held claims share: the transaction from its lock to its end, on a sync connection."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import exc
from sqlalchemy.engine import Connection

from rowqueue.core import payload
from rowqueue.core.control import Control
from rowqueue.core.errors import ConfigurationError, DatabaseUnavailable, FeatureMissing, StoreError
from rowqueue.core.finish import Finish, HandlerTimeout, after_error
from rowqueue.core.states import Verb
from rowqueue.core.values import Claim, Job, Json, Outcome, Seconds, seconds_of
from rowqueue.operations import claim as claiming
from rowqueue.operations import finish, held
from rowqueue.operations.settings import StoreSettings
from rowqueue.store import holding
from rowqueue.store.base import StoreBase
from rowqueue.store.borrowed import BoundStore
from rowqueue.store.drivers.sqlalchemy import translate

C = TypeVar("C")

LIMITS = {"postgresql": 600.0, "mariadb": 600.0, "sqlite": 5.0}
"""How long a claim may be held (seconds); on SQLite all other writers wait meanwhile."""

TRIES = 10
"""How many claims are tried whose rows somebody else took before they could be locked."""


class HeldClaim(Generic[C]):
    """A claim whose row is locked, and the transaction around it.

    Attributes:
        claim: the claim; its job and its record are ``job`` and ``record``.
        connection: a SQLAlchemy connection inside the transaction: what is done on it commits together with the
            completion, or not at all. Its commit and rollback are the block's.
        retry: which policy a failure goes by.
        decide: from what the block raised, or None, to how the claim ends; a worker sets its own.
        outcome: how it ended, after the block; None where it is not written, or the connection was lost.
        apart: an ending that could not be written on this connection, after the block.
        abort: undoes the work at once, from any thread; what the block does next on the connection fails.
    """

    def __init__(
        self, claim: Claim, connection: C, settings: StoreSettings, abort: Callable[[], None]
    ) -> None:
        self.claim = claim
        self.connection = connection
        self.retry = settings.retry
        self.decide: Callable[[BaseException | None], Finish] = self.ending
        self.outcome: Outcome | None = None
        self.apart: Finish | None = None
        self.abort = abort
        self._result: str | None = None
        self._payload_limit = settings.payload_limit

    @property
    def job(self) -> Job:
        """The row as the claim left it."""
        return self.claim.job

    @property
    def record(self) -> Any:
        """On a table of yours: the record that its mapping makes of the row."""
        return self.claim.record

    def complete(self, result: Json = None) -> None:
        """Say what the job returns; the row is written when the block ends.

        Raises:
            InvalidArguments: the result cannot be stored.
        """
        none = result is None
        self._result = None if none else payload.encode(result, "the result", limit=self._payload_limit)

    def ending(self, error: BaseException | None) -> Finish:
        """How it ends when this was raised, or nothing; an interruption gives the attempt back."""
        if error is None:
            return Finish(self.claim, Verb.COMPLETE, result=self._result)
        if isinstance(error, KeyboardInterrupt | GeneratorExit | asyncio.CancelledError):
            return Finish(self.claim, Verb.RELEASE)
        trace = "".join(traceback.format_exception(error))
        return after_error(self.claim, error, self.retry, random=random.random(), trace=trace)  # noqa: S311


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of ``claim_in_transaction``: what to claim, and how long to hold it (seconds)."""

    options: dict[str, Any]
    limit: float

    @classmethod
    def of(cls, store: StoreBase, options: dict[str, Any]) -> Request:
        """Check them.

        Raises:
            ConfigurationError: one is wrong, or the claim would wait for one that is held here.
        """
        rest = dict(options)
        limit, independent = rest.pop("limit"), rest.pop("independent")
        seconds = limit_of(store, limit)
        holding.refuse_second(store.database, store.jobs.fullname, independent=independent)
        return cls(rest, seconds)


def limit_of(store: StoreBase, limit: Seconds | None) -> float:
    """How long a claim may be held (seconds): None is the database's default.

    Raises:
        ConfigurationError: it is no time, or too short.
    """
    return seconds_of(LIMITS[store.database.name] if limit is None else limit, "limit", minimum=0.1)


class HeldTransaction:
    """The transaction around a held claim, on a sync connection (async code gets there by ``run_sync``).

    Args:
        connection: where; no transaction is open on it.
        store: whose claim.
        claim: the claim, committed already.
        limit: the longest hold (seconds).
    """

    def __init__(self, connection: Connection, store: StoreBase, claim: Claim, limit: float) -> None:
        self.claim = claim
        self.pid = 0
        self._connection = connection
        self._store = store
        self._bound = cast("BoundStore", store.on(connection))
        self._limit = limit
        self._timer: threading.Timer | None = None
        self._sqlite = store.database.name == "sqlite"
        place = holding.place_of(store.database)
        self.mark = holding.Hold(place, store.jobs.fullname, claim.key, whole=self._sqlite)

    def open(self, lease: float | None = None) -> bool:
        """Begin, and lock the row; False when it is somebody else's by now.

        Args:
            lease: how soon after a crash the row can be rescued (seconds); None: as the claim says.

        Raises:
            StoreError: the database refused, typed.
        """
        raw = self._connection.connection.dbapi_connection
        if not self._sqlite and _commits_itself(raw):  # an engine for single statements
            self._connection.execution_options(isolation_level="READ COMMITTED")
        if lease is not None:
            self._shorten(lease)
        self._began = time.monotonic()
        self._root = self._connection.begin()
        try:
            self._cap()
            if self._bound.run(held.hold(self.claim)):
                self._savepoint = self._connection.begin_nested()
                self._root.__enter__()  # after a commit or rollback of the user's own, the next statement is refused
                return True
        except exc.DBAPIError as error:
            raise translate(error) from None
        finally:
            if self._connection.get_nested_transaction() is None:
                self._stop_timer()
                with suppress(exc.SQLAlchemyError):
                    self._root.rollback()
        return False

    def _shorten(self, lease: float) -> None:
        """In a transaction of its own; whoever lost the claim hears of it when the row is to be locked."""
        try:
            with self._connection.begin():
                if self._sqlite:
                    self._lock_file()
                self._bound.run(claiming.extend(self._store.settings, [self.claim], lease))
        except exc.DBAPIError as error:
            raise translate(error) from None

    def _cap(self) -> None:
        if self._sqlite:
            self._lock_file()
        else:
            version = self._connection.dialect.server_version_info or ()
            database = self._store.database
            shared = database.engine is not None or database.async_engine is not None
            # On MariaDB it lasts as long as the session, which is the caller's on an engine of theirs.
            limit = None if shared and database.name == "mariadb" else self._limit
            self.pid = self._bound.run(held.cap(limit, version))
            if database.name == "mariadb":  # its server counts idle seconds only
                self._timer = threading.Timer(self._limit, self._expire)
                self._timer.daemon = True
                self._timer.start()

    def _lock_file(self) -> None:
        raw = self._connection.connection.driver_connection
        if raw is not None and raw.in_transaction:  # an engine that begins by itself does not lock the file
            self._connection.exec_driver_sql("ROLLBACK")
        self._connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _expire(self) -> None:
        with suppress(StoreError):
            self.abort()

    def _stop_timer(self) -> None:
        """Once it stands, the connection is either dead or safe to use further."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()

    def abort(self) -> None:
        """End the transaction from any thread, on a connection of its own (not on SQLite).

        Raises:
            StoreError: the database cannot be asked; then it ends with its connection, or its limit.
        """
        raw = self._store.database.connect()
        try:
            cast("BoundStore", self._store.on(raw)).run(held.terminate(self.pid))
        finally:
            raw.close()

    def settle(
        self, current: HeldClaim[Any], error: BaseException | None, *, stopped: bool
    ) -> BaseException | None:
        """End the claim: commit work and completion, or undo the work and commit another ending.

        Args:
            current: what the block had; its outcome is set, or the ending that must yet be written elsewhere.
            error: what the block raised.
            stopped: the limit has passed, and the transaction is undone already.

        Returns:
            The error to raise.
        """
        self._stop_timer()
        try:
            ending = None
            if error is None and not stopped:
                try:
                    ending = current.decide(None)
                    if ending.verb is Verb.COMPLETE:
                        current.outcome = self._complete(ending)
                        return None
                except BaseException as caught:  # noqa: BLE001 - a transaction that cannot commit is a failure
                    error, ending = caught, None
            if (late := self._too_long(error, stopped=stopped)) is not None:
                late.__cause__, error = error, late
            if ending is None:
                ending = current.decide(error)
            current.outcome = None if stopped else self._end(ending)
            if current.outcome is None and not self._lost(error):
                current.apart = ending
        finally:
            self._leave(spoiled=stopped)
        return None if isinstance(error, Control) else error

    def _complete(self, ending: Finish) -> Outcome:
        """Write the completion and commit.

        A row that is not running any more was ended inside, by this very transaction: nobody else can.
        """
        if self._connection.invalidated:
            raise DatabaseUnavailable("the connection of a held claim was lost, and its work with it")
        if not self._root.is_active:
            raise ConfigurationError(
                f"the transaction of the held claim on row {self.claim.key} was ended inside its block: leave commit "
                "and rollback of held.connection to the block, and use begin_nested() for a part of the work"
            )
        outcome = self._bound.run(finish.finish([ending]))[0]
        self._commit()
        return outcome

    def _end(self, ending: Finish) -> Outcome | None:
        """Undo the work, write the ending, and commit; None where that cannot be done on this connection."""
        try:
            while (inner := self._connection.get_nested_transaction()) not in {None, self._savepoint}:
                assert inner is not None
                inner.rollback()
            if not (self._root.is_active and self._savepoint.is_active):
                return None
            self._savepoint.rollback()
            outcome = self._bound.run(finish.finish([ending]))[0]
            self._commit()
        except (StoreError, FeatureMissing, exc.SQLAlchemyError):
            return None
        return outcome

    def _commit(self) -> None:
        try:
            self._root.commit()
        except exc.DBAPIError as error:
            raise translate(error) from None

    def _leave(self, *, spoiled: bool) -> None:
        with suppress(exc.SQLAlchemyError):
            if spoiled:
                self._connection.invalidate()
            if self._root.is_active:
                self._root.rollback()
        with suppress(exc.SQLAlchemyError):
            self._root.__exit__(None, None, None)

    def _too_long(self, error: BaseException | None, *, stopped: bool) -> HandlerTimeout | None:
        """The limit ended it: ours, or the server's, which shows as a connection that is gone."""
        gone = error is not None and self._lost(error) and time.monotonic() - self._began >= self._limit
        if not (stopped or gone):
            return None
        return HandlerTimeout(
            f"row {self.claim.key} was held for longer than its limit of {self._limit:g} s, and its work was undone: "
            "do less in one transaction, or claim it with a higher limit="
        )

    def _lost(self, error: BaseException | None) -> bool:
        """The error says that the connection is gone: a rescue takes the row, as after a crash."""
        ours = isinstance(error, exc.SQLAlchemyError) and self._connection.invalidated
        gone = isinstance(error, exc.DBAPIError) and (
            error.connection_invalidated or isinstance(translate(error), DatabaseUnavailable)
        )
        return ours or gone or isinstance(error, DatabaseUnavailable)


def _commits_itself(raw: Any) -> bool:
    asked = getattr(raw, "get_autocommit", None)  # PyMySQL's autocommit is a method
    return bool(asked() if callable(asked) else getattr(raw, "autocommit", False))
