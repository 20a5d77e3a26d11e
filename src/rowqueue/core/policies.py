"""When a failed job runs again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rowqueue.core.errors import ConfigurationError
from rowqueue.core.values import Seconds, seconds_of


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Maps the number of the failed attempt to the delay before the next.

    Build one with ``exponential``, ``linear``, ``constant``, ``schedule`` or ``custom``.

    Example:
        >>> RetryPolicy.constant(5).delay(1, random=0.5)
        5.0
    """

    name: str
    _delay: Callable[[int], float]
    jitter: float = 0.0

    @classmethod
    def exponential(
        cls, base: Seconds = 15, *, factor: float = 2.0, maximum: Seconds = 86_400, jitter: float = 0.1
    ) -> RetryPolicy:
        """Wait ``base * factor ** (attempt - 1)``, at most ``maximum``, give or take the jitter.

        Args:
            base: the first delay (seconds or timedelta).
            factor: by how much each delay grows, at least 1.
            maximum: the longest delay (seconds or timedelta).
            jitter: 0.1 spreads a delay over 90 to 110 %, so that jobs that failed together do
                not return together.
        """
        first, most = seconds_of(base, "base"), seconds_of(maximum, "maximum")
        if not 1 <= factor <= 1000:
            raise ConfigurationError(f"factor must be from 1 to 1000, not {factor!r}")

        def delay(attempt: int) -> float:
            # The exponent is capped because a float overflows near 1e308.
            return min(most, first * factor ** min(attempt - 1, 100))

        return cls(f"exponential({first:g} s, x{factor:g}, at most {most:g} s)", delay, _fraction(jitter))

    @classmethod
    def linear(cls, step: Seconds, *, maximum: Seconds = 86_400, jitter: float = 0.0) -> RetryPolicy:
        """Wait ``step * attempt``, at most ``maximum`` (seconds or timedelta)."""
        by, most = seconds_of(step, "step"), seconds_of(maximum, "maximum")
        return cls(f"linear({by:g} s)", lambda attempt: min(most, by * attempt), _fraction(jitter))

    @classmethod
    def constant(cls, delay: Seconds, *, jitter: float = 0.0) -> RetryPolicy:
        """Wait the same ``delay`` (seconds or timedelta) each time; 0 runs it again at once."""
        same = seconds_of(delay, "delay")
        return cls(f"constant({same:g} s)", lambda _attempt: same, _fraction(jitter))

    @classmethod
    def schedule(cls, delays: Sequence[Seconds], *, jitter: float = 0.0) -> RetryPolicy:
        """Wait the n-th delay after the n-th attempt, and the last one from there on."""
        steps = tuple(seconds_of(delay, "delays") for delay in delays)
        if not steps:
            raise ConfigurationError("schedule() needs at least one delay")
        return cls(f"schedule{steps}", lambda attempt: steps[min(attempt, len(steps)) - 1], _fraction(jitter))

    @classmethod
    def custom(cls, delay: Callable[[int], float], *, name: str = "custom") -> RetryPolicy:
        """Ask a function: it gets the number of the failed attempt and returns seconds."""
        return cls(name, delay)

    def delay(self, attempt: int, *, random: float) -> float:
        """Seconds until the next attempt.

        Args:
            attempt: the number of the attempt that failed, counted from 1.
            random: a number from 0 up to 1, for the jitter (an argument, so that tests decide).

        Raises:
            ConfigurationError: a custom function returned something that is not a delay.
        """
        seconds = seconds_of(self._delay(max(1, attempt)), f"the delay of retry policy {self.name}")
        return seconds * (1 + self.jitter * (2 * random - 1))


def _fraction(jitter: float) -> float:
    if not 0 <= jitter <= 1:
        raise ConfigurationError(f"jitter is a fraction from 0 to 1, not {jitter!r}")
    return float(jitter)
