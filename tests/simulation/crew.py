"""The workers of a simulation: the product's store, its transactions and its writer of endings, on lines of a world."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from rowqueue.app.context import ContextControl
from rowqueue.core import control
from rowqueue.core.errors import LeaseLost, NotDone, StoreError, TransactionConflict
from rowqueue.core.finish import Finish, after_error
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.states import FINAL, Verb
from rowqueue.core.values import Claim, Outcome
from rowqueue.operations import claim as claiming
from rowqueue.operations import finish
from rowqueue.operations.base import Operation
from rowqueue.store import AsyncStore
from rowqueue.store.pools import AsyncPool
from rowqueue.store.runner import run_async
from rowqueue.worker import events as happened
from rowqueue.worker.attempt import Attempt, Held
from rowqueue.worker.events import Events
from rowqueue.worker.finishing import Finishing, _Ending
from rowqueue.worker.patience import TRANSIENT, Patience
from tests.checker import Answer, Event
from tests.simulation.memory import Record
from tests.simulation.world import Line, Pause, Process, World

T = TypeVar("T")

LEASE = 10.0
RENEW = 3.0
QUEUES = ("a", "b")
SETS = (("a",), ("b",), ("a", "b"))
_FAILURES = (RuntimeError("boom"), RuntimeError("boom"))
_ENDS = (control.Cancel("no"), control.Discard("never"))
POLICY = RetryPolicy.exponential(1, maximum=4, jitter=0.5)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a run is played by; the product's own, or what a negative control puts in its place."""

    base: AsyncStore
    statements: Any
    whole: bool = False
    """Each writing operation is one transaction, as on SQLite; otherwise its statements commit one by one, as on
    PostgreSQL."""
    finishing: type[Finishing] = Finishing
    claim: Callable[[AsyncStore, int, str, tuple[str, ...]], Operation[list[Claim]]] = (
        lambda store, limit, worker, queues: claiming.claim(
            store.settings, limit, queues, None, None, None, worker
        )
    )
    marked: Callable[[Claim], Claim] = lambda claim: claim
    rescues: bool = True


class Lines(AsyncPool):
    """The product's transactions around an operation, on lines of a world."""

    def __init__(self, world: World, rules: Rules) -> None:
        super().__init__(rules.base.database, rules.statements, 1, whole=rules.whole)
        self._world = world
        self.line = Line(rules.statements)

    async def run(self, operation: Operation[T]) -> T:
        while True:
            try:
                return await self._run_once(operation)
            except TransactionConflict:
                await Pause(0.01)

    def connection(self) -> Any:
        self.line = Line(self._statements)
        return self

    async def __aenter__(self) -> Line:
        return self.line

    async def __aexit__(self, *_: object) -> None:
        return None


class Asking(AsyncStore):
    """A store of one task, which writes down what it was told."""

    def __init__(self, world: World, record: Record, rules: Rules) -> None:
        self.__dict__.update(rules.base.__dict__)
        self._checked = True
        self._pool = self._lines = Lines(world, rules)
        self._record = record

    async def finish(self, finishes: Any) -> list[Outcome]:
        outcomes = await super().finish(finishes)
        for item, outcome in zip(finishes, outcomes, strict=True):
            self.said(item.verb.value, item.claim, outcome, self._lines.line)
        return outcomes

    async def extend(self, claims: Any, *, lease: Any = None) -> list[Outcome]:
        outcomes = await super().extend(claims, lease=lease)
        for claim, outcome in zip(claims, outcomes, strict=True):
            self.said("extend", claim, outcome, self._lines.line)
        return outcomes

    def said(self, doing: str, claim: Claim, outcome: Outcome, line: Line) -> None:
        """An answer to a worker's write, of the moment at which that ran."""
        own = outcome.reason == "wrong_state" and outcome.lease == claim.lease
        answer: Answer = "ok" if outcome else "unknown" if own else "stale"
        final = outcome.state is not None and outcome.state in FINAL
        what: Any = "extend" if doing == "extend" else "finish" if final else "gave_back"
        world = self._record.world
        world.reached[f"{answer}: {doing}"] += 1
        event = Event(what, claim.job.args["n"], claim.lease, line.ran[doing], answer, cause=doing)
        self._record.events.append(event)


class Patient(Patience):
    """The product's, waiting in a world's time."""

    async def ask(self, doing: str, call: Callable[[], Awaitable[T]], *, raises: bool = False) -> T:
        while True:
            try:
                return await call()
            except TRANSIENT:
                await Pause(0.2)


class Worker:
    """Claims, works, renews and finishes; how its attempts end is written by the product's own `Finishing`."""

    def __init__(self, world: World, record: Record, rules: Rules, number: int) -> None:
        self.world, self.record, self.rules = world, record, rules
        self.process = Process(f"worker {number}", mortal=True)
        self.store = Asking(world, record, rules)
        self.renewing, self.renewed = Asking(world, record, rules), False
        self.held = Held()
        events = Events()
        events.on(self._told, happened.Finished, happened.Refused, happened.Unwritable)
        self.finishing = rules.finishing(self.store, self.held, Patient(events), events, lambda again: None)

    def start(self) -> None:
        self.world.start(self.process, self._work())

    async def _work(self) -> None:
        chance, poll = self.world.chance, 5.0
        while True:
            claims: list[Claim] = []
            try:
                if chance.random() < 0.3 and self.rules.rescues:
                    await self.store.rescue(10)
                if chance.random() < 0.3:
                    await self.store.promote_due(10)
                claim = self.rules.claim(
                    self.store, chance.randint(1, 3), self.process.name, chance.choice(SETS)
                )
                claims = await self.store.run(claim)
            except TRANSIENT:
                self.world.reached["claim unknown"] += 1
            if claims:
                poll = 5.0
                await self._run([self.rules.marked(claim) for claim in claims])
            else:
                await Pause(poll * (0.5 + chance.random()))
                poll = min(poll * 2, 15.0 if self.world.odds.crash else 900.0)

    async def _run(self, claims: list[Claim]) -> None:
        attempts = [Attempt(claim, None, ContextControl(claim), 0.0) for claim in claims]  # type: ignore[arg-type]
        for older in self.held.add(attempts):
            older.lose()
        self.process.busy = True
        if not self.renewed:
            self.renewed = True
            self.world.start(self.process, self._renew())
        endings, settling = [], []
        for attempt in attempts:
            ending = await self._handle(attempt)
            attempt.ended = True
            (settling if attempt.control.completing else endings).append(ending)
        if endings:
            await self.finishing._write(endings)
        if settling:
            await self.finishing._settle(settling)
        self.process.busy = False

    async def _handle(self, attempt: Attempt) -> _Ending:
        chance, claim = self.world.chance, attempt.claim
        slow = chance.random() < 0.15
        await Pause(chance.uniform(0.5, 2.5) * LEASE if slow else chance.uniform(0.05, 1.5))
        number = claim.job.args["n"]
        self.record.events.append(Event("effect", number, claim.lease, self.world.clock.true))
        if attempt.control.cancelled and chance.random() < 0.7:
            return _Ending(attempt, Finish(claim, Verb.CANCEL, error="as asked"), raised=True)
        if (turn := chance.random()) < 0.15:
            return await self._complete_in(attempt)
        if turn < 0.5 or not self.world.odds.crash:
            return _Ending(attempt, Finish(claim, Verb.COMPLETE), raised=False)
        if turn < 0.75:
            return _Ending(attempt, Finish(claim, Verb.RELEASE), raised=False)
        error = chance.choice((*_FAILURES, control.Retry(0), control.Snooze(2), control.Skip(), *_ENDS))
        ended = after_error(claim, error, POLICY, random=chance.random(), trace="")
        return _Ending(attempt, ended, raised=True)

    async def _complete_in(self, attempt: Attempt) -> _Ending:
        """The effect and the completion in one transaction of the handler's."""
        claim, line = attempt.claim, Line(self.rules.statements)
        attempt.control.set_completing(True)
        try:
            await line.begin()
            await line.plain(f"INSERT INTO once VALUES ({claim.key}, {claim.lease})")
            (outcome,) = await run_async(finish.finish([Finish(claim, Verb.COMPLETE)]), line)
            if not outcome:
                self.store.said("complete", claim, outcome, line)
            outcome.or_raise()
            await line.commit()
            self.store.said("complete", claim, outcome, line)
            raised = False
        except (LeaseLost, NotDone):
            self.world.reached["complete_in refused"] += 1
            await line.rollback()
            raised = True
        except StoreError:
            await line.rollback()
            raised = True
        failed = after_error(claim, RuntimeError("rolled back"), POLICY, random=0.5, trace="")
        return _Ending(attempt, failed, raised=raised)

    async def _renew(self) -> None:
        """The lane of renewals, for as long as there is something to renew."""
        await Pause(RENEW)
        while attempts := self.held.renewable():
            try:
                outcomes = await self.renewing.extend([attempt.claim for attempt in attempts])
            except TRANSIENT:
                outcomes = []
            for attempt, outcome in zip(attempts, outcomes, strict=False):
                if outcome and outcome.cancel_requested:
                    attempt.control.cancel()
                elif outcome.reason in {"lost", "gone"} and attempt.lose():
                    self.world.reached["told of a lost lease"] += 1
            await Pause(RENEW)
        self.renewed = False

    def _told(self, event: Any) -> None:
        job = event.job
        if isinstance(event, happened.Unwritable):
            self.record.illegal.append(f"the end of job {job.args['n']} cannot be written")
            return
        refused = isinstance(event, happened.Refused)
        if refused and self.record.leases[job.id] != job.lease:
            return  # somebody has it since, whether or not our own write came before
        answer: Answer = "stale" if refused else "ok"
        self.record.events.append(Event("told", job.args["n"], job.lease, self.world.clock.true, answer))
        self.world.reached[f"told {answer}"] += 1
