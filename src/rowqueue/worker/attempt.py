"""One claimed job in this process, from the claim until its ending is written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Protocol

from rowqueue.app.context import ContextControl
from rowqueue.app.table_job import Handler
from rowqueue.core.values import Claim, Key


class Interruption(Enum):
    """Why a handler was told to stop."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    FENCED = "fenced"
    LOST = "lost"
    STOP = "stop"


class Stoppable(Protocol):
    """A handler's call that can be ended from outside."""

    def stop(self, why: Interruption) -> None:
        """Tell it to stop, and see that it does."""
        ...

    def ended(self) -> None:
        """It has ended."""
        ...


class Attempt:
    """One start of one job. Everything but ``control.cancelled`` changes in the loop's thread only.

    Attributes:
        claim: key, lease and row.
        function: what runs it.
        control: the worker's side of the handler's context.
        safe_until: until when the lease holds for certain, on ``time.monotonic``'s clock: counted
            from before the claim or the renewal was sent, so the database's lease ends later.
        task: the task of an async handler.
        run: the call of a handler in a child process.
        abort: of a held claim: its row is locked, and this undoes its transaction, from any thread.
        holding: of a held claim: its lease is made short and its row locked; nothing may renew it any more.
        timer: its timeout.
        started: the task's coroutine has begun; one that is cancelled before never runs.
        ended: the handler has returned or raised, or nobody waits for it any more.
        why: the first reason for which the handler was told to stop.
        lost: somebody else has the job: nothing more is written.
    """

    __slots__ = (
        "abort",
        "claim",
        "control",
        "ended",
        "function",
        "holding",
        "lost",
        "run",
        "safe_until",
        "started",
        "task",
        "timer",
        "why",
    )

    def __init__(self, claim: Claim, function: Handler, control: ContextControl, safe_until: float) -> None:
        self.claim = claim
        self.function = function
        self.control = control
        self.safe_until = safe_until
        self.task: asyncio.Task[None] | None = None
        self.run: Stoppable | None = None
        self.abort: Callable[[], None] | None = None
        self.holding = False
        self.timer: asyncio.TimerHandle | None = None
        self.started = False
        self.ended = False
        self.why: Interruption | None = None
        self.lost = False

    def interrupt(self, why: Interruption) -> bool:
        """Tell the handler to stop; False when it was told already, or has ended."""
        if why is Interruption.LOST:
            self.lost = True
        if self.ended or self.why is not None:
            return False
        self.why = why
        self.control.cancel()
        if self.task is not None:
            self._cancel(self.task)
        if self.run is not None:
            self.run.stop(why)
        return True

    @property
    def can_be_ended(self) -> bool:
        """Its handler can be made to stop, which one in a thread cannot."""
        return self.task is not None or self.run is not None

    def lose(self) -> bool:
        """Somebody else has the job; False when that is known, or not so: see ``complete_in``."""
        if self.lost or self.control.completing:
            return False
        self.interrupt(Interruption.LOST)
        return True

    def _cancel(self, task: asyncio.Task[None]) -> None:
        if self.started:
            task.cancel()
        else:  # its first step stands before this call in the loop's queue
            task.get_loop().call_soon(self._cancel, task)


class Held:
    """The attempts whose leases this process keeps, one for each key; safe in any thread."""

    def __init__(self) -> None:
        self._attempts: dict[Key, Attempt] = {}
        self._lock = threading.Lock()

    def add(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Keep their leases.

        Returns:
            Older attempts at the same jobs: their leases are lost, or the job could not have been
            claimed again.
        """
        with self._lock:
            keys = [attempt.claim.key for attempt in attempts]
            older = [self._attempts[key] for key in keys if key in self._attempts]
            self._attempts.update(zip(keys, attempts, strict=True))
        return older

    def drop(self, attempts: Iterable[Attempt]) -> None:
        """Their endings are written, or somebody else's business."""
        with self._lock:
            for attempt in attempts:
                key = attempt.claim.key
                if self._attempts.get(key) is attempt:
                    del self._attempts[key]

    def renewable(self) -> list[Attempt]:
        """Those whose leases must be renewed; a row that its own transaction has locked is nobody else's."""
        return [attempt for attempt in self.now() if attempt.abort is None and not attempt.holding]

    def now(self) -> list[Attempt]:
        """A copy of what is held."""
        with self._lock:
            return list(self._attempts.values())
