"""The two runners: the only place where sync and async are written twice."""

from __future__ import annotations

from typing import Protocol, TypeVar

from rowqueue.core.errors import StoreError
from rowqueue.operations.base import Operation, begin
from rowqueue.sql.compiled import Call, Rows
from rowqueue.sql.statements.catalog import Statements

T = TypeVar("T")


class Connection(Protocol):
    """Runs statements, inside whatever transaction is open; its errors are typed."""

    statements: Statements

    def execute(self, call: Call) -> Rows:
        """Run one statement and return its rows, decoded."""
        ...


class AsyncConnection(Protocol):
    """The same, awaited."""

    statements: Statements

    async def execute(self, call: Call) -> Rows:
        """Run one statement and return its rows, decoded."""
        ...


def run(operation: Operation[T], connection: Connection, after: list[Call] | None = None) -> T:
    """Run an operation's steps on a connection; an error of the database is thrown into the steps.

    Args:
        operation: what to run.
        connection: where.
        after: gets the calls that are for after the commit; None runs them with the others.
    """
    steps = begin(operation, connection.statements)
    try:
        call = next(steps)
        while True:
            if call.after and after is not None:
                after.append(call)
                call = steps.send([])
                continue
            try:
                rows = connection.execute(call)
            except StoreError as error:
                call = steps.throw(error)
            else:
                call = steps.send(rows)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


async def run_async(
    operation: Operation[T], connection: AsyncConnection, after: list[Call] | None = None
) -> T:
    """``run``, awaited."""
    steps = begin(operation, connection.statements)
    try:
        call = next(steps)
        while True:
            if call.after and after is not None:
                after.append(call)
                call = steps.send([])
                continue
            try:
                rows = await connection.execute(call)
            except StoreError as error:
                call = steps.throw(error)
            else:
                call = steps.send(rows)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
