"""How one attempt ends: a value that says which verb to write, decided without a database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rowqueue.core import control
from rowqueue.core.errors import RowqueueError
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.states import State, Verb
from rowqueue.core.values import Claim, Job

ERROR_LIMIT = 1_000
TRACE_LIMIT = 4_000


@dataclass(frozen=True, slots=True)
class Finish:
    """One write that ends a claim.

    Attributes:
        claim: whose attempt it is; its lease is the fence.
        verb: complete, fail, snooze, release, skip, cancel or discard.
        state: where ``fail`` leads: retryable, available or discarded.
        delay: seconds until it may run again (``fail`` to retryable, ``snooze``).
        error: one line for the job's errors; None writes no entry.
        trace: the traceback.
        result: encoded JSON text to keep (``complete``).
    """

    claim: Claim
    verb: Verb
    state: State | None = None
    delay: float = 0.0
    error: str | None = None
    trace: str = ""
    result: str | None = field(default=None, repr=False)


def after_failure(job: Job, policy: RetryPolicy, *, random: float) -> tuple[State, float]:
    """Where a failed attempt leads, by its attempts and its policy.

    Args:
        job: the row as it was claimed; ``attempt`` counts this start already.
        policy: maps the attempt to a delay.
        random: from 0 up to 1, for the jitter.

    Returns:
        The next state and the delay in seconds: ``discarded`` when ``attempt >= max_attempts``.
    """
    if job.attempt >= job.max_attempts:
        return State.DISCARDED, 0.0
    delay = policy.delay(job.attempt, random=random)
    return (State.RETRYABLE, delay) if delay > 0 else (State.AVAILABLE, 0.0)


def after_error(
    claim: Claim, error: BaseException, policy: RetryPolicy, *, random: float, trace: str
) -> Finish:
    """What a handler's exception asks for: an instruction of ``control``, or a failed attempt.

    Args:
        claim: whose attempt ended.
        error: what the handler raised.
        policy: the job kind's retry policy, or the store's.
        random: from 0 up to 1, for the jitter.
        trace: the traceback as text.
    """
    line = one_line(error)
    match error:
        case control.Snooze():
            return Finish(claim, Verb.SNOOZE, delay=error.delay)
        case control.Skip():
            return Finish(claim, Verb.SKIP, error=error.reason or None)
        case control.Cancel():
            return Finish(claim, Verb.CANCEL, error=error.reason or None)
        case control.Discard():
            return Finish(claim, Verb.DISCARD, error=error.reason or "the handler discarded it")
        case control.Retry():
            state, delay = after_failure(claim.job, policy, random=random)
            if error.after is not None and state is not State.DISCARDED:
                state, delay = (State.RETRYABLE, error.after) if error.after > 0 else (State.AVAILABLE, 0.0)
            return Finish(claim, Verb.FAIL, state=state, delay=delay, error=line)
        case _:
            state, delay = after_failure(claim.job, policy, random=random)
            return Finish(claim, Verb.FAIL, state=state, delay=delay, error=line, trace=trace)


def one_line(error: BaseException) -> str:
    """An exception as one storable line: its type and message, shortened.

    A message that cannot be made (a ``__str__`` that raises) never blocks the write.
    """
    if isinstance(error, control.Control):
        return storable(str(error), ERROR_LIMIT)
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not keep a job from failing
        message = "(its message could not be made)"
    name = type(error).__name__
    return storable(f"{name}: {message}" if message else name, ERROR_LIMIT).replace("\n", " ")


def storable(text: Any, limit: int) -> str:
    """Text that every database takes: no NUL, no lone surrogates, at most ``limit`` characters.

    The end is kept, because a traceback says what happened in its last lines.
    """
    clean = str(text).replace("\x00", "\\0").encode("utf-8", "replace").decode()
    return clean if len(clean) <= limit else "…" + clean[-(limit - 1) :]


class HandlerTimeout(RowqueueError):
    """An attempt ran longer than its timeout (seconds)."""
