"""What an operation is: steps that yield statements, and what they need from a transaction."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeAlias, TypeVar

from rowqueue.core.errors import StoreError, UniqueConflict
from rowqueue.core.values import Key
from rowqueue.sql.compiled import Call, Rows
from rowqueue.sql.statements.catalog import Statements

T = TypeVar("T")
Steps: TypeAlias = Generator[Call, Rows, T]


class Access(Enum):
    """What the runner opens around the steps on a connection of ours.

    On a connection of the caller's, the caller's transaction is the transaction.
    """

    READ = "read"
    """Statements that only read; they need not see one snapshot."""
    WRITE = "write"
    """One writing statement, and reads after it: each may commit by itself."""
    TRANSACTION = "transaction"
    """All or nothing."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """A verb with its arguments, ready to run any number of times.

    Args:
        steps: begins the generator for the statements of one driver.
        access: what it needs around it.
        keys: the rows whose locks it waits for: a held claim of the same thread is refused there.
    """

    steps: Callable[[Statements], Steps[T]]
    access: Access
    keys: tuple[Key, ...] = ()


def begin(operation: Operation[T], s: Statements) -> Steps[T]:
    """Begin the steps of an operation, as a runner sends them to this database."""
    steps = operation.steps(s)
    return steps if s.dialect.has_returning else _unfolded(steps)


def _unfolded(steps: Steps[T]) -> Steps[T]:
    """The same steps, with a statement that takes several sent as those."""
    try:
        call = next(steps)
        while True:
            try:
                if call.statement.several:
                    rows = yield from call.statement.steps(call.values)
                else:
                    rows = yield call
            except StoreError as error:
                call = steps.throw(error)
            else:
                call = steps.send(rows)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


def savepoint(call: Call, s: Statements) -> Steps[Rows]:
    """Run one statement so that a unique conflict undoes it alone, not the transaction.

    Raises:
        UniqueConflict: after the statement was undone.
    """
    yield Call(s.plain("SAVEPOINT rowqueue"), {})
    try:
        rows = yield call
    except UniqueConflict:
        yield Call(s.plain("ROLLBACK TO SAVEPOINT rowqueue"), {})
        yield Call(s.plain("RELEASE SAVEPOINT rowqueue"), {})
        raise
    yield Call(s.plain("RELEASE SAVEPOINT rowqueue"), {})
    return rows


def unlocking(steps: Steps[T], unlock: Call | None) -> Steps[T]:
    """The steps, and then what gives a lock back that outlives the transaction, if there is such a one."""
    try:
        result = yield from steps
    except StoreError:
        if unlock is not None:
            yield unlock
        raise
    if unlock is not None:
        yield unlock
    return result
