"""What goes wrong on purpose: one worker is frozen until its jobs are taken from it, another is killed."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from rowqueue.core.states import State
from rowqueue.demo.crew import Crew, Worker
from rowqueue.demo.database import reading
from rowqueue.demo.jobs import LEASE, Demo

_FEWEST_JOBS = 20
"""With fewer there is no middle in which something could go wrong."""

_MOST_SECONDS_FROZEN = 4 * LEASE


class Incidents:
    """A quarter through, the last worker is frozen; halfway, the first is killed.

    Args:
        demo: the database.
        crew: the workers.
        total: how many jobs this run has.
        say: prints a line.
    """

    def __init__(self, demo: Demo, crew: Crew, total: int, say: Callable[[str], None]) -> None:
        self._demo = demo
        self._crew = crew
        self._total = total
        self._say = say
        self._killed = False
        self._had_frozen = False
        self._frozen: Worker | None = None
        self._held: dict[int, int] = {}
        self._since = 0.0

    def tick(self, done: int, now: float) -> None:
        """Do what is due.

        Args:
            done: how many jobs are done.
            now: ``time.monotonic()``.
        """
        if self._total < _FEWEST_JOBS:
            return
        if self._frozen is not None:
            self._thaw_when_robbed(now)
        elif not self._had_frozen and len(self._crew.workers) > 1 and 4 * done >= self._total:
            self._freeze(self._crew.workers[-1], now)
        if not self._killed and 2 * done >= self._total and done < self._total:
            self._kill(self._crew.workers[0], done)

    def _kill(self, worker: Worker, done: int) -> None:
        held = self._stop_in_its_work(worker)
        if not held:
            return
        self._killed = True
        self._crew.kill(worker)
        new = self._crew.start()
        self._say(
            f"killed worker {worker.number} (process {worker.pid}) with SIGKILL after {done:,} jobs, in the middle of"
            f" {len(held)}; they run again when their leases end ({LEASE:g} s), worker {new.number} takes its place"
        )

    def _freeze(self, worker: Worker, now: float) -> None:
        held = self._stop_in_its_work(worker)
        if not held:
            return
        self._had_frozen = True
        self._held, self._frozen, self._since = held, worker, now
        self._say(
            f"froze worker {worker.number} (process {worker.pid}) with SIGSTOP in the middle of {len(held)} jobs,"
            " until others have taken them over"
        )

    def _stop_in_its_work(self, worker: Worker) -> dict[int, int]:
        """Stop a worker in the middle of its jobs, and return how often each was rescued; without jobs it goes on.

        Not in the middle of a write: on SQLite all others would have to wait for that.
        """
        with self._demo.engine.begin():  # on SQLite this is the write lock
            if not worker.freeze():
                return {}
        held = self._claims_of(worker)
        if not held:
            worker.thaw()
        return held

    def _thaw_when_robbed(self, now: float) -> None:
        if self._taken() or now - self._since >= _MOST_SECONDS_FROZEN:
            self.end(now)

    def end(self, now: float) -> None:
        """Let the frozen worker go on, whatever became of its jobs."""
        if self._frozen is None:
            return
        taken = self._taken()
        self._frozen.thaw()
        self._say(
            f"thawed worker {self._frozen.number} after {now - self._since:.1f} s: {taken} of its jobs are others' now,"
            " and its attempts at them are stopped, or their writes refused"
        )
        self._frozen = None

    def _claims_of(self, worker: Worker) -> dict[int, int]:
        job = self._demo.app.store.jobs
        query = sa.select(job.c.id, job.c.rescues)
        query = query.where(job.c.attempted_by == worker.name, job.c.state == State.RUNNING.value)
        with reading(self._demo.engine).connect() as connection:
            return {row.id: row.rescues for row in connection.execute(query)}

    def _taken(self) -> int:
        """How many of the frozen worker's jobs were rescued from it by now."""
        job = self._demo.app.store.jobs
        query = sa.select(job.c.id, job.c.rescues).where(job.c.id.in_(self._held))
        with reading(self._demo.engine).connect() as connection:
            return sum(rescues > self._held[key] for key, rescues in connection.execute(query))
