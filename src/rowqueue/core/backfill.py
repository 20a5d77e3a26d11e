"""What a backfill answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Rest(StrEnum):
    """What is left of the source when a backfill returns."""

    ALL_QUEUED = "all_queued"
    """Every source row that was there when it began has had its job."""
    HELD = "held"
    """Nothing is left to take, but other creators hold ranges that they have not finished."""
    MORE = "more"
    """The limit was reached, or it was told to stop: there may be more."""


_WORDS = {
    Rest.ALL_QUEUED: "all queued",
    Rest.HELD: "others hold the rest",
    Rest.MORE: "there may be more",
}


@dataclass(frozen=True, slots=True)
class Backfilled:
    """The answer of a backfill.

    Attributes:
        created: how many jobs this call made.
        rest: what is left.

    Example:
        >>> str(Backfilled(3, Rest.HELD))
        'created 3, others hold the rest'
    """

    created: int
    rest: Rest

    def __str__(self) -> str:
        return f"created {self.created}, {_WORDS[self.rest]}"

    @property
    def all_queued(self) -> bool:
        """Every source row has had its job."""
        return self.rest is Rest.ALL_QUEUED
