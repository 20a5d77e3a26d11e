"""backfill: a job for every row of a source that never had one, by any number of creators at once.

The ledger's unique key decides, so leases are only about not doing work twice: a creator that lost
its range to another still writes, and what the other wrote first is left out.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from rowqueue.core.backfill import Backfilled, Rest
from rowqueue.core.errors import ConfigurationError, StoreError
from rowqueue.core.values import NewJob
from rowqueue.operations import enqueue
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.operations.settings import StoreSettings
from rowqueue.sql.compiled import Call
from rowqueue.sql.statements import backfill as sql
from rowqueue.sql.statements.backfill import Source
from rowqueue.sql.statements.catalog import Statements

WIDEST = 16
"""The most batches of a range that is handed out while creators get in each other's way."""


class Range(NamedTuple):
    """Keys that this creator has leased, the first and the last included, as text."""

    id: int
    lease: int
    first: str
    last: str


class Look(NamedTuple):
    """What a creator sees before it takes a range; ``first`` is None where there is nothing to take."""

    version: int
    begun_at: datetime
    now: datetime
    verified: datetime | None
    """Where there is nothing to take: every row from before this moment has had its job."""
    held: bool
    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long (seconds) for new rows; the driver answers True when it was told to stop."""

    seconds: float


Work: TypeAlias = Generator[Operation[Any] | Pause, Any, Backfilled]


@dataclass(frozen=True, kw_only=True)
class Creator:
    """One call of backfill: yields operations and pauses, and answers what it did.

    Args:
        source: where the rows come from.
        destination: what the jobs are for; each source row gets one job for each destination.
        new_jobs: makes jobs of rows.
        settings: the store's.
        limit: the most jobs to make.
        batch: rows for each range and transaction.
        lease: how long a range is ours (seconds); a dead creator's range returns after it.
        follow: keep up with new rows until told to stop.
        poll: how long to wait for new rows (seconds).
        rescan: while following, how often to look for rows before the newest key (seconds).
        progress: is told how many jobs were made so far.
        stopped: whether to stop before the next range.
    """

    source: Source
    destination: str
    new_jobs: Callable[[Sequence[Any]], list[NewJob]]
    settings: StoreSettings
    limit: int | None = None
    batch: int = 1000
    lease: float = 60.0
    follow: bool = False
    poll: float = 1.0
    rescan: float = 60.0
    progress: Callable[[int], object] = lambda _created: None
    stopped: Callable[[], bool] = lambda: False

    def work(self) -> Work:
        """Make jobs until nothing is left to take."""
        created, since, verified, wide = 0, None, None, 1
        yield _write("backfill_begin", destination=self.destination)
        while not self.stopped():
            size = self.batch if self.limit is None else min(self.batch, self.limit - created)
            if size == 0:
                break
            taken: Range | None = yield self._take()
            if taken is None:
                seen: Look = yield self._look(size * wide, since, verified)
                since = since or seen.now
                if seen.first is not None:
                    taken = yield self._advance(seen)
                    if taken is None:  # another was faster: ask for more, and so less often
                        wide = min(2 * wide, WIDEST)
                elif self.follow:
                    verified = seen.verified or verified
                    yield Pause(self.poll)
                else:
                    return Backfilled(created, Rest.HELD if seen.held else Rest.ALL_QUEUED)
            if taken is not None:
                created += yield from self._fill(taken, size)
                self.progress(created)
        return Backfilled(created, Rest.MORE)

    def _fill(self, taken: Range, size: int) -> Generator[Operation[Any], Any, int]:
        try:
            rows = yield self._read(taken, size)
            first = {key: self._row(*row) for key, *row in reversed(rows[:size])}  # a join may repeat a key
            keys = list(reversed(first))
            jobs = self.new_jobs([first[key] for key in keys])
            _refuse_unique(jobs)
            created: int = yield self._queue(taken, keys, jobs, rest=keys[-1] if len(rows) > size else None)
        except GeneratorExit:
            raise
        except BaseException:
            with suppress(StoreError):  # else it returns when its lease ends
                yield self._give_back(taken)
            raise
        return created

    @cached_property
    def _row(self) -> Callable[..., Any]:
        return namedtuple("Row", self.source.names, rename=True)  # noqa: PYI024 - its names are known at run time

    def _take(self) -> Operation[Range | None]:
        def steps(s: Statements) -> Steps[Range | None]:
            rows = yield s.call("backfill_take", destination=self.destination, duration=self.lease)
            return Range(*rows[0]) if rows else None

        return Operation(steps, Access.WRITE)

    def _look(self, size: int, since: datetime | None, verified: datetime | None) -> Operation[Look]:
        """Where the next range begins and ends.

        Rows may turn up before the cursor (they became eligible later, their key sorts there, or
        their transaction was a long one); so once the cursor is at the end, the source is looked
        through from its start, unless that was done since this call began.
        """

        def steps(s: Statements) -> Steps[Look]:
            rows = yield s.call("backfill_look", destination=self.destination)
            position, version, begun_at, now, out = rows[0]
            held, known = bool(out), max(begun_at, verified or begun_at)
            fresh = position is None
            first, last = yield from self._boundary(s, size, position)
            wanted = since or now
            if verified is not None:
                wanted = verified if now - verified < timedelta(seconds=self.rescan) else now
            if first is None and not fresh and not held and known < wanted:
                fresh = True
                first, last = yield from self._boundary(s, size, None)
            nothing = first is None and not held
            done = (now if fresh else known) if nothing else None
            return Look(version, now if fresh else begun_at, now, done, held, first, last)

        return Operation(steps, Access.READ)

    def _boundary(self, s: Statements, size: int, after: str | None) -> Steps[tuple[str | None, str | None]]:
        clause = sql.boundary(s.parts, self.source, beyond=after is not None)
        values = {"destination": self.destination, "size": size, "after": after}
        rows = yield Call(s.compile("backfill_boundary", clause), values)
        return rows[0][0], rows[0][1]

    def _advance(self, seen: Look) -> Operation[Range | None]:
        """Take the range that was seen; None when another creator moved the cursor meanwhile."""
        values = {"destination": self.destination, "last": seen.last}

        def steps(s: Statements) -> Steps[Range | None]:
            moved = yield s.call("backfill_advance", version=seen.version, begun_at=seen.begun_at, **values)
            if not moved:
                return None
            rows = yield s.call("backfill_add", first=seen.first, duration=self.lease, **values)
            return Range(*rows[0])

        return Operation(steps, Access.TRANSACTION)

    def _read(self, taken: Range, size: int) -> Operation[list[Any]]:
        values = {"destination": self.destination, "first": taken.first, "last": taken.last, "size": size + 1}

        def steps(s: Statements) -> Steps[list[Any]]:
            rows = yield Call(s.compile("backfill_chunk", sql.chunk(s.parts, self.source)), values)
            return rows

        return Operation(steps, Access.READ)

    def _queue(
        self, taken: Range, keys: Sequence[str], jobs: Sequence[NewJob], *, rest: str | None
    ) -> Operation[int]:
        """The jobs, their entries in the ledger and the end of the range: all or nothing."""
        inner = enqueue.enqueue(jobs, self.settings) if jobs else None

        def steps(s: Statements) -> Steps[int]:
            created = 0
            if inner is not None:
                made = yield from inner.steps(s)
                ids = [one.job.id for one in made]
                columns: dict[str, list[Any]] = {"source_key": list(keys), "job_id": ids}
                rows = yield s.call_rows("backfill_record", "given", columns, destination=self.destination)
                new = {row[0] for row in rows} & set(ids)
                created = len(new)
                extra = sorted(set(ids) - new)
                if extra:
                    yield s.call("backfill_undo", keys=s.dialect.pack_list(extra))
            if rest is None:
                yield s.call("backfill_done", id=taken.id, lease=taken.lease)
            else:
                yield s.call("backfill_give_back", id=taken.id, lease=taken.lease, first=rest)
            return created

        return Operation(steps, Access.TRANSACTION)

    def _give_back(self, taken: Range) -> Operation[None]:
        return _write("backfill_give_back", id=taken.id, lease=taken.lease, first=taken.first)


def remaining(source: Source, destination: str) -> Operation[int]:
    """How many rows of the source have no job yet."""

    def steps(s: Statements) -> Steps[int]:
        statement = s.compile("backfill_remaining", sql.remaining(s.parts, source))
        rows = yield Call(statement, {"destination": destination})
        return int(rows[0][0])

    return Operation(steps, Access.READ)


def _write(name: str, **values: Any) -> Operation[None]:
    def steps(s: Statements) -> Steps[None]:
        yield s.call(name, **values)

    return Operation(steps, Access.WRITE)


def _refuse_unique(jobs: Sequence[NewJob]) -> None:
    if any(job.unique_key is not None for job in jobs):
        raise ConfigurationError(
            "a backfill takes no unique_key: its ledger keeps one job for each source row and destination"
        )
