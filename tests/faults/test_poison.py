"""Handlers that harm their process (reliability #27), all at once: in a child they cost one attempt and nothing else; in a
thread they may take the worker down, and are rescued. Either way they end, and everybody else's jobs are done."""

import contextlib
import importlib
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM
from types import ModuleType
from typing import Any

import pytest

from rowqueue import Job, State
from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from tests.support import nursery
from tests.support.stores import Raw, raw
from tests.support.waiting import wait_until
from tests.worker.harness import PATIENCE, drain

IN_A_CHILD = {
    "segfault": "its process was ended by SIGSEGV",
    "exit": "its process ended with exit status 7",
    "killed": "its process was ended by SIGKILL, perhaps because the system ran out of memory",
    # It ends by itself once it finds that nobody can be told, or is killed where that takes it too long.
    "closes every file": "its process (ended with exit status 1|was ended by SIGKILL, .*)",
    "holds the GIL": "HandlerTimeout: ran longer than its timeout of 0.1 s",
    "out of memory": "MemoryError",
    "SystemExit": "SystemExit: 3",
    "KeyboardInterrupt": "KeyboardInterrupt",
    "BaseException": "BaseException: nobody catches this one",
}
"""What is said of each attempt of those that end discarded."""

FEW = {"killed": 1, "closes every file": 1, "holds the GIL": 1}
"""Attempts that they have, where one is enough to see: each costs a process."""

RETURNS = {"unserialisable": None, "forks": 0, "forks and execs": 5}
"""What is kept of the results of those that return."""

IN_A_THREAD = {how: IN_A_CHILD[how] for how in ("SystemExit", "KeyboardInterrupt", "BaseException")}
DEADLY, STALLS = ("segfault", "exit"), ("holds it asleep",)
"""What takes down the process of a worker, and what stops all of its threads."""

INNOCENT = 14


@pytest.fixture
def poison(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module with the jobs, on the test's database."""
    monkeypatch.setenv("POISON_DATABASE", sqlite_url)
    monkeypatch.setenv("POISON_FOLDER", str(tmp_path))
    module = importlib.import_module("tests.faults.poison")
    module.app.init()
    yield module
    module.app.close()
    del sys.modules["tests.faults.poison"]


def enqueue(store: Store, kind: str, attempts: dict[str, int], **options: Any) -> dict[str, int]:
    """Each poison once, after each of them an innocent job, and some more of those; the keys by what they do."""
    jobs = [
        NewJob(kind=kind, args={"how": how}, queue=kind, max_attempts=most, **options)
        for how, most in attempts.items()
    ]
    innocent = [
        NewJob(kind=f"{kind} innocent", args={"how": str(each)}, queue=kind) for each in range(INNOCENT)
    ]
    mixed = [each for pair in zip(jobs, innocent, strict=False) for each in pair] + innocent[len(jobs) :]
    assert len(mixed) == len(jobs) + INNOCENT
    answers = store.enqueue_many(mixed)
    return {str(answer.job.args["how"]): answer.job.id for answer in answers}


def row(store: Store, key: int) -> Job:
    job = store.get(key)
    assert job is not None
    return job


def breaches(store: Store, keys: dict[str, int], ends: dict[str, str], returns: dict[str, Any]) -> list[str]:
    """Jobs that did not end as they must."""
    found = []
    for how, key in keys.items():
        job = row(store, key)
        said = {entry.error for entry in job.errors}
        if how in ends:
            well = job.state is State.DISCARDED and all(re.fullmatch(ends[how], error) for error in said)
        else:
            well = (job.state, job.result) == (State.COMPLETED, returns.get(how, how))
        if not well:
            found.append(f"{how}: {job.state} {job.result!r} {said}")
    return found


def begun(folder: Path) -> list[tuple[str, int]]:
    """What was started, and in which process."""
    file = folder / "starts"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(how, int(pid)) for how, pid in (line.split("\t") for line in lines)]


def starts(folder: Path) -> Counter[str]:
    """How often each was started."""
    return Counter(how for how, _ in begun(folder))


def test_in_a_child_they_cost_their_own_attempts_and_the_worker_lives(
    poison: ModuleType, tmp_path: Path, long: bool, publish: Any
) -> None:
    store, returns = poison.app.store, {**RETURNS, "100 MB": None} if long else RETURNS
    attempts = {how: FEW.get(how, poison.STARTS) for how in IN_A_CHILD} | dict.fromkeys(
        returns, poison.STARTS
    )
    stall = attempts.pop("holds the GIL")
    if sys.platform != "linux":  # which alone enforces RLIMIT_AS
        del attempts["out of memory"]
    keys = enqueue(store, poison.PROCESS, attempts)
    keys |= {"holds the GIL": stalled(store, poison.PROCESS, stall)}
    drain(poison.app, queues=[poison.PROCESS], concurrency=3)  # one worker, in this very process
    found = breaches(store, keys, IN_A_CHILD, returns)
    began = starts(tmp_path)
    found += [how for how in began if began[how] != (1 if how in returns else FEW.get(how, poison.STARTS))]
    found += [how for how in [*attempts, "holds the GIL"] if how not in began]
    found += [how for how, key in keys.items() if how.isdigit() and row(store, key).attempt > 1]
    found += [f"{how} was rescued" for how, key in keys.items() if row(store, key).rescues]
    publish(
        "#27",
        "handlers that harm their process, with process=True",
        f"{len(began)} sorts, {began.total()} starts; one worker lived on, {INNOCENT} other jobs done at once; "
        f"amiss: {found}",
        value=len(found),
        bound="amiss = 0",
        promise=8,
    )


def stalled(store: Store, kind: str, attempts: int) -> int:
    """A job that nothing ends but its timeout."""
    new = NewJob(kind=kind, args={"how": "holds the GIL"}, queue=kind, max_attempts=attempts, timeout=0.1)
    key = store.enqueue(new).job.id
    assert isinstance(key, int)
    return key


class Crew:
    """Worker processes; who dies is replaced, and who does not keep its leases is killed, as by a service manager."""

    def __init__(self, store: Store, folder: Path, queue: str, count: int, *limits: str) -> None:
        self._store, self._folder, self._arguments = store, folder, (queue, *limits)
        self._since: dict[int, float] = {}
        self.deaths, self.stalls = Counter[int](), 0
        self.hands = [self._start() for _ in range(count)]

    def _start(self) -> nursery.Child:
        return nursery.start("tests.faults.poison", *self._arguments, new_session=True)

    def keep(self, stalls: dict[str, int]) -> bool:
        """Do so; True when nothing is left to do.

        Args:
            stalls: the jobs that stop a process for ever.
        """
        done = all(
            job.state.is_final for job in self._store.list(limit=100).jobs
        )  # before who stands is looked for
        robbed = " ".join(entry.error for key in stalls.values() for entry in row(self._store, key).errors)
        for how, pid in begun(self._folder):
            if how in stalls:
                self._since.setdefault(pid, time.monotonic())
        for place, hand in enumerate(self.hands):
            if hand.poll() is not None:
                self.deaths[hand.wait()] += 1
            elif hand.pid in self._since and (f":{hand.pid}:" in robbed or self._stands(hand.pid)):
                hand.kill()
                hand.wait(PATIENCE)
                self.stalls += 1
            else:
                continue
            self.hands[place] = self._start()
        return done

    def _stands(self, pid: int) -> bool:
        """For so long that it may well have stopped in a transaction, when SQLite lets nobody else write."""
        return time.monotonic() > self._since[pid] + 2

    def stop(self) -> list[int]:
        for hand in self.hands:
            hand.terminate()
        return [hand.wait(PATIENCE) for hand in self.hands]

    def close(self) -> None:
        for hand in self.hands:
            with contextlib.suppress(ProcessLookupError):
                hand.kill()
            hand.wait(PATIENCE)


def test_in_a_thread_they_are_rescued_and_discarded(
    poison: ModuleType, tmp_path: Path, long: bool, publish: Any
) -> None:
    store = poison.app.store
    deadly = [*DEADLY, *(("abort", "killed") if long else ())]
    stalls = [*STALLS, *(("holds the GIL",) if long else ())]
    returns = {**RETURNS, "100 MB": None} if long else RETURNS
    attempts = dict.fromkeys([*deadly, *stalls], 9) | dict.fromkeys([*IN_A_THREAD, *returns], poison.STARTS)
    keys = enqueue(store, poison.THREADS, attempts)
    ends = IN_A_THREAD | dict.fromkeys([*deadly, *stalls], "the lease ran out: .* stopped renewing it")
    crew = Crew(store, tmp_path, poison.THREADS, 1 + len(stalls))
    try:
        watched = {how: keys[how] for how in stalls}
        wait_until(lambda: crew.keep(watched), "the last job", 120)
        codes = crew.stop()
    finally:
        crew.close()
    found = breaches(store, keys, ends, returns)
    began = starts(tmp_path)
    found += [how for how in began if began[how] != (1 if how in returns else poison.STARTS)]
    found += [f"exit status {code}" for code in codes if code not in {0, -SIGTERM}]  # before it could listen
    publish(
        "#27",
        "handlers that harm their process, in a worker's own threads",
        f"{len(began)} sorts, {began.total()} starts; {crew.deaths.total()} processes died, {crew.stalls} stalled, "
        f"their jobs were rescued; {INNOCENT} other jobs done; amiss: {found}",
        value=len(found),
        bound="amiss = 0",
        promise=8,
    )
    assert crew.deaths.total() >= len(deadly) * poison.STARTS
    assert crew.stalls == len(stalls) * poison.STARTS


@pytest.mark.long
def test_a_thread_that_takes_all_memory_is_rescued_and_discarded(
    poison: ModuleType, tmp_path: Path, publish: Any
) -> None:
    """The system gives no more, or kills the process: here a limit on it does, which every thread of it meets."""
    store = poison.app.store
    keys = enqueue(store, poison.THREADS, {"out of memory": poison.STARTS})
    crew = Crew(store, tmp_path, poison.THREADS, 1, str(1 << 30))
    try:
        wait_until(lambda: crew.keep({}), "the last job", 120)
        codes = crew.stop()
    finally:
        crew.close()
    found = breaches(store, keys, {"out of memory": "MemoryError|the lease ran out: .*"}, {})
    publish(
        "#27",
        "a handler in a thread takes all memory of its process (1 GiB)",
        f"{starts(tmp_path).total()} starts, {crew.deaths.total()} processes died; exit status {codes}; amiss: {found}",
        value=len(found),
        bound="amiss = 0",
        promise=8,
    )


def crashes(store: Store, rows: Raw, most: int) -> int:
    """Claim a job and let its lease run out, again and again; how often it was claimed."""
    for number in range(most):
        if not store.claim():
            return number
        rows.pass_time(100)
        store.rescue()
    return most


def test_a_rescue_that_does_not_count_starts_it_for_ever(sqlite_url: str, publish: Any) -> None:
    """The negative control: crashes are forgotten, by a trigger."""
    with contextlib.closing(Store(sqlite_url, max_rescues=2)) as store, raw(sqlite_url) as rows:
        store.init()
        store.enqueue(NewJob(kind="k", max_attempts=1000))
        counted = crashes(store, rows, 50)
        rows.execute(
            "CREATE TRIGGER forgets AFTER UPDATE OF rescues ON rowqueue_job BEGIN "
            "UPDATE rowqueue_job SET rescues = 0 WHERE id = new.id; END"
        )
        store.enqueue(NewJob(kind="k", max_attempts=1000))
        forgotten = crashes(store, rows, 50)
    assert counted == 2
    publish.control(
        "#27",
        "a rescue that does not count",
        f"started {forgotten} times in 50 rounds, and going on; counted: {counted}",
        value=forgotten,
        bound="starts >= 50",
        promise=8,
    )
