"""How a child's handler ended, on its way to the worker: JSON data, never a pickle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from rowqueue.core import control, payload
from rowqueue.core.errors import InvalidArguments, RowqueueError
from rowqueue.core.finish import ERROR_LIMIT, TRACE_LIMIT, one_line, storable
from rowqueue.core.values import Claim, Job
from rowqueue.worker.wire import Message


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a handler returned, as far as it can be stored.

    Attributes:
        text: JSON; None stores nothing.
        dropped: why it cannot be stored, or nothing. That never keeps a job from completing: its
            work is done.
    """

    text: str | None = field(repr=False)
    dropped: str = ""


class ChildFailed(RowqueueError):
    """A handler in a child raised, or its child died.

    Args:
        line: the line for the job's errors.
        trace: the handler's traceback.
    """

    def __init__(self, line: str, trace: str = "") -> None:
        super().__init__(line)
        self.line = line
        self.trace = trace


def encoded(result: Any, limit: int) -> Encoded:
    """A handler's result as JSON text of at most ``limit`` bytes."""
    if result is None:
        return Encoded(None)
    try:
        plain = msgspec.to_builtins(result, str_keys=True)
        return Encoded(payload.encode(plain, "the result", limit=limit))
    except InvalidArguments as error:
        return Encoded(None, str(error))
    except Exception as error:  # noqa: BLE001 - a user's class may raise anything here
        return Encoded(None, f"{type(result).__name__}: {type(error).__name__}")


def claim_message(claim: Claim) -> Message:
    """A claim as JSON data."""
    plain = msgspec.to_builtins(claim.job)
    return {"key": msgspec.to_builtins(claim.key), "lease": claim.lease, "job": plain}


def claim_of(message: Message) -> Claim:
    """The claim that ``claim_message`` packed."""
    job = msgspec.convert(message["job"], Job, strict=False)
    return Claim(message["key"], message["lease"], job)


def raised_message(error: BaseException, trace: str) -> Message:
    """An exception as JSON data: an instruction of ``control`` stays one, all else is text."""
    match error:
        case control.Retry():
            return {"control": "Retry", "after": error.after, "reason": _text(error.reason)}
        case control.Snooze():
            return {"control": "Snooze", "delay": error.delay}
        case control.Skip() | control.Cancel() | control.Discard():
            name = next(kind.__name__ for kind in _ENDINGS if isinstance(error, kind))
            return {"control": name, "reason": _text(error.reason)}
    return {"error": one_line(error), "trace": storable(trace, TRACE_LIMIT)}


def raised_of(message: Message) -> Exception:
    """The exception that stands for what ``raised_message`` packed."""
    match message.get("control"):
        case None:
            return ChildFailed(message["error"], message["trace"])
        case "Retry":
            return control.Retry(message["after"], message["reason"])
        case "Snooze":
            return control.Snooze(message["delay"])
        case name:
            ending = next(kind for kind in _ENDINGS if kind.__name__ == name)
            return ending(message["reason"])


_ENDINGS = (control.Skip, control.Cancel, control.Discard)


def _text(reason: object) -> str:
    return storable(reason, ERROR_LIMIT)
