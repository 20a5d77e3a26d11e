"""What a simulation runs in: a clock, a database in memory, and a scheduler that decides everything by one seed.

The actors are coroutines of the product: its operations, its runner, its writer of endings. They await two things, a
statement (`Do`) and time (`Pause`), and the scheduler decides who goes next, whether the statement runs, and whether
its reply comes. Time passes only here.
"""

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any

from rowqueue.core.errors import DatabaseUnavailable, StoreError, TransactionConflict
from rowqueue.sql.compiled import Call, Rows
from rowqueue.sql.statements.catalog import Statements
from rowqueue.store.drivers.sqlite import SQLiteConnection

EPOCH = 1_700_000_000.0
"""What the database's clock shows when a simulation begins (seconds)."""


@dataclass(frozen=True, slots=True)
class Odds:
    """How often what goes wrong, for each statement; of a worker without a job a tenth as often."""

    crash: float = 0.03
    stall: float = 0.06
    refused: float = 0.01
    """The connection is lost before the statement has run."""
    unanswered: float = 0.05
    """The statement has run, and its reply is lost."""
    deadlock: float = 0.01


CALM = Odds(0, 0, 0, 0, 0)


class Clock:
    """Time as it passes, and the database's clock, which is set forward and back at times."""

    def __init__(self) -> None:
        self.true = 0.0
        self._since = [0.0]
        self._offsets = [0.0]

    @property
    def shown(self) -> float:
        """The database's clock (seconds since 1970)."""
        return EPOCH + self.true + self._offsets[-1]

    def jump(self, seconds: float) -> None:
        """Set the database's clock forward, or back."""
        self._since.append(self.true)
        self._offsets.append(self._offsets[-1] + seconds)

    def when_shown(self, since: float, moment: float) -> float:
        """The first true time from `since` on at which the database's clock shows a moment."""
        index = bisect_right(self._since, since) - 1
        for begin, end, offset in zip(
            self._since[index:], [*self._since[index + 1 :], float("inf")], self._offsets[index:], strict=True
        ):
            there = max(begin, since, moment - EPOCH - offset)
            if there < end:
                return there
        raise AssertionError("the last span never ends")


class Do:
    """A statement that an actor waits for."""

    __slots__ = ("call", "line", "name")

    def __init__(self, line: "Line", name: str, call: Call | str) -> None:
        self.line, self.name, self.call = line, name, call

    def __await__(self) -> Generator["Do", Rows, Rows]:
        return (yield self)


class Pause:
    """Time that an actor lets pass."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator["Pause", None, None]:
        yield self


class Line:
    """A connection: the product's runner drives it as it drives a connection of psycopg's."""

    def __init__(self, statements: Statements) -> None:
        self.statements = statements
        self.gone = False
        self.ran: dict[str, float] = {}
        """When which statement ran last."""

    async def execute(self, call: Call) -> Rows:
        return await Do(self, call.statement.name, call)

    async def plain(self, sql: str) -> Rows:
        return await Do(self, sql, sql)

    async def begin(self) -> None:
        await Do(self, "BEGIN", "BEGIN IMMEDIATE")

    async def commit(self) -> None:
        await Do(self, "COMMIT", "COMMIT")

    async def rollback(self) -> None:
        if not self.gone:  # or the database has undone it already
            await Do(self, "ROLLBACK", "ROLLBACK")


@dataclass(eq=False, slots=True)
class Process:
    """What crashes and stalls as a whole."""

    name: str
    mortal: bool = False
    alive: bool = True
    busy: bool = False
    tasks: list["Task"] = field(default_factory=list["Task"])


@dataclass(eq=False, slots=True)
class Task:
    """One line of control of a process."""

    process: Process
    coroutine: Coroutine[Any, Any, None]
    waits: Do | Pause
    wake: float = 0.0


class World:
    """One run: everything that happens in it follows from its chance.

    Args:
        chance: decides.
        raw: the database, empty.
        tell: gets a line for everything that happens; None is silence.
    """

    def __init__(
        self,
        chance: random.Random,
        raw: Any,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.chance = chance
        self.raw = raw
        self.clock = Clock()
        self.odds = CALM
        self.reached: Counter[str] = Counter()
        self.tasks: list[Task] = []
        self.owner: Line | None = None
        """Whose transaction is open: a file takes one writer at a time, so the others wait."""
        self.doing = ""
        self.steps = 0
        self.on_end: Callable[[bool], None] = bool
        """Told whether what was written stays (True), or is undone."""
        self._tell = tell

    def start(self, process: Process, coroutine: Coroutine[Any, Any, None]) -> None:
        """Let an actor begin."""
        task = Task(process, coroutine, Pause(0), self.clock.true)
        process.tasks.append(task)
        self.tasks.append(task)

    def run(self, over: Callable[[], bool], limit: int) -> None:
        """Go on until it is over, nobody is left, or so many steps are made."""
        while self.tasks and self.steps < limit and not over():
            self.steps += 1
            owner, now = self.owner, self.clock.true
            free = [
                task
                for task in self.tasks
                if owner is None or isinstance(task.waits, Pause) or task.waits.line is owner
            ]
            ready = [task for task in free if task.wake <= now]
            if not ready:
                first = min(free, key=lambda task: task.wake)
                self.clock.true = first.wake
                ready = [first]
            self._step(self.chance.choice(ready))

    def close(self) -> None:
        """Leave nothing behind."""
        for task in self.tasks:
            task.coroutine.close()
        self.tasks.clear()
        self._undo()

    def say(self, who: str, what: str) -> None:
        """Tell what happens to whoever watches."""
        if self._tell is not None:
            self._tell(f"{self.clock.true:9.3f}  {who:<12} {what}")

    def kill(self, process: Process) -> None:
        """It ends between two statements, as by SIGKILL; what its transaction did is undone."""
        self.say(process.name, "CRASHES")
        process.alive = False
        gone = {id(task) for task in process.tasks}
        for task in process.tasks:
            if isinstance(task.waits, Do) and task.waits.line is self.owner:
                self.reached["crashed in a transaction"] += 1
                self._undo()
            task.coroutine.close()
        self.tasks = [task for task in self.tasks if id(task) not in gone]

    def stall(self, process: Process, seconds: float) -> None:
        """It stands still, as by SIGSTOP."""
        self.say(process.name, f"STALLS for {seconds:.1f} s")
        until = self.clock.true + seconds
        for task in process.tasks:
            task.wake = max(task.wake, until)

    def _step(self, task: Task) -> None:
        waits, odds = task.waits, self.odds
        if isinstance(waits, Pause):
            self._go_on(task, None, None)
            return
        chance, process = self.chance.random, task.process
        struck = chance() * (1 if process.busy else 10) if process.mortal else 1.0
        if struck < odds.crash:
            self.reached["crashed"] += 1
            self.kill(process)
        elif struck < odds.crash + odds.stall and self.owner is None:
            self.reached["stalled"] += 1
            self.stall(process, 8 + 30 * chance())
        else:
            self.clock.true += 0.003 + 0.03 * chance()
            rows, error = self._answer(waits)
            if self._tell is not None:
                said = f"{type(error).__name__}: {error}" if error else f"{rows}" if rows else ""
                self.say(process.name, f"{waits.name:<14} {said[:300]}")
            self._go_on(task, rows, error)

    def _answer(self, do: Do) -> tuple[Rows, StoreError | None]:
        line, chance, odds = do.line, self.chance.random, self.odds
        if line.gone:
            return [], DatabaseUnavailable("the connection is gone")
        if odds is not CALM:
            if do.name != "ROLLBACK" and chance() < odds.refused:
                return [], self._cut(line, f"before {do.name}")
            if self.owner is line and do.name not in {"COMMIT", "ROLLBACK"} and chance() < odds.deadlock:
                self.reached["deadlock"] += 1
                self._undo()
                line.gone = True
                return [], TransactionConflict("a deadlock, as it happens")
        rows, error = self._execute(do)
        if odds is not CALM and do.name not in {"BEGIN", "ROLLBACK"} and chance() < odds.unanswered:
            committed = self.owner is not line
            self.reached["reply of a commit lost" if committed else "reply in a transaction lost"] += 1
            return [], self._cut(line, f"after {do.name}, its reply was lost")
        return rows, error

    def _execute(self, do: Do) -> tuple[Rows, StoreError | None]:
        line = do.line
        line.ran[do.name] = self.clock.true
        self.doing = do.name
        try:
            if isinstance(do.call, str):
                rows = self.raw.execute(do.call).fetchall()
            else:
                rows = SQLiteConnection(self.raw, line.statements).execute(do.call)
        except StoreError as error:
            return [], error
        if do.name == "BEGIN":
            self.owner = line
        elif do.name in {"COMMIT", "ROLLBACK"}:
            self.owner = None
            self.on_end(do.name == "COMMIT")
        elif self.owner is None:
            self.on_end(True)
        return rows, None

    def _cut(self, line: Line, words: str) -> DatabaseUnavailable:
        line.gone = True
        if self.owner is line:
            self._undo()
        return DatabaseUnavailable(f"the connection was lost {words}")

    def _undo(self) -> None:
        if self.owner is not None:
            self.owner = None
            self.raw.execute("ROLLBACK")
            self.on_end(False)

    def _go_on(self, task: Task, rows: Any, error: StoreError | None) -> None:
        try:
            waits = task.coroutine.send(rows) if error is None else task.coroutine.throw(error)
        except StopIteration:
            self.tasks.remove(task)
            task.process.tasks.remove(task)
            return
        task.waits = waits
        if isinstance(waits, Pause):
            task.wake = self.clock.true + waits.seconds
