"""The store's verbs for people and upkeep, and what is only read: one line for each."""

from __future__ import annotations

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


class Management(StoreBase, ABC):
    """What ``Store`` has besides a worker's verbs."""

    @abstractmethod
    def run(self, operation: Operation[T]) -> T:
        """Run an operation."""

    # a worker's verbs with a claim, a person's with a key

    def skip(self, target: Claim | Key, reason: str = "") -> Outcome:
        """There is nothing to do for it: → skipped."""
        return self.skip_many([target], reason)[0]

    def skip_many(self, targets: Sequence[Claim | Key], reason: str = "") -> list[Outcome]:
        """``skip`` for many, in one statement."""
        return self.run(plans.end(Verb.SKIP, targets, reason))

    def cancel(self, target: Claim | Key, reason: str = "") -> Outcome:
        """It is not wanted any more: → cancelled; running, by key: its worker is asked to."""
        return self.cancel_many([target], reason)[0]

    def cancel_many(self, targets: Sequence[Claim | Key], reason: str = "") -> list[Outcome]:
        """``cancel`` for many, in one statement."""
        return self.run(plans.end(Verb.CANCEL, targets, reason))

    def discard(self, target: Claim | Key, reason: str = "") -> Outcome:
        """It can never work: → discarded; running, by key: its worker loses the lease."""
        return self.discard_many([target], reason)[0]

    def discard_many(self, targets: Sequence[Claim | Key], reason: str = "") -> list[Outcome]:
        """``discard`` for many, in one statement."""
        return self.run(plans.end(Verb.DISCARD, targets, reason))

    # a person's verbs

    def retry(self, key: Key) -> Outcome:
        """Run it again, whatever became of it: any but running → available."""
        return self.retry_many([key])[0]

    def retry_many(self, keys: Sequence[Key]) -> list[Outcome]:
        """``retry`` for many; a taken unique key answers ``conflict`` for that one alone."""
        return self.run(operate.retry(keys))

    def promote(self, key: Key) -> Outcome:
        """Do not wait: pending, scheduled, retryable → available."""
        return self.run(operate.promote([key]))[0]

    def delete(self, key: Key) -> Outcome:
        """Remove a final job and its log."""
        return self.delete_many([key])[0]

    def delete_many(self, keys: Sequence[Key]) -> list[Outcome]:
        """``delete`` for many, in one statement."""
        return self.run(operate.delete(keys))

    def pause(self, queue: str) -> bool:
        """Stop claims from a queue; False when it was paused already."""
        return self.run(operate.pause(queue))

    def resume(self, queue: str) -> bool:
        """Let claims from a queue go on; False when it was not paused."""
        return self.run(operate.resume(queue))

    # upkeep

    def refresh(self) -> Refreshed:
        """On a source that may not be written: make a sidecar row for every new row, cancel those gone."""
        done = self.run(refreshing.refresh(None))
        added, cancelled = done.added, done.cancelled
        while done.after is not None and not done.held:
            done = self.run(refreshing.refresh(done.after))
            added += done.added
        return Refreshed(added, cancelled, held=done.held)

    def promote_due(self, limit: int = 1000) -> dict[str, int]:
        """Make due jobs available; how many, by queue."""
        return self.run(upkeep.promote_due(limit))

    def next_due(self) -> float | None:
        """Seconds until the next scheduled or retryable job is due; None where there is none."""
        return self.run(upkeep.next_due())

    def rescue(self, limit: int = 100) -> list[Rescued]:
        """Take jobs from workers whose lease ran out."""
        return self.run(upkeep.rescue(self.settings, limit))

    def prune(
        self, *, ages: Mapping[State, Seconds] | None = None, queue: str | None = None, limit: int = 1000
    ) -> int:
        """Delete final jobs older than their state's age (seconds or timedelta); how many."""
        return self.run(upkeep.prune(ages, queue, limit))

    def heartbeat(
        self, worker: str, *, queues: Mapping[str, int], kinds: Sequence[str], idle: bool = False
    ) -> None:
        """Say that a worker lives."""
        self.run(upkeep.heartbeat(worker, queues, kinds, idle))

    def forget_worker(self, worker: str) -> None:
        """Say that a worker stopped."""
        self.run(upkeep.forget_worker(worker))

    def forget_silent_workers(self, silence: Seconds = 300.0) -> None:
        """Forget workers that were not heard of for so long."""
        self.run(upkeep.forget_silent_workers(seconds_of(silence, "silence")))

    def doctor(self) -> Sequence[Finding]:
        """What is installed, compared with what this version needs."""
        return doctor(self.database, self._statements)

    def check(self) -> Sequence[Finding]:
        """On a table of yours: what is mapped, what is missing, the claim's plan, and the index it lacks."""
        return check(self.database, self._statements)

    # reading

    def get(self, key: Key) -> Job | None:
        """One job, or None."""
        return self.run(reading.get(key))

    def list(
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
        return self.run(
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

    def stats(self) -> Stats:
        """Counts by queue and state, the longest wait, and kinds that nobody knows."""
        return self.run(reading.stats())

    def queues(self) -> Sequence[QueueInfo]:
        """Queues that were paused or have settings."""
        return self.run(reading.queues())

    def workers(self) -> Sequence[WorkerInfo]:
        """Workers that said they live."""
        return self.run(reading.workers())

    def log(self, key: Key) -> Sequence[LogEntry]:
        """The execution log of a job, oldest first."""
        return self.run(reading.log(key))
