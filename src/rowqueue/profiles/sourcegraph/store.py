"""The store's methods, by the original's names."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from rowqueue.core import payload
from rowqueue.core.errors import ConfigurationError, StoreError
from rowqueue.core.finish import storable
from rowqueue.core.states import State
from rowqueue.core.values import Claim
from rowqueue.operations.answers import fence_of
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.operations.decode import key_of
from rowqueue.profiles.leases import holds
from rowqueue.profiles.sourcegraph.metrics import observed
from rowqueue.profiles.sourcegraph.options import ExecutionLogEntry, Options
from rowqueue.profiles.sourcegraph.statements import Words, queued
from rowqueue.profiles.sourcegraph.values import (
    Answer,
    ErrDequeueTransaction,
    ErrExecutionLogEntryNotUpdated,
    ErrNoRecord,
    Heartbeat,
    Record,
    Stalled,
    Target,
)
from rowqueue.sql.compiled import Call
from rowqueue.sql.statements.catalog import Statements
from rowqueue.store.borrowed import BoundStore
from rowqueue.store.database import Database
from rowqueue.store.doctor import inspector
from rowqueue.store.held import Held
from rowqueue.store.store import Store as RowqueueStore

T = TypeVar("T")
Condition: TypeAlias = Callable[[Any], Any]
_MESSAGE_LIMIT = 1024 * 1024


class _Methods(ABC):
    """What the store and the store of a transaction have both."""

    options: Options
    _words: Words

    @abstractmethod
    def _run(self, operation: Operation[T]) -> T: ...

    def queued_count(
        self,
        conditions: Sequence[Condition] = (),
        *,
        include_processing: bool = False,
        dequeueable: bool = False,
    ) -> int:
        """How many rows wait: queued ones, and errored ones with retries left.

        Args:
            conditions: functions from the view to one more condition each.
            include_processing: count those too that are being worked.
            dequeueable: count only what ``dequeue`` would give now, which the original cannot say.
        """
        where = _all_of(conditions)

        def steps(s: Statements) -> Steps[int]:
            clause = queued(self._words, s.parts, where, processing=include_processing, ready=dequeueable)
            rows = yield Call(s.compile("queued_count", clause), {})
            return int(rows[0][0])

        with self._observed("queued_count"):
            return self._run(Operation(steps, Access.READ))

    def requeue(self, target: Target, after: datetime) -> Answer:
        """Put a row back, not to be dequeued before a moment (aware)."""
        if after.tzinfo is None:
            raise ConfigurationError("requeue needs an aware datetime: give it a timezone")
        return self._guarded("requeue", target, {"after": after}, end=True)

    def mark_complete(self, target: Target) -> Answer:
        """processing → completed."""
        return self._guarded("mark_complete", target, {}, end=True)

    def mark_errored(self, target: Target, failure_message: str) -> Answer:
        """processing → errored, which may run again; failed after the last retry."""
        values = {"message": storable(failure_message, _MESSAGE_LIMIT)}
        return self._guarded("mark_errored", target, values, end=True)

    def mark_failed(self, target: Target, failure_message: str) -> Answer:
        """processing → failed."""
        values = {"message": storable(failure_message, _MESSAGE_LIMIT)}
        return self._guarded("mark_failed", target, values, end=True)

    def add_execution_log_entry(self, target: Target, entry: ExecutionLogEntry | Mapping[str, Any]) -> Answer:
        """Add an entry to the row's log; the answer has its number.

        Raises:
            ErrExecutionLogEntryNotUpdated: nobody works such a row, or somebody else does.
        """
        return self._logged("log_add", target, entry, {})

    def update_execution_log_entry(
        self, target: Target, entry_id: int, entry: ExecutionLogEntry | Mapping[str, Any]
    ) -> Answer:
        """Replace an entry by its number.

        Raises:
            ErrExecutionLogEntryNotUpdated: there is no such entry.
        """
        return self._logged("log_update", target, entry, {"number": entry_id})

    def _observed(self, operation: str) -> AbstractContextManager[None]:
        return observed(self.options.observe, self.options.name, operation)

    def _logged(self, name: str, target: Target, entry: Any, values: dict[str, Any]) -> Answer:
        text = (
            entry.text() if isinstance(entry, ExecutionLogEntry) else payload.encode(dict(entry), "the entry")
        )
        answer = self._guarded(name, target, {**values, "entry": text}, end=False)
        if not answer and not self.options.seed_answers:
            raise ErrExecutionLogEntryNotUpdated(f"row {_id(target)} has no such log entry of this claim")
        return answer

    def _guarded(self, name: str, target: Target, values: dict[str, Any], *, end: bool) -> Answer:
        """One guarded UPDATE: by the claim of a record, or by the state of an id."""
        claim = target.claim if isinstance(target, Record) and not self.options.seed_answers else None
        key = _id(target)

        def steps(s: Statements) -> Steps[Answer]:
            if claim is None:
                rows = yield s.call(f"{name}_by_id", **s.key_values(key), **values)
                return Answer(bool(rows), unfenced=True, entry=_entry(name, rows, values))
            fence: dict[str, Any] = {}
            if s.layout.sidecar is None:
                fence = s.fence_values(fence_of(claim))
            elif not (yield from holds(s, key, claim, end=end)):
                return Answer(updated=False)
            rows = yield s.call(name, **s.key_values(key), **fence, **values)
            return Answer(bool(rows), entry=_entry(name, rows, values))

        with self._observed(_OPERATIONS.get(name, name)):
            return self._run(Operation(steps, Access.WRITE, (key,)))


_OPERATIONS = {"log_add": "add_execution_log_entry", "log_update": "update_execution_log_entry"}


def _entry(name: str, rows: Sequence[Any], values: Mapping[str, Any]) -> int | None:
    if not rows or not name.startswith("log_"):
        return None
    return int(rows[0][0]) if name == "log_add" else int(values["number"])


def _id(target: Target) -> int:
    return target.record_id if isinstance(target, Record) else target


class Store(_Methods):
    """The store of one table.

    Args:
        database: a URL or a SQLAlchemy Engine.
        options: what is where.

    Raises:
        ConfigurationError: an option is wrong, or a column is not there.
    """

    def __init__(self, database: Any, options: Options) -> None:
        self.options = options
        with inspector(Database(database)) as inspect:
            try:
                present = [column["name"] for column in inspect.get_columns(options.table, options.schema)]
            except exc.NoSuchTableError:
                raise ConfigurationError(f"there is no table {options.table!r}: check table_name") from None
        self._words = options.words(present)
        self.rows = RowqueueStore(
            database,
            options.mapping(present),
            schema=options.schema,
            lease=options.stalled_seconds,
            retry=options.retry,
            max_failures=max(1, options.max_num_retries),
            max_rescues=options.max_num_resets + 1,
        )
        """The rowqueue store below, for what the original did not have, and for ``rowqueue.Worker``."""

    def init(self) -> None:
        """Create the lease sidecar, where the table needs one (on SQLite); harmless elsewhere."""
        self.rows.init()

    def close(self) -> None:
        """Close the connections."""
        self.rows.close()

    def _run(self, operation: Operation[T]) -> T:
        return self.rows.run(operation)

    def max_duration_in_queue(self) -> timedelta:
        """How long the row has waited that could have been dequeued the longest ago; zero where none waits.

        Raises:
            FeatureMissing: there is no queued_at.
        """

        def steps(s: Statements) -> Steps[timedelta]:
            rows = yield s.call("oldest")
            return timedelta(seconds=float(rows[0][0] or 0))

        with self._observed("max_duration_in_queue"):
            return self._run(Operation(steps, Access.READ))

    def dequeue(self, conditions: Sequence[Condition] = ()) -> tuple[Record, TransactionStore | Store] | None:
        """Dequeue the first unlocked row that matches, and hold it.

        Args:
            conditions: functions from the view to one more condition each.

        Returns:
            The record and the store of its transaction, which must be ended by ``done`` or by ``with``; None where
            nothing waits. With heartbeats no transaction is held, and the store is this one.

        Raises:
            ErrNoRecord: the view does not show the row any more; it counts as a failure.
        """
        with self._observed("dequeue"):
            return self._beating(conditions) if self.options.heartbeat else self._held(conditions)

    def dequeue_with_independent_transaction_context(
        self, conditions: Sequence[Condition] = ()
    ) -> tuple[Record, TransactionStore | Store] | None:
        """``dequeue``: here every transaction may outlive the code that began it, and end in another thread."""
        return self.dequeue(conditions)

    def _held(self, conditions: Sequence[Condition]) -> tuple[Record, TransactionStore] | None:
        options = self.options
        block = self.rows.claim_in_transaction(
            where=_all_of(conditions), limit=options.limit, independent=True
        )
        held = block.__enter__()
        if held is None:
            block.__exit__(None, None, None)
            return None
        transaction = TransactionStore(self, held, block)
        try:
            return _record(held.claim), transaction
        except ErrNoRecord as error:
            transaction.done(error)
            raise

    def _beating(self, conditions: Sequence[Condition]) -> tuple[Record, Store] | None:
        claims = self.rows.claim(
            where=_all_of(conditions), worker=self.options.hostname or socket.gethostname()
        )
        if not claims:
            return None
        try:
            return _record(claims[0]), self
        except ErrNoRecord as error:
            with suppress(StoreError):
                self.rows.fail(claims[0], error)
            raise

    def reset_stalled(self) -> Stalled:
        """Put back the unlocked rows that have been processing for too long; fail those that did so too often."""
        stalled = Stalled([], [])
        with self._observed("reset_stalled"):
            while found := self.rows.rescue(1000):
                for one in found:
                    (stalled.reset_ids if one.state is State.AVAILABLE else stalled.errored_ids).append(
                        one.key
                    )
        return Stalled(sorted(stalled.reset_ids), sorted(stalled.errored_ids))

    def heartbeat(self, targets: Sequence[Target]) -> Heartbeat:
        """Say that rows are still being worked; those not among the known ones are lost.

        Raises:
            FeatureMissing: the table has no heartbeats; the held transaction is the sign of life.
        """
        records = [target for target in targets if isinstance(target, Record)]
        ids = sorted(target for target in targets if not isinstance(target, Record))
        known: list[int] = []
        cancel: list[int] = []
        with self._observed("heartbeat"):
            for outcome in self.rows.extend([record.claim for record in records]):
                if outcome:
                    known.append(outcome.key)
                    cancel += [outcome.key] if outcome.cancel_requested else []
            for key, asked in self._run(_beat(ids, known)):
                known.append(key)
                cancel += [key] if asked else []
        return Heartbeat(sorted(known), sorted(cancel))


class TransactionStore(_Methods):
    """The store of the transaction that holds one row.

    Attributes:
        connection: a SQLAlchemy connection in it: what is done there commits with the row's end, or not at all.
    """

    def __init__(self, store: Store, held: Held, block: AbstractContextManager[Held | None]) -> None:
        self.options = store.options
        self._words = store._words  # noqa: SLF001 - the same words
        self.connection = held.connection
        self._held = held
        self._block = block
        bound = store.rows.on(held.connection)
        assert isinstance(bound, BoundStore)
        self._bound = bound

    def _run(self, operation: Operation[T]) -> T:
        return self._bound.run(operation)

    def dequeue(self, _conditions: Sequence[Condition] = ()) -> None:
        """Refused: a row is not dequeued inside the transaction of another.

        Raises:
            ErrDequeueTransaction: always.
        """
        raise ErrDequeueTransaction(
            "dequeue was called on a transaction's store: call it on the store itself"
        )

    def done(self, error: BaseException | None = None) -> None:
        """End the transaction.

        Args:
            error: None commits, and completes a row that was not marked; an error undoes what was done, and marks
                the row errored, or failed after its last retry.

        Raises:
            StoreError: it could not commit.
        """
        if error is None:
            self._block.__exit__(None, None, None)
        else:
            self._block.__exit__(type(error), error, error.__traceback__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._block.__exit__(kind, error, trace)


def _record(claim: Claim) -> Record:
    if claim.record is None:
        raise ErrNoRecord(f"row {claim.key} was locked, but the view does not show it")
    return Record(claim.key, claim.record, claim)


def _all_of(conditions: Sequence[Condition]) -> Condition | None:
    if not conditions:
        return None
    if callable(conditions) or not all(map(callable, conditions)):
        raise ConfigurationError("conditions are a list of functions: write [lambda t: ...]")
    return lambda source: sa.and_(*(condition(source) for condition in conditions))


def _beat(ids: Sequence[int], renewed: Sequence[int]) -> Operation[list[tuple[int, bool]]]:
    """The heartbeat of rows by id; and of rows whose lease was renewed, where that is not in the table itself."""

    def steps(s: Statements) -> Steps[list[tuple[int, bool]]]:
        wanted = [*ids, *(renewed if s.layout.sidecar is not None else ())]
        if not wanted:
            return []
        rows = yield s.call("heartbeat_by_id", **s.pack_keys(sorted(wanted)))
        found = [(key_of(row, s.layout), row[-1] is not None) for row in rows]
        return [(key, asked) for key, asked in found if key in ids]

    return Operation(steps, Access.WRITE, tuple(ids))
