"""The async store's verbs for people and upkeep, and what is only read: one line for each."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from rowqueue.core.states import State, Verb
from rowqueue.core.values import (
    Claim,
    Finding,
    Job,
    Key,
    LogEntry,
    Outcome,
    Page,
    QueueInfo,
    Rescued,
    Seconds,
    Stats,
    WorkerInfo,
    seconds_of,
)
from rowqueue.operations import operate, reading, upkeep
from rowqueue.operations import refresh as refreshing
from rowqueue.operations.base import Operation
from rowqueue.operations.refresh import Refreshed
from rowqueue.store import plans
from rowqueue.store.base import StoreBase
from rowqueue.store.check import check
from rowqueue.store.doctor import doctor

T = TypeVar("T")


class AsyncManagement(StoreBase, ABC):
    """What ``AsyncStore`` has besides a worker's verbs."""

    @abstractmethod
    async def run(self, operation: Operation[T]) -> T:
        """Run an operation."""

    # a worker's verbs with a claim, a person's with a key

    async def skip(self, target: Claim | Key, reason: str = "") -> Outcome:
        """There is nothing to do for it: → skipped."""
        return (await self.skip_many([target], reason))[0]

    async def skip_many(self, targets: Sequence[Claim | Key], reason: str = "") -> list[Outcome]:
        """``skip`` for many, in one statement."""
        return await self.run(plans.end(Verb.SKIP, targets, reason))

    async def cancel(self, target: Claim | Key, reason: str = "") -> Outcome:
        """It is not wanted any more: → cancelled; running, by key: its worker is asked to."""
        return (await self.cancel_many([target], reason))[0]

    async def cancel_many(self, targets: Sequence[Claim | Key], reason: str = "") -> list[Outcome]:
        """``cancel`` for many, in one statement."""
        return await self.run(plans.end(Verb.CANCEL, targets, reason))

    async def discard(self, target: Claim | Key, reason: str = "") -> Outcome:
        """It can never work: → discarded; running, by key: its worker loses the lease."""
        return (await self.discard_many([target], reason))[0]

    async def discard_many(self, targets: Sequence[Claim | Key], reason: str = "") -> list[Outcome]:
        """``discard`` for many, in one statement."""
        return await self.run(plans.end(Verb.DISCARD, targets, reason))

    # a person's verbs

    async def retry(self, key: Key) -> Outcome:
        """Run it again, whatever became of it: any but running → available."""
        return (await self.retry_many([key]))[0]

    async def retry_many(self, keys: Sequence[Key]) -> list[Outcome]:
        """``retry`` for many; a taken unique key answers ``conflict`` for that one alone."""
        return await self.run(operate.retry(keys))

    async def promote(self, key: Key) -> Outcome:
        """Do not wait: pending, scheduled, retryable → available."""
        return (await self.run(operate.promote([key])))[0]

    async def delete(self, key: Key) -> Outcome:
        """Remove a final job and its log."""
        return (await self.delete_many([key]))[0]

    async def delete_many(self, keys: Sequence[Key]) -> list[Outcome]:
        """``delete`` for many, in one statement."""
        return await self.run(operate.delete(keys))

    async def pause(self, queue: str) -> bool:
        """Stop claims from a queue; False when it was paused already."""
        return await self.run(operate.pause(queue))

    async def resume(self, queue: str) -> bool:
        """Let claims from a queue go on; False when it was not paused."""
        return await self.run(operate.resume(queue))

    # upkeep

    async def refresh(self) -> Refreshed:
        """On a source that may not be written: make a sidecar row for every new row, cancel those gone."""
        done = await self.run(refreshing.refresh(None))
        added, cancelled = done.added, done.cancelled
        while done.after is not None and not done.held:
            done = await self.run(refreshing.refresh(done.after))
            added += done.added
        return Refreshed(added, cancelled, held=done.held)

    async def promote_due(self, limit: int = 1000) -> dict[str, int]:
        """Make due jobs available; how many, by queue."""
        return await self.run(upkeep.promote_due(limit))

    async def next_due(self) -> float | None:
        """Seconds until the next scheduled or retryable job is due; None where there is none."""
        return await self.run(upkeep.next_due())

    async def rescue(self, limit: int = 100) -> list[Rescued]:
        """Take jobs from workers whose lease ran out."""
        return await self.run(upkeep.rescue(self.settings, limit))

    async def prune(
        self, *, ages: Mapping[State, Seconds] | None = None, queue: str | None = None, limit: int = 1000
    ) -> int:
        """Delete final jobs older than their state's age (seconds or timedelta); how many."""
        return await self.run(upkeep.prune(ages, queue, limit))

    async def heartbeat(
        self, worker: str, *, queues: Mapping[str, int], kinds: Sequence[str], idle: bool = False
    ) -> None:
        """Say that a worker lives."""
        await self.run(upkeep.heartbeat(worker, queues, kinds, idle))

    async def forget_worker(self, worker: str) -> None:
        """Say that a worker stopped."""
        await self.run(upkeep.forget_worker(worker))

    async def forget_silent_workers(self, silence: Seconds = 300.0) -> None:
        """Forget workers that were not heard of for so long."""
        await self.run(upkeep.forget_silent_workers(seconds_of(silence, "silence")))

    async def doctor(self) -> Sequence[Finding]:
        """What is installed, compared with what this version needs."""
        return await asyncio.to_thread(doctor, self.database, self._statements)

    async def check(self) -> Sequence[Finding]:
        """On a table of yours: what is mapped, what is missing, the claim's plan, and the index it lacks."""
        return await asyncio.to_thread(check, self.database, self._statements)

    # reading

    async def get(self, key: Key) -> Job | None:
        """One job, or None."""
        return await self.run(reading.get(key))

    async def list(
        self,
        *,
        queue: str | None = None,
        kind: str | None = None,
        state: State | Collection[State] | None = None,
        tags: Sequence[str] = (),
        correlation_id: str | None = None,
        correlation_group: str | None = None,
        after: str | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> Page:
        """One page of jobs by id; ``after`` is the ``next`` of the page before."""
        return await self.run(
            reading.list_jobs(
                queue=queue,
                kind=kind,
                state=state,
                tags=tags,
                correlation_id=correlation_id,
                correlation_group=correlation_group,
                after=after,
                limit=limit,
                newest_first=newest_first,
            )
        )

    async def stats(self) -> Stats:
        """Counts by queue and state, the longest wait, and kinds that nobody knows."""
        return await self.run(reading.stats())

    async def queues(self) -> Sequence[QueueInfo]:
        """Queues that were paused or have settings."""
        return await self.run(reading.queues())

    async def workers(self) -> Sequence[WorkerInfo]:
        """Workers that said they live."""
        return await self.run(reading.workers())

    async def log(self, key: Key) -> Sequence[LogEntry]:
        """The execution log of a job, oldest first."""
        return await self.run(reading.log(key))
