"""What a handler is given about its attempt, and the worker's side of it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, overload

from rowqueue.app.connections import AsyncConnection, SyncConnection
from rowqueue.app.stores import Stores
from rowqueue.core.errors import ConfigurationError, LeaseLost
from rowqueue.core.states import State
from rowqueue.core.values import Claim, Job, Json, Outcome
from rowqueue.operations import finish
from rowqueue.operations.base import Operation
from rowqueue.store.borrowed import AsyncBoundStore


@dataclass(slots=True, eq=False)
class ContextControl:
    """The worker's side of a ``Context``: what the worker sets, and what it must look at afterwards.

    Attributes:
        claim: whose attempt it is.
        stores: where log, progress and completion go; None for a call without a worker.
        deadline: when the attempt times out, on ``time.monotonic``'s clock; None: never.
        cancelled: set by ``cancel``; the handler sees it as ``context.cancelled``.
        completing: ``complete_in`` has written, or is writing, the completion into a transaction
            of the handler's. The worker pauses the renewal of this claim and, when the handler has
            ended, reads the row again, because only the database knows whether that was committed.
        on_completing: told before ``completing`` changes, in a child process.
        connection: of a held claim: SQLAlchemy's, in the transaction that has the row locked.
    """

    claim: Claim
    stores: Stores | None = None
    deadline: float | None = None
    cancelled: bool = False
    completing: bool = False
    on_completing: Callable[[bool], None] | None = None
    connection: Any = None

    @property
    def context(self) -> Context:
        """The handler's side."""
        return Context(self)

    def set_completing(self, completing: bool) -> None:
        """Say whether a transaction of the handler's completes the job."""
        if self.on_completing is not None:
            self.on_completing(completing)
        self.completing = completing

    def cancel(self) -> None:
        """Tell the handler to stop: cancelled by a person, timed out, lease lost, or the worker stops."""
        self.cancelled = True


class Context:
    """One attempt, for its handler: injected where the first parameter is annotated with it.

    Methods without ``_async`` block for one short transaction: right in a ``def`` handler, which
    has a thread of its own. In an ``async def`` handler use the ``_async`` twins.

    Example:
        >>> @app.job  # doctest: +SKIP
        ... def resize(context: Context, image_id: int) -> None:
        ...     context.progress(0.5, "halfway")
        ...     if context.cancelled:
        ...         raise rowqueue.Cancel("asked to stop")
    """

    __slots__ = ("_control",)

    def __init__(self, control: ContextControl) -> None:
        self._control = control

    def __repr__(self) -> str:
        return f"Context(job={self.job.id!r}, kind={self.job.kind!r}, attempt={self.attempt})"

    @property
    def job(self) -> Job:
        """The row as the claim left it."""
        return self._control.claim.job

    @property
    def record(self) -> Any:
        """The row of a table of yours, as its mapping's ``record`` makes it; None on the default table."""
        return self._control.claim.record

    @property
    def attempt(self) -> int:
        """Which start this is, counted from 1."""
        return self._control.claim.job.attempt

    @property
    def cancelled(self) -> bool:
        """True as soon as the handler should stop; what it writes from then on may be refused."""
        return self._control.cancelled

    @property
    def deadline(self) -> float | None:
        """When this attempt times out, on ``time.monotonic``'s clock (seconds); None: never."""
        return self._control.deadline

    @property
    def connection(self) -> Any:
        """The transaction that a job with ``claim="held"`` works in: a SQLAlchemy Connection, or an AsyncConnection for ``async def``.

        What is done on it commits together with the job's completion when the handler returns, and is undone when
        it raises. Its commit and rollback are the worker's; ``begin_nested()`` makes a part of the work one to undo.

        Raises:
            ConfigurationError: the job is not a held one.

        Example:
            >>> @app.job(claim="held")  # doctest: +SKIP
            ... def bill(context: Context, order_id: int) -> None:
            ...     context.connection.execute(insert(bills).values(order_id=order_id))
            ...     send_bill.on(context.connection).enqueue(order_id)
        """
        if self._control.connection is None:
            raise ConfigurationError(
                f"{self.job.kind} has no connection of its own: give it claim='held', and let a worker run it"
            )
        return self._control.connection

    def log(self, entry: Json) -> None:
        """Add an entry to the job's execution log; that of a held job commits with its work.

        Args:
            entry: anything JSON can hold.

        Raises:
            LeaseLost: the job is somebody else's by now.
        """
        self._write(finish.add_log(self._control.claim, entry), "log entry")

    async def log_async(self, entry: Json) -> None:
        """``log``, awaited."""
        await self._write_async(finish.add_log(self._control.claim, entry), "log entry")

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the job is, for people to see; of a held job they see it when it has ended.

        Args:
            fraction: from 0 to 1.
            message: one line.

        Raises:
            LeaseLost: the job is somebody else's by now.
        """
        self._write(finish.progress(self._control.claim, fraction, message), "progress")

    async def progress_async(self, fraction: float, message: str = "") -> None:
        """``progress``, awaited."""
        await self._write_async(finish.progress(self._control.claim, fraction, message), "progress")

    def _write(self, operation: Operation[Any], what: str) -> None:
        control = self._control
        if control.stores is None:
            return
        if control.connection is None:
            self._done(control.stores.sync.run(operation), what)
            return
        bound = control.stores.sync.on(control.connection)
        if isinstance(bound, AsyncBoundStore):
            raise ConfigurationError(
                f"the {what} goes through an async connection: await the method's _async twin"
            )
        self._done(bound.run(operation), what)

    async def _write_async(self, operation: Operation[Any], what: str) -> None:
        control = self._control
        if control.stores is None:
            return
        if control.connection is None:
            self._done(await control.stores.asynchronous.run(operation), what)
            return
        done = control.stores.sync.on(control.connection).run(operation)
        self._done(await done if inspect.isawaitable(done) else done, what)

    @overload
    def complete_in(self, connection: SyncConnection, result: Json = None) -> None: ...
    @overload
    def complete_in(self, connection: AsyncConnection, result: Json = None) -> Awaitable[None]: ...
    def complete_in(self, connection: Any, result: Json = None) -> Awaitable[None] | None:
        """Complete the job in your own transaction: its work and its completion commit together.

        Args:
            connection: whatever a job's ``on`` takes; await the call when the connection is async.
            result: anything JSON can hold, kept on the row.

        Raises:
            LeaseLost: the job is somebody else's by now: let it fly, so that your transaction rolls back.

        Example:
            >>> with Session(engine) as session, session.begin():  # doctest: +SKIP
            ...     session.add(Thumbnail(image_id))
            ...     context.complete_in(session)
        """
        control = self._control
        if control.stores is None:
            raise ConfigurationError(
                "complete_in needs a worker: this context comes from a direct call of the job"
            )
        if control.connection is not None:
            raise ConfigurationError(
                "a held job completes in its own transaction when its handler returns: work on context.connection"
            )
        bound = control.stores.sync.on(connection)
        control.set_completing(True)
        outcome = bound.complete(control.claim, result)
        if inspect.isawaitable(outcome):
            return self._completed_async(outcome)
        self._completed(outcome)
        return None

    async def _completed_async(self, outcome: Awaitable[Outcome]) -> None:
        self._completed(await outcome)

    def _completed(self, outcome: Outcome) -> None:
        if not outcome:
            self._control.set_completing(False)
            raise LeaseLost(
                f"job {outcome.key} cannot be completed ({outcome.reason}): roll back, it is not yours now"
            )

    def _done(self, outcome: Outcome | int, what: str) -> None:
        if isinstance(outcome, Outcome) and not outcome:
            raise LeaseLost(
                f"the {what} of job {outcome.key} was refused ({outcome.reason}): it is not yours any more"
            )


def direct(kind: str, queue: str) -> Context:
    """The context of a direct call, without worker or row: its log and progress go nowhere."""
    now = datetime.now(UTC)
    job = Job(
        id=None,
        kind=kind,
        queue=queue,
        state=State.RUNNING,
        priority=2,
        args={},
        scheduled_at=now,
        attempt=1,
        max_attempts=1,
        failures=0,
        lease=1,
        leased_until=None,
        attempted_at=now,
        attempted_by=None,
        created_at=now,
        finalized_at=None,
        rescues=0,
        snoozes=0,
        timeout=None,
        cancel_requested_at=None,
        unique_key=None,
        unique_states=frozenset(),
        tags=(),
        correlation_id=None,
        correlation_group=None,
        meta={},
        errors=(),
        progress=None,
        result=None,
    )
    return ContextControl(Claim(job.id, job.lease, job)).context
