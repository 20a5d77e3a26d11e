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
    """

    claim: Claim
    stores: Stores | None = None
    deadline: float | None = None
    cancelled: bool = False
    completing: bool = False
    on_completing: Callable[[bool], None] | None = None

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

    def log(self, entry: Json) -> None:
        """Add an entry to the job's execution log.

        Args:
            entry: anything JSON can hold.

        Raises:
            LeaseLost: the job is somebody else's by now.
        """
        if (stores := self._control.stores) is not None:
            self._done(stores.sync.add_log(self._control.claim, entry), "log entry")

    async def log_async(self, entry: Json) -> None:
        """``log``, awaited."""
        if (stores := self._control.stores) is not None:
            self._done(await stores.asynchronous.add_log(self._control.claim, entry), "log entry")

    def progress(self, fraction: float, message: str = "") -> None:
        """Say how far the job is, for people to see.

        Args:
            fraction: from 0 to 1.
            message: one line.

        Raises:
            LeaseLost: the job is somebody else's by now.
        """
        if (stores := self._control.stores) is not None:
            self._done(stores.sync.progress(self._control.claim, fraction, message), "progress")

    async def progress_async(self, fraction: float, message: str = "") -> None:
        """``progress``, awaited."""
        if (stores := self._control.stores) is not None:
            outcome = await stores.asynchronous.progress(self._control.claim, fraction, message)
            self._done(outcome, "progress")

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
