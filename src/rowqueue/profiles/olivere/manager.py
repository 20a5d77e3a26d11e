"""olivere/jobqueue's Manager: topics, workers by rank, and a scheduler."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError, StoreError
from rowqueue.core.values import Seconds, seconds_of
from rowqueue.profiles.olivere.rows import Job, JobState, ListRequest, ListResponse, StartupBehaviour, Stats
from rowqueue.profiles.olivere.store import Store

Processor = Callable[..., Any]
"""Called with a job's args; what it raises is why the attempt failed."""

CONCURRENCY = 5
"""Workers of rank 0, unless it is told otherwise."""

_log = logging.getLogger("rowqueue.profiles.olivere")


class Manager:
    """Runs the jobs of registered topics in threads, so many at once for each rank.

    Jobs of other topics are left for the managers that know them. It may be started and closed
    any number of times.

    Args:
        store: where the jobs are.
        concurrency: workers by rank; other ranks are left to other managers.
        startup: what to do with jobs that are still working when it starts.
        poll: how often to look for jobs of other producers (seconds or timedelta).

    Raises:
        ConfigurationError: an option is wrong.

    Example:
        >>> manager = Manager(store, concurrency={0: 5, 9: 1})  # doctest: +SKIP
        >>> manager.register("greet", print)  # doctest: +SKIP
        >>> manager.start()  # doctest: +SKIP
        >>> manager.add(Job(topic="greet", args=("hello",)))  # doctest: +SKIP
    """

    def __init__(
        self,
        store: Store,
        *,
        concurrency: Mapping[int, int] | None = None,
        startup: StartupBehaviour = StartupBehaviour.NONE,
        poll: Seconds = 1.0,
    ) -> None:
        self.store = store
        self.concurrency = {0: CONCURRENCY, **(concurrency or {})}
        for rank, workers in self.concurrency.items():
            names.whole(workers, f"the concurrency of rank {rank}", 0, 10_000)
        self.startup = StartupBehaviour(startup)
        self.poll = seconds_of(poll, "poll", minimum=0.001)
        self._topics: dict[str, Processor] = {}
        self._guard = threading.Lock()
        self._working: dict[Future[None], Job] = {}
        self._wake = threading.Event()
        self._closing = False
        self._scheduler: threading.Thread | None = None

    def register(self, topic: str, processor: Processor) -> None:
        """Say which function runs the jobs of a topic.

        Raises:
            ConfigurationError: the topic has one.
        """
        with self._guard:
            if names.text(topic, "topic") in self._topics:
                raise ConfigurationError(f"topic {topic!r} is registered already")
            self._topics[topic] = processor

    def add(self, job: Job) -> Job:
        """Add a job, to run when its turn comes; a producer need not have the topic registered.

        Its state, retry and priority are set as the original does: waiting, 0, and due now.

        Raises:
            ConfigurationError: it has no topic or, with the store's ``seed_answers``, one that is not registered.
            InvalidArguments: its args are no JSON.
        """
        topic = names.text(job.topic, "topic")
        if self.store.seed_answers and topic not in self._topics:
            raise ConfigurationError(f"topic {topic!r} is not registered: register it first")
        fresh = replace(job, id="", state=JobState.WAITING, retry=0, created=0, started=0, completed=0)
        added = self.store.create(fresh, due_now=True)
        self._wake.set()
        return added

    # start and stop

    def start(self) -> None:
        """Begin to run jobs.

        Raises:
            ConfigurationError: it is running.
        """
        with self._guard:
            if self._scheduler is not None:
                raise ConfigurationError("this manager is running already: close it first")
            self.store.start(self.startup)
            self._closing = False
            self._scheduler = threading.Thread(target=self._schedule, name="jobqueue-scheduler")
            self._scheduler.start()

    def stop(self) -> None:
        """``close``."""
        self.close()

    def close(self) -> None:
        """Stop taking jobs, and wait until those that run have ended."""
        self.close_with_timeout(-1)

    def close_with_timeout(self, timeout: Seconds) -> None:
        """Stop taking jobs, and wait for those that run.

        Args:
            timeout: how long to wait (seconds or timedelta); negative is as long as it takes.

        Raises:
            TimeoutError: some still run; their leases run out unless they end before.
        """
        with self._guard:
            scheduler, self._scheduler = self._scheduler, None
        if scheduler is None:
            return
        limit = None if isinstance(timeout, int | float) and timeout < 0 else seconds_of(timeout, "timeout")
        self._closing = True
        self._wake.set()
        scheduler.join(limit)
        if scheduler.is_alive():
            raise TimeoutError("jobs still run; their leases are kept until they end")

    # what the store knows

    def stats(self, *, topic: str = "", correlation_group: str = "") -> Stats:
        """How many jobs are in each state."""
        return self.store.stats(topic=topic, correlation_group=correlation_group)

    def lookup(self, id: str) -> Job:
        """The job with that id; ErrNotFound where there is none."""
        return self.store.lookup(id)

    def lookup_by_correlation_id(self, correlation_id: str) -> list[Job]:
        """All jobs with that correlation id."""
        return self.store.lookup_by_correlation_id(correlation_id)

    def list(self, request: ListRequest | None = None) -> ListResponse:
        """A page of jobs."""
        return self.store.list(request)

    # the scheduler's thread

    def _schedule(self) -> None:
        renew = min(self.poll, self.store.rows.settings.lease_seconds / 3)
        with ThreadPoolExecutor(max(1, sum(self.concurrency.values())), "jobqueue-worker") as threads:
            while not self._closing:
                self._round(threads)
                self._wake.wait(self._pause(renew))
                self._wake.clear()
            while self._working:  # keep the leases of what still runs
                wait(list(self._working), timeout=renew)
                self._upkeep()

    def _round(self, threads: ThreadPoolExecutor) -> None:
        """Keep leases, take back what was left, and fill free workers; a database that is away is waited for."""
        self._upkeep()
        busy = Counter(job.rank for job in list(self._working.values()))
        free = {rank: max(0, workers - busy[rank]) for rank, workers in self.concurrency.items()}
        if not self._topics:
            return
        try:
            self.store.rescue()
            jobs = self.store.claim(free, topics=sorted(self._topics))
        except StoreError as error:
            _log.warning("cannot take jobs: %s", error)
            return
        for job in jobs:
            future = threads.submit(self._process, job)
            self._working[future] = job
            future.add_done_callback(self._ended)

    def _upkeep(self) -> None:
        jobs = list(self._working.values())
        try:
            if jobs:
                self.store.extend(jobs)
        except StoreError as error:
            _log.warning("cannot keep the leases of %d jobs: %s", len(jobs), error)

    def _pause(self, longest: float) -> float:
        try:
            due = self.store.rows.next_due()
        except StoreError:
            return longest
        return longest if due is None else min(longest, max(0.001, due))

    def _process(self, job: Job) -> None:
        try:
            self._topics[job.topic](*job.args)
        except Exception as error:  # noqa: BLE001 - a processor may raise anything
            _log.info("job %s of topic %s failed", job.id, job.topic, exc_info=error)
            outcome = self.store.fail(job, error)
        else:
            outcome = self.store.succeed(job)
        if not outcome:
            _log.warning("job %s was somebody else's when it ended: %s", job.id, outcome.reason)

    def _ended(self, future: Future[None]) -> None:
        job = self._working.pop(future)
        if (error := future.exception()) is not None:
            _log.warning("the end of job %s could not be written: %s", job.id, error)
        self._wake.set()
