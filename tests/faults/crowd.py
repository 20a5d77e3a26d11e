"""Many processes on one SQLite file (#18): `python -m tests.faults.crowd '{"url": …}'` forks them all at once.

Each writes one line of JSON at its end: what it did, which errors its caller got to see, how often the store had to try
again, and the longest call.
"""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from rowqueue.core.errors import DatabaseBusy, StoreError
from rowqueue.core.values import NewJob
from rowqueue.store import pools
from rowqueue.store.store import Store
from tests.support.session import ROOT


@dataclass(frozen=True, slots=True)
class Plan:
    """Who works for how long."""

    url: str
    seconds: float
    producers: int = 8
    workers: int = 8
    borrowers: int = 1


class Member:
    """One process: its store, and what it has to tell."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.store = Store(plan.url)
        self.plan = plan
        self.number = number
        self.until = time.monotonic() + plan.seconds
        self.told: dict[str, Any] = {"done": [], "errors": Counter(), "retries": 0, "longest": 0.0}
        pause = pools._pause

        def counted(tries: int) -> float:
            self.told["retries"] += 1
            return pause(tries)

        pools._pause = counted

    def call(self, verb: Callable[[], Any]) -> Any:
        """Ask the store; what its caller would see is counted."""
        began = time.monotonic()
        try:
            return verb()
        except StoreError as error:
            self.told["errors"][f"{type(error).__name__}: {error}"] += 1
            return None
        finally:
            self.told["longest"] = max(self.told["longest"], time.monotonic() - began)


def produce(member: Member) -> None:
    """Enqueue five at a time."""
    number = member.number * 1_000_000
    while time.monotonic() < member.until:
        numbers = list(range(number, number + 5))
        number += 5
        jobs = [NewJob(kind="k", args={"number": each}) for each in numbers]
        if member.call(lambda jobs=jobs: member.store.enqueue_many(jobs)):
            member.told["done"] += numbers


def work(member: Member) -> None:
    """Claim and complete until time is over and nothing is left."""
    store = member.store
    while True:
        claims = member.call(lambda: store.claim(5, worker=f"w-{member.number}")) or []
        outcomes = member.call(lambda claims=claims: store.complete_many(claims)) if claims else []
        if outcomes is not None:
            member.told["done"] += [
                claim.job.args["number"] for claim, done in zip(claims, outcomes, strict=True) if done
            ]
        if not claims:
            if time.monotonic() > member.until:
                return
            time.sleep(0.01)


def borrow(member: Member) -> None:
    """An application's own connection, which reads and then writes, as `sqlite3` does by itself: refused at times."""
    path = member.plan.url.removeprefix("sqlite:///")
    number = member.number * 1_000_000
    while time.monotonic() < member.until:
        with contextlib.closing(sqlite3.connect(path, timeout=0.05)) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM rowqueue_job WHERE id < 10").fetchone()
            number += 1
            bound: Any = member.store.on(connection)
            try:
                bound.enqueue(NewJob(kind="k", args={"number": number}))
                connection.commit()
            except DatabaseBusy as error:
                member.told["errors"][f"{type(error).__name__}: {error}"] += 1
            except sqlite3.OperationalError as error:  # of the caller's own COMMIT
                member.told["errors"][f"COMMIT: {error}"] += 1
            else:
                member.told["done"].append(number)


def main(plan: Plan) -> None:
    """Fork, wait, and say what each said."""
    with contextlib.closing(Store(plan.url)) as store:
        store.check_schema()
    roles = [produce] * plan.producers + [work] * plan.workers + [borrow] * plan.borrowers
    children = []
    for number, role in enumerate(roles, 1):
        if pid := os.fork():
            children.append(pid)
            continue
        try:
            member = Member(plan, number)
            role(member)
            _tell(member, role)
            os._exit(0)
        finally:
            os._exit(1)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    last = Member(
        replace(plan, seconds=0.0), 0
    )  # a producer's last call may have taken longer than the workers waited for more
    work(last)
    last.store.close()
    _tell(last, work)
    sys.exit(any(codes))


def _tell(member: Member, role: Callable[[Member], None]) -> None:
    line = json.dumps({"role": role.__name__, **member.told}) + "\n"
    with open(sys.argv[2] + f".{member.number}", "w") as file:  # noqa: PTH123 - a pipe's lines would be torn
        file.write(line)


def start(plan: Plan, answers: str) -> "subprocess.Popen[str]":
    """Begin; `answers` is what the files with the answers begin with."""
    command = [sys.executable, "-m", __name__, json.dumps(asdict(plan)), answers]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


if __name__ == "__main__":
    main(Plan(**json.loads(sys.argv[1])))
