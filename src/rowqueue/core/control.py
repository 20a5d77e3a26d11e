"""What a handler may raise to say how its attempt ends."""

from __future__ import annotations

from rowqueue.core.errors import RowqueueError
from rowqueue.core.values import Seconds, seconds_of


class Control(RowqueueError):
    """The common base of the exceptions that are not failures but instructions."""


class Retry(Control):
    """This attempt failed; run it again after a delay of the handler's choice.

    Args:
        after: seconds or a timedelta; None leaves it to the retry policy.
        reason: one line for the job's errors.
    """

    def __init__(self, after: Seconds | None = None, reason: str = "the handler asked for a retry") -> None:
        super().__init__(reason)
        self.after = None if after is None else seconds_of(after, "Retry(after)")
        self.reason = reason


class Snooze(Control):
    """Not now: run it again after ``delay`` (seconds or timedelta); the attempt is given back."""

    def __init__(self, delay: Seconds) -> None:
        self.delay = seconds_of(delay, "Snooze(delay)")
        super().__init__(f"snoozed for {self.delay:g} s")


class _Ending(Control):
    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Skip(_Ending):
    """There is nothing to do for this one: it ends ``skipped``."""


class Cancel(_Ending):
    """It is not wanted any more: it ends ``cancelled``."""


class Discard(_Ending):
    """It can never work: it ends ``discarded`` at once, whatever attempts are left."""
