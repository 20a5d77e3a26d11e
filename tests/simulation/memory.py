"""The database of simulations: SQLite in memory, whose clock is the simulation's, and triggers that tell the truth.

What actors are told may be wrong or missing; what the triggers see is what happened. The judge gets both.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from rowqueue.core.states import FINAL, TRANSITIONS, State, Verb
from rowqueue.store.store import Store
from tests.checker import Event, Row
from tests.simulation.world import EPOCH, World

_FIRST_DAY = 2440587.5 + EPOCH / 86400

_TRIGGERS = """
CREATE TEMP TRIGGER born AFTER INSERT ON main.rowqueue_job
  BEGIN SELECT born(new.id, new.args, new.state); END;
CREATE TEMP TRIGGER changed AFTER UPDATE OF state, lease, leased_until ON main.rowqueue_job
  BEGIN SELECT changed(new.id, old.state, new.state, old.lease, new.lease, new.leased_until); END;
CREATE TEMP TRIGGER deleted AFTER DELETE ON main.rowqueue_job
  BEGIN SELECT deleted(old.id, old.state); END;
CREATE TEMP TABLE once (job_id bigint, lease bigint);
"""

_EMPTY = """
DELETE FROM rowqueue_job; DELETE FROM rowqueue_log; DELETE FROM rowqueue_queue; DELETE FROM once;
DELETE FROM sqlite_sequence;
"""


class Memory:
    """One database for one simulation after the other: its tables are made once."""

    def __init__(self) -> None:
        self.raw = sqlite3.connect(":memory:", isolation_level=None)
        with tempfile.TemporaryDirectory() as directory, closing(_made(Path(directory))) as made:
            made.backup(self.raw)
        self.raw.execute("PRAGMA journal_mode = MEMORY")
        self._record: Record | None = None
        self._clock: Callable[[], float] = float
        self.raw.create_function("julianday", 1, lambda _: self._clock())
        self.raw.create_function("strftime", 2, lambda *_: "2026-01-01T00:00:00.000Z")
        for name, count in (("born", 3), ("changed", 6), ("deleted", 2)):
            self.raw.create_function(name, count, self._told(name))
        self.raw.executescript(_TRIGGERS)

    def _told(self, name: str) -> Callable[..., None]:
        def tell(*values: Any) -> None:
            if self._record is not None:
                self._record.saw(name, values)

        return tell

    def begin(self, record: "Record") -> None:
        """Empty the tables for another run, and write into its record from now on."""
        self._record = None
        self.raw.executescript(_EMPTY)
        self._record = record

    def show(self, world: World) -> None:
        """Let the database's clock be that of a world."""
        clock = world.clock
        self._clock = lambda: _FIRST_DAY + (clock.shown - EPOCH) / 86400

    def once(self) -> Iterator[tuple[int, int]]:
        """The effects that were committed together with a completion."""
        yield from self.raw.execute("SELECT job_id, lease FROM once")


def _made(directory: Path) -> sqlite3.Connection:
    with closing(Store(f"sqlite:///{directory / 'made.db'}")) as store:
        store.init()
    return sqlite3.connect(directory / "made.db")


@cache
def _legal() -> frozenset[tuple[str, str, str]]:
    """Statement, state before, state after: the table of transitions by the names of the statements."""
    names = {Verb.PROMOTE: ["promote", "promote_due"]}
    names |= {verb: [verb.value, f"{verb}_by_key"] for verb in (Verb.SKIP, Verb.CANCEL, Verb.DISCARD)}
    return frozenset(
        (name, source.value, target.value)
        for row in TRANSITIONS
        for name in names.get(row.verb, [row.verb.value])
        for source in row.sources
        for target in row.targets
    )


class Record:
    """What the database saw in one run, and what its clients were told: the history that is judged."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.on_end = self.settle
        self.events: list[Event] = []
        self._pending: list[tuple[str, tuple[Any, ...]]] = []
        self.numbers: dict[int, int] = {}
        """A row's id to the number that its client gave it."""
        self.states: dict[int, str] = {}
        self.leases: dict[int, int] = {}
        self.gone: dict[int, str] = {}
        self.illegal: list[str] = []
        self.unfinished = 0

    def saw(self, name: str, values: tuple[Any, ...]) -> None:
        """A trigger: a row is written, by the statement that runs now."""
        self._pending.append((name, (self.world.doing, self.world.clock.true, *values)))

    def settle(self, stays: bool) -> None:
        """What was pending is committed, or undone."""
        pending, self._pending = self._pending, []
        if stays:
            for name, values in pending:
                getattr(self, name)(*values)

    def born(self, doing: str, at: float, key: int, args: str, state: str) -> None:
        self.numbers[key] = int(args.removeprefix('{"n":').removesuffix("}"))
        self.states[key], self.leases[key] = state, 0
        self.unfinished += 1

    def changed(
        self,
        doing: str,
        at: float,
        key: int,
        old: str,
        new: str,
        lease: int,
        new_lease: int,
        until: int | None,
    ) -> None:
        self.states[key], self.leases[key] = new, new_lease
        self.unfinished += (old in FINAL) - (new in FINAL)
        number = self.numbers[key]
        if (doing, old, new) not in _legal() or new_lease < lease:
            self.illegal.append(f"{doing}: job {number} from {old} to {new}, lease {lease} to {new_lease}")
        end = 0.0 if until is None else until / 1e6
        if new == State.RUNNING and new_lease != lease:
            self.events.append(Event("start", number, new_lease, at, until=end))
        elif new == State.RUNNING and until is not None:
            self.events.append(Event("extend", number, lease, at, until=end))
        elif old == State.RUNNING:
            self._ended(doing, number, lease, new, at)
        if doing == "retry":
            self.events.append(Event("retry", number, lease, at, cause="retried by a person"))

    def _ended(self, doing: str, number: int, lease: int, new: str, at: float) -> None:
        if doing == "rescue":
            self.world.reached[f"rescued to {new}"] += 1
            self.events.append(Event("rescue", number, lease, at, cause="rescued"))
            return
        self.events.append(Event("ended", number, lease, at))
        if new not in FINAL:
            self.events.append(Event("rescue", number, lease, at, cause=f"given back: {doing}"))

    def deleted(self, doing: str, at: float, key: int, state: str) -> None:
        self.gone[key], self.leases[key] = state, -1
        self.world.reached["deleted"] += 1
        if state not in FINAL:
            self.illegal.append(f"{doing}: job {self.numbers[key]} is deleted while {state}")

    def history(self) -> list[Event]:
        """Everything, with the ends of leases in the time that passes."""
        when = self.world.clock.when_shown
        return [
            replace(event, until=when(event.at, event.until)) if event.until else event
            for event in self.events
        ]

    def rows(self) -> dict[int, Row]:
        """How the jobs stand at the end; what was deleted stands as it did then."""
        return {
            self.numbers[key]: Row(state in FINAL, state == State.RUNNING, state == State.COMPLETED)
            for key, state in (self.states | self.gone).items()
        }
