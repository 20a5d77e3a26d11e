"""Who else takes part in a simulation: producers, a person at the command line, and luck."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rowqueue.core.errors import StoreError
from rowqueue.core.states import State, Verb
from rowqueue.core.values import NewJob
from rowqueue.operations import enqueue
from rowqueue.store.runner import run_async
from rowqueue.worker.patience import TRANSIENT
from tests.checker import Answer, Event
from tests.simulation.crew import QUEUES, Asking, Rules
from tests.simulation.memory import Record
from tests.simulation.world import CALM, Line, Pause, Process, World


class Producer:
    """Enqueues alone, in batches and in transactions of its own, and asks again when it was not answered."""

    def __init__(self, world: World, record: Record, rules: Rules, first: int, count: int) -> None:
        self.world, self.record, self.rules = world, record, rules
        self.store = Asking(world, record, rules)
        self.number, self.left, self.done = first, count, False

    def start(self) -> None:
        self.world.start(Process("producer"), self._produce())

    async def _produce(self) -> None:
        chance = self.world.chance
        while self.left > 0:
            await Pause(chance.uniform(0, 3))
            jobs = [self._job() for _ in range(chance.choice((1, 1, 1, 2, 3)))]
            self.left -= len(jobs)
            for _ in range(3):
                try:
                    if chance.random() < 0.3:
                        await self._in_own_transaction(jobs)
                    else:
                        self._answered(jobs, await self.store.enqueue_many(jobs))
                    break
                except TRANSIENT:
                    self._say(jobs, "unknown")
                    jobs = [replace(job, args={"n": self._next()}) for job in jobs]
        self.done = True

    def _job(self) -> NewJob:
        chance = self.world.chance
        return NewJob(
            kind="k",
            args={"n": self._next()},
            queue=chance.choice(QUEUES),
            priority=chance.randint(1, 3),
            delay=chance.choice((None, None, None, 2)),
            unique_key=chance.choice((None, None, "u", "v")),
            max_attempts=chance.choice((2, 25, 25)),
        )

    def _next(self) -> int:
        self.number += 1
        return self.number

    def _say(self, jobs: list[NewJob], answer: Answer) -> None:
        self.record.events += [Event("enqueue", job.args["n"], answer=answer) for job in jobs]

    def _answered(self, jobs: list[NewJob], answers: Any) -> None:
        for job, answer in zip(jobs, answers, strict=True):
            self._say([job], "ok" if answer.inserted else "fail")
            if not answer.inserted:
                self.world.reached["unique key taken"] += 1
                self.record.events.append(Event("enqueue", answer.job.args["n"]))

    async def _in_own_transaction(self, jobs: list[NewJob]) -> None:
        line = Line(self.rules.statements)
        try:
            await line.begin()
            answers = await run_async(enqueue.enqueue(jobs, self.store.settings), line)
            if self.world.chance.random() < 0.4:
                self.world.reached["enqueue rolled back"] += 1
                await line.rollback()
                self._say(jobs, "fail")
                return
            await line.commit()
        except StoreError:
            await line.rollback()
            raise
        self._answered(jobs, answers)


class Person:
    """Somebody who cancels, retries, prunes and pauses at the wrong moments."""

    VERBS = (Verb.CANCEL, Verb.CANCEL, Verb.RETRY, Verb.DISCARD, Verb.SKIP, Verb.PROMOTE, Verb.DELETE)

    def __init__(self, world: World, record: Record, rules: Rules) -> None:
        self.world, self.record = world, record
        self.store = Asking(world, record, rules)

    def start(self) -> None:
        self.world.start(Process("person"), self._meddle())

    async def _meddle(self) -> None:
        chance = self.world.chance
        while True:
            await Pause(chance.uniform(0.2, 4))
            if not self.world.odds.crash:
                await self._resume()
                return
            try:
                await self._one(chance.random())
            except TRANSIENT:
                continue

    async def _one(self, turn: float) -> None:
        keys = sorted(self.record.states)
        if turn < 0.75 and keys:
            verb, key = self.world.chance.choice(self.VERBS), self.world.chance.choice(keys)
            outcome = await getattr(self.store, verb.value)(key)
            self.world.reached[f"person: {verb} {outcome.reason or 'done'}"] += 1
        elif turn < 0.85:
            await self.store.prune(ages={State.COMPLETED: 2, State.CANCELLED: 2})
        elif turn < 0.9:
            await self.store.pause(self.world.chance.choice(QUEUES))
        else:
            for queue in QUEUES:
                await self.store.resume(queue)

    async def _resume(self) -> None:
        for queue in QUEUES:
            await self.store.resume(queue)


class Luck:
    """Clock jumps, new workers for those that crashed, and the end of all trouble after a while."""

    def __init__(self, world: World, hire: Callable[[], None], fewest: int, seconds: float) -> None:
        self.world, self.hire, self.fewest, self.seconds = world, hire, fewest, seconds

    def start(self) -> None:
        self.world.start(Process("luck"), self._strike())

    async def _strike(self) -> None:
        world, chance = self.world, self.world.chance
        while world.clock.true < self.seconds:
            await Pause(chance.uniform(1, 5))
            self._rehire()
            if chance.random() < 0.15:
                jump = chance.choice((-3600, -5, 5, 15, 3600)) * chance.uniform(0.5, 1)
                world.say("luck", f"THE CLOCK JUMPS by {jump:.1f} s")
                world.reached[f"clock set {'back' if jump < 0 else 'forward'}"] += 1
                world.clock.jump(jump)
        world.say("luck", "NO MORE TROUBLE")
        world.odds = CALM
        self._rehire()

    def _rehire(self) -> None:
        alive = len({task.process for task in self.world.tasks if task.process.mortal})
        for _ in range(self.fewest - alive):
            self.hire()
