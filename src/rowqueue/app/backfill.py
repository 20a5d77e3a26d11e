"""A backfill of a job: every row of a source gets one, and each only once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from rowqueue.app.arguments import Arguments
from rowqueue.app.stores import Stores
from rowqueue.core import names
from rowqueue.core.backfill import Backfilled
from rowqueue.core.errors import ConfigurationError, InvalidArguments
from rowqueue.core.values import NewJob, Seconds, seconds_of
from rowqueue.operations.backfill import Creator, Pause, Work, remaining
from rowqueue.sql.statements.backfill import Source, source_of

Args: TypeAlias = Callable[[Any], Arguments | tuple[Any, ...] | Mapping[str, Any]]
"""From a row (its columns by name or index) to a job's arguments: ``args(...)``, a tuple, or a dict by name."""


class Job(Protocol):
    """What a backfill needs of a job."""

    kind: str

    def args(self, *args: Any, **kwargs: Any) -> Arguments:
        """Check and encode arguments."""
        ...

    def new_job(self, arguments: Arguments) -> NewJob:
        """The row to be."""
        ...


@dataclass(frozen=True, eq=False)
class Backfill:
    """A source of rows, and the job that each of them is to have once; ``app.backfill`` makes one.

    Any number of processes may run it at once: they lease ranges of keys from a cursor, and the
    ledger's unique key decides. Pruning or deleting a job does not make its row run again.
    """

    stores: Stores
    job: Job
    destination: str
    source: Source
    make: Args | None

    @classmethod
    def of(
        cls, stores: Stores, job: Job, select: Any, destination: str, args: Args | None, key: str | None
    ) -> Backfill:
        """Check what the user gave.

        Raises:
            ConfigurationError: the select, its key or the destination cannot be used.
        """
        if args is not None and not callable(args):
            raise ConfigurationError(
                f"args must be a function of a row, not {type(args).__name__}: args=lambda row: (row.id,)"
            )
        return cls(stores, job, names.text(destination, "destination"), source_of(select, key), args)

    def run(
        self,
        *,
        limit: int | None = None,
        follow: bool = False,
        batch: int = 1000,
        lease: Seconds = 60.0,
        poll: Seconds = 1.0,
        rescan: Seconds = 60.0,
        progress: Callable[[int], object] | None = None,
        stop: threading.Event | None = None,
    ) -> Backfilled:
        """Make a job for every row that never had one, until nothing is left to take.

        Args:
            limit: the most jobs to make in this call.
            follow: keep up with new rows, until ``stop`` is set or the limit is reached.
            batch: rows for each range of keys and transaction.
            lease: how long a range is this creator's; a dead one's returns after it (seconds or timedelta).
            poll: while following, how long to wait for new rows (seconds or timedelta).
            rescan: while following, how often to look for rows whose key is not beyond the last one:
                they became eligible, or were committed, late (seconds or timedelta).
            progress: is told how many jobs this call has made so far.
            stop: set it to stop after the range in work.

        Returns:
            How many jobs were made, and whether all are queued, others hold the rest, or there may be more.

        Raises:
            InvalidArguments: what ``args`` gave does not fit the job; the rows before are queued.
        """
        event = threading.Event() if stop is None else stop
        work = self._work(limit, follow, batch, lease, poll, rescan, progress, event.is_set)
        run = self.stores.sync.run
        answer: Any = None
        step = _begin(work)
        while not isinstance(step, Backfilled):
            try:
                answer = event.wait(step.seconds) if isinstance(step, Pause) else run(step)
            except BaseException as error:  # noqa: BLE001 - the work gives its range back, and raises it again
                step = _throw(work, error)
            else:
                step = _send(work, answer)
        return step

    async def run_async(
        self,
        *,
        limit: int | None = None,
        follow: bool = False,
        batch: int = 1000,
        lease: Seconds = 60.0,
        poll: Seconds = 1.0,
        rescan: Seconds = 60.0,
        progress: Callable[[int], object] | None = None,
        stop: asyncio.Event | None = None,
    ) -> Backfilled:
        """``run``, awaited; cancelling it gives its range back."""
        event = asyncio.Event() if stop is None else stop
        work = self._work(limit, follow, batch, lease, poll, rescan, progress, event.is_set)
        run = self.stores.asynchronous.run
        answer: Any = None
        step = _begin(work)
        while not isinstance(step, Backfilled):
            try:
                answer = await (_wait(event, step.seconds) if isinstance(step, Pause) else run(step))
            except BaseException as error:  # noqa: BLE001 - as in run
                step = _throw(work, error)
            else:
                step = _send(work, answer)
        return step

    def remaining(self) -> int:
        """How many rows have no job yet; it reads the whole source."""
        return self.stores.sync.run(remaining(self.source, self.destination))

    def _work(
        self,
        limit: int | None,
        follow: bool,
        batch: int,
        lease: Seconds,
        poll: Seconds,
        rescan: Seconds,
        progress: Callable[[int], object] | None,
        stopped: Callable[[], bool],
    ) -> Work:
        if limit is not None:
            names.whole(limit, "limit", 1, 2**62)
        creator = Creator(
            source=self.source,
            destination=self.destination,
            new_jobs=self._new_jobs,
            settings=self.stores.settings,
            limit=limit,
            batch=names.whole(batch, "batch", 1, 10_000),
            lease=seconds_of(lease, "lease", minimum=1.0),
            follow=follow,
            poll=seconds_of(poll, "poll", minimum=0.001),
            rescan=seconds_of(rescan, "rescan"),
            progress=progress or (lambda _created: None),
            stopped=stopped,
        )
        return creator.work()

    def _new_jobs(self, rows: Sequence[Any]) -> list[NewJob]:
        return [self.job.new_job(self._arguments(row)) for row in rows]

    def _arguments(self, row: Any) -> Arguments:
        made = tuple(row) if self.make is None else self.make(row)
        if isinstance(made, Arguments):
            return made
        if isinstance(made, tuple):
            return self.job.args(*made)
        if isinstance(made, Mapping):
            return self.job.args(**made)
        raise InvalidArguments(
            f"args of the backfill of {self.job.kind} gave a {type(made).__name__}: return its own args(...), a tuple "
            "such as (row.id,), or a dict by parameter name"
        )


def _begin(work: Work) -> Any:
    return _send(work, None)


def _send(work: Work, answer: Any) -> Any:
    try:
        return work.send(answer)
    except StopIteration as done:
        return done.value


def _throw(work: Work, error: BaseException) -> Any:
    try:
        return work.throw(error)
    except StopIteration as done:
        return done.value


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    try:
        return await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
