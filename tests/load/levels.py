"""Whether a measurement levels off: its growth over the time, and how much of that may be noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

BLOCKS = 12
WARM = 0.3
"""The part of the time that is left out: caches fill, the first jobs grow old enough to be pruned."""


@dataclass(frozen=True, slots=True)
class Level:
    """How a measurement went after the warming up.

    Attributes:
        first, last: the means of the first and the last block of samples.
        growth: what a line through the blocks' means rises by, over the whole time.
        noise: two standard errors of that.
    """

    first: float
    last: float
    growth: float
    noise: float

    @property
    def certain(self) -> float:
        """The growth that is more than noise."""
        return max(0.0, self.growth - self.noise)


def level(samples: Sequence[float]) -> Level:
    """Judge evenly taken samples.

    A sample is no independent draw: memory stays where it is, dead rows climb until they are swept. Means of blocks
    are nearly independent of each other, so the line is laid through them.
    """
    warm = samples[int(len(samples) * WARM) :]
    if len(warm) < 2 * BLOCKS:
        raise ValueError(f"{len(samples)} samples are too few to be judged")
    size = len(warm) / BLOCKS
    means = [_mean(warm[int(turn * size) : int((turn + 1) * size)]) for turn in range(BLOCKS)]
    middle, center = (BLOCKS - 1) / 2, _mean(means)
    spread = sum((turn - middle) ** 2 for turn in range(BLOCKS))
    slope = sum((turn - middle) * (mean - center) for turn, mean in enumerate(means)) / spread
    rest = sum((mean - center - slope * (turn - middle)) ** 2 for turn, mean in enumerate(means))
    error = sqrt(rest / (BLOCKS - 2) / spread)
    return Level(means[0], means[-1], slope * (BLOCKS - 1), 2 * error * (BLOCKS - 1))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
