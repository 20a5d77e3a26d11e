"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass

from rowqueue.core.errors import RowqueueError

QUEUE = "bench"
KIND = "number"
BATCH = 500
"""Rows that the plain loop claims at once."""


class NotOnce(RowqueueError):
    """A job of the bench ran twice, or never: figures of such a run say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured.

    Attributes:
        rounds: how often everything is measured, ours and the plain loop in turn.
        jobs: how many are drained.
        bulk: how many are enqueued at once.
        singles: how many are enqueued one by one.
        processes: how many drain together, besides one alone; 1 leaves it out.
        concurrency: the most jobs that run at once in a worker.
        pickups: jobs that are sent to an idle worker; 0 leaves it out.
        rate: how many of them a second.
    """

    rounds: int = 3
    jobs: int = 20_000
    bulk: int = 10_000
    singles: int = 1_000
    processes: int = 2
    concurrency: int = 1000
    pickups: int = 100
    rate: float = 20.0
