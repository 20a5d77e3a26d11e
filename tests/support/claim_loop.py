"""Processes that claim, work and finish against the Store directly, and a nursery that kills and freezes them.

`python -m tests.support.claim_loop '{"url": …}'` forks the workers (a fork costs milliseconds, a fresh Python a second),
kills one every `kill_every` seconds and forks another, wakes each that froze in the middle of a job after more than a
lease, and ends when every job is final. Each worker appends what it did to a file of its own, a line at a time, so that a kill loses nothing
that was answered. What the database recorded (effects, errors) is read from the database.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from rowqueue.core.errors import StoreError
from rowqueue.core.states import FINAL
from rowqueue.core.values import Claim
from rowqueue.sql.statements._parts import Parts
from rowqueue.store.store import Store
from tests.checker import Event, Row, What
from tests.support import mariadb
from tests.support.session import ROOT, plain_url
from tests.support.stores import raw


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do to whom."""

    url: str
    directory: str
    workers: int = 4
    batch: int = 10
    lease: float = 1.0
    slow_every: int = 10
    slow: float = 0.01
    kill_every: float = 0.2
    kills: int = 60
    freeze_every: int = 1000
    """A worker stops itself (SIGSTOP) in the middle of the first attempt at every so many-th job."""
    seed: int = 1
    fenced: bool = True
    """False is the negative control: the statements match by key and state alone."""


TABLES = (
    "CREATE TABLE effect (job_id bigint, lease bigint)",
    "CREATE TABLE effect_once (job_id bigint, lease bigint)",
)


def warmed(plan: Plan) -> Store:
    """A store with its statements compiled and no connection open, to be forked."""
    if not plan.fenced:
        Parts.fences_match = lambda *_: []  # type: ignore[method-assign,assignment]
    store = Store(plan.url, lease=plan.lease, max_rescues=1000)
    store.check_schema()
    store.statements()
    store.close()
    return store


def work(plan: Plan, store: Store, number: int) -> None:
    """One worker: it ends when nothing is left, or when it is killed."""
    own = _connect(plan.url)
    path = Path(plan.directory) / f"worker-{number}-{os.getpid()}.jsonl"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(**event: Any) -> None:
        os.write(log, (json.dumps(event) + "\n").encode())

    while True:
        store.rescue()
        claims = store.claim(plan.batch, worker=f"w-{os.getpid()}")
        for claim in claims:
            say(what="start", key=claim.key, lease=claim.lease, at=_at(claim), until=_until(claim))
        if not claims:
            stats = store.stats()
            if not any(
                count for queue in stats.queues for state, count in queue.counts.items() if state not in FINAL
            ):
                os._exit(0)
            time.sleep(0.05)  # nothing to claim until a lease runs out: a worker polls
            continue
        _work_batch(plan, store, own, claims, say)


def _work_batch(plan: Plan, store: Store, own: Any, claims: list[Claim], say: Any) -> None:
    quick = [claim for claim in claims if claim.key % plan.slow_every]
    for claim in claims:
        if claim.key % plan.slow_every == 0:
            _work_slowly(plan, store, own, claim, say)
            at = time.time()
            for held, outcome in zip(quick, store.extend(quick), strict=True):
                say(
                    what="extend",
                    key=held.key,
                    lease=held.lease,
                    at=at,
                    until=at + plan.lease,
                    answer=_answer(outcome),
                )
    with _transaction(own):
        for claim in quick:
            own.execute(f"INSERT INTO effect VALUES ({claim.key}, {claim.lease})")
    failing = [claim for claim in quick if claim.job.attempt == 1 and claim.key % 50 == 7]
    at = time.time()
    done = [claim for claim in quick if claim not in failing]
    for claim, outcome in zip(done, store.complete_many(done), strict=True):
        say(what="finish", key=claim.key, lease=claim.lease, at=at, answer=_answer(outcome))
    for claim, outcome in zip(
        failing, store.fail_many(failing, ["boom"] * len(failing), delay=0), strict=True
    ):
        if not outcome:
            say(what="finish", key=claim.key, lease=claim.lease, at=at, answer="stale")


def _work_slowly(plan: Plan, store: Store, own: Any, claim: Claim, say: Any) -> None:
    """The effect and the completion in one transaction of the handler's."""
    if claim.key % plan.freeze_every:
        time.sleep(plan.slow)  # the work
    elif claim.job.attempt == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        time.sleep(0.8 * plan.lease)  # still at it when the frozen one wakes up
    at = time.time()
    with _transaction(own) as ours:
        own.execute(f"INSERT INTO effect_once VALUES ({claim.key}, {claim.lease})")
        outcome = store.on(own).complete(claim)
        ours.append(bool(outcome))  # a refusal rolls the effect back
    say(what="finish", key=claim.key, lease=claim.lease, at=at, answer=_answer(outcome))


def _answer(outcome: Any) -> str:
    return "ok" if outcome else "stale"


def _at(claim: Claim) -> float:
    assert claim.job.attempted_at is not None
    return claim.job.attempted_at.timestamp()


def _until(claim: Claim) -> float:
    assert claim.job.leased_until is not None
    return claim.job.leased_until.timestamp()


def _connect(url: str) -> Any:
    if url.startswith("sqlite"):
        return sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
    if url.startswith("mariadb"):
        return mariadb.connect(url)
    return psycopg.connect(plain_url(url), autocommit=True)


@contextlib.contextmanager
def _transaction(connection: Any) -> Iterator[list[bool]]:
    """Commits at the end of the block, unless the list that it gives has a False in it."""
    answers: list[bool] = []
    connection.execute("BEGIN IMMEDIATE" if isinstance(connection, sqlite3.Connection) else "BEGIN")
    yield answers
    connection.execute("COMMIT" if all(answers) else "ROLLBACK")


class Nursery:
    """Forks workers, kills and freezes them, and ends when all jobs are final."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.store = warmed(plan)
        self.alive: dict[int, int] = {}
        self.frozen: dict[int, float] = {}
        self.kills = self.freezes = 0

    def run(self) -> None:
        chance = random.Random(self.plan.seed)
        for number in range(self.plan.workers):
            self._fork(number)
        kill_at = time.monotonic() + self.plan.kill_every
        while self.alive:
            time.sleep(0.02)
            now = time.monotonic()
            self._reap()
            for pid in [pid for pid, until in self.frozen.items() if until < now]:
                self._wake(pid)
            awake = sorted(set(self.alive) - set(self.frozen))
            if self.kills < self.plan.kills and now > kill_at and awake:
                kill_at = now + self.plan.kill_every
                victim = chance.choice(awake)
                os.kill(victim, signal.SIGKILL)
                os.waitpid(victim, 0)
                self.kills += 1
                self._fork(self.alive.pop(victim))
        print(json.dumps({"kills": self.kills, "freezes": self.freezes}))

    def _fork(self, number: int) -> None:
        pid = os.fork()
        if pid:
            self.alive[pid] = number
            return
        try:
            work(self.plan, self.store, number)
        except StoreError as error:
            print(f"worker {number}: {error!r}", file=sys.stderr, flush=True)
        finally:
            os._exit(1)

    def _wake(self, pid: int) -> None:
        del self.frozen[pid]
        if pid in self.alive:
            os.kill(pid, signal.SIGCONT)

    def _reap(self) -> None:
        for pid in list(self.alive):
            found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if found and os.WIFSTOPPED(status):
                self.frozen[pid] = time.monotonic() + self.plan.lease + 0.4
                self.freezes += 1
            elif found:
                number = self.alive.pop(pid)
                if status:
                    sys.exit(f"worker {number} ended with {status}")


def history(plan: Plan, keys: list[int]) -> tuple[list[Event], dict[int, Row]]:
    """What the workers said, and what the database recorded."""
    events = [Event("enqueue", key) for key in keys]
    for path in sorted(Path(plan.directory).glob("worker-*.jsonl")):
        lines = path.read_text().split("\n")[:-1]  # the last may be torn by a kill
        events += [Event(**json.loads(line)) for line in lines]
    rows = {}
    with raw(plan.url) as table, contextlib.closing(Store(plan.url)) as store:
        tables: tuple[tuple[What, str], ...] = (("effect", "effect"), ("once", "effect_once"))
        for what, name in tables:
            events += [
                Event(what, row["job_id"], row["lease"]) for row in table.rows(f"SELECT * FROM {name}")
            ]  # type: ignore[arg-type]
        for key, row in table.all().items():
            rows[key] = Row(row["state"] in FINAL, row["state"] == "running", row["state"] == "completed")
            if row["errors"] is None:
                continue
            job = store.get(key)
            assert job is not None
            for entry in job.errors:
                rescued = entry.error.startswith("the lease ran out")
                events.append(
                    Event(
                        "rescue" if rescued else "gave_back",
                        key,
                        entry.lease,
                        entry.at.timestamp(),
                        cause="rescued" if rescued else "failed",
                    )
                )
    return events, rows


def run(plan: Plan, timeout: float) -> dict[str, int]:
    """Run a nursery in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(asdict(plan))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    Nursery(Plan(**json.loads(sys.argv[1]))).run()
