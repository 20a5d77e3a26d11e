"""What a handler's end means for its job: decided without a database.

==========================  ======================================================================
told to stop because        what is written when it then ends
==========================  ======================================================================
(nothing)                   complete, what its control exception says, or a failed attempt
timeout                     a control exception is followed; anything else fails as HandlerTimeout
cancel requested            complete when it returned, else cancelled
fenced, worker stops        complete when it returned, a control exception is followed, else release
lease lost                  nothing
==========================  ======================================================================
"""

from __future__ import annotations

import asyncio
import inspect
import random
import traceback
from dataclasses import replace
from typing import Any

from rowqueue.core.control import Control
from rowqueue.core.errors import RowqueueError
from rowqueue.core.finish import Finish, HandlerTimeout, after_error
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.quick import maker
from rowqueue.core.states import Verb
from rowqueue.worker.attempt import Attempt, Interruption
from rowqueue.worker.passing import ChildFailed, Encoded, encoded

_make_finish = maker(Finish)


class RolledBack(RowqueueError):
    """The handler called ``complete_in``, but that transaction was not committed."""


class Endings:
    """Turns what became of a handler into the write that ends its claim.

    Args:
        policy: the retry policy of kinds that have none.
        payload_limit: the longest result (bytes).
    """

    def __init__(self, policy: RetryPolicy, payload_limit: int) -> None:
        self._policy = policy
        self.payload_limit = payload_limit

    def returned(self, attempt: Attempt, result: Any) -> tuple[Finish, str]:
        """The handler returned.

        Returns:
            The write; and why its result cannot be stored, or nothing. That never keeps a job
            from completing: its work is done.
        """
        if attempt.why is Interruption.TIMEOUT:
            return self._failure(attempt, _timeout(attempt), ""), ""
        if result is None:
            return _make_finish(attempt.claim, Verb.COMPLETE), ""
        if inspect.iscoroutine(result):
            result.close()
            error = TypeError(
                "the handler is a def, but returned a coroutine that nobody awaits: make it async def"
            )
            return self._failure(attempt, error, ""), ""
        stored = result if isinstance(result, Encoded) else encoded(result, self.payload_limit)
        return Finish(attempt.claim, Verb.COMPLETE, result=stored.text), stored.dropped

    def raised(self, attempt: Attempt, error: BaseException) -> Finish:
        """The handler raised, or its arguments could not be decoded."""
        if isinstance(error, Control):
            return self._failure(attempt, error, "")
        match attempt.why:
            case Interruption.TIMEOUT:
                trace = "" if isinstance(error, asyncio.CancelledError | ChildFailed) else trace_of(error)
                return self._failure(attempt, _timeout(attempt), trace)
            case Interruption.STOP | Interruption.FENCED:
                return Finish(attempt.claim, Verb.RELEASE)
            case Interruption.CANCEL:
                return Finish(attempt.claim, Verb.CANCEL, error="cancelled while it ran, as somebody asked")
        return self._failure(attempt, error, trace_of(error))

    def rolled_back(self, attempt: Attempt) -> Finish:
        """The handler returned after ``complete_in``, whose transaction was not committed."""
        error = RolledBack("complete_in was called, but its transaction was not committed")
        return self._failure(attempt, error, "")

    def _failure(self, attempt: Attempt, error: BaseException, trace: str) -> Finish:
        policy = attempt.function.retry or self._policy
        try:
            return _after(attempt, error, policy, trace)
        except Exception as broken:  # noqa: BLE001 - a custom policy may raise anything
            finish = _after(attempt, error, RetryPolicy.exponential(), trace)
            return replace(finish, error=f"{finish.error} (its retry policy failed: {type(broken).__name__})")


def _after(attempt: Attempt, error: BaseException, policy: RetryPolicy, trace: str) -> Finish:
    finish = after_error(attempt.claim, error, policy, random=random.random(), trace=trace)  # noqa: S311 - jitter
    return replace(finish, error=error.line, trace=error.trace) if isinstance(error, ChildFailed) else finish


def _timeout(attempt: Attempt) -> HandlerTimeout:
    return HandlerTimeout(f"ran longer than its timeout of {timeout_of(attempt):g} s")


def timeout_of(attempt: Attempt) -> float | None:
    """The job's own timeout, or its kind's (seconds)."""
    own = attempt.claim.job.timeout
    return attempt.function.timeout if own is None else own


def trace_of(error: BaseException) -> str:
    """The traceback as text, without the worker's own frames; never raises."""
    try:
        inner = error.__traceback__
        while inner is not None and inner.tb_frame.f_globals.get("__package__") == __package__:
            inner = inner.tb_next
        return "".join(traceback.format_exception(type(error), error, inner, limit=-20))
    except Exception:  # noqa: BLE001 - an exception may have any __cause__ and any __str__
        return ""
