"""Processes that enqueue, in batches and in transactions of their own, and are killed in the middle of it (#9).

`python -m tests.support.producers '{"url": …}'` forks them one after the other, and kills each at a random moment. Each says
before a call which numbers it is about to enqueue, and after it what the answer was, in a file of its own, a line at a time.
A number is a job's only argument; it is what the judge knows the job by.
"""

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, Transaction, create_engine, text
from sqlalchemy.engine import make_url

from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from tests.checker import Answer, Event
from tests.support.session import ROOT
from tests.support.stores import kind_of

TABLE = "CREATE TABLE app_row (number bigint)"
DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to enqueue, how often to kill, and how to go wrong for the negative controls."""

    url: str
    directory: str
    kills: int = 30
    within: float = 0.05
    """The longest time (seconds) from a producer's first round to its kill."""
    batch: int = 20
    hasty: bool = False
    """Negative control: it gives its answer before it knows."""
    apart: bool = False
    """Negative control: a job is enqueued on a connection of its own, not in the transaction."""


def produce(plan: Plan, store: Store, engine: Engine, producer: int) -> Iterator[None]:
    """One producer: batches, transactions that are committed and some that are not, a round at a time."""
    path = Path(plan.directory) / f"producer-{producer}.jsonl"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    numbers = itertools.count(producer * 1_000_000)

    def say(answer: str, chosen: list[int]) -> None:
        os.write(log, (json.dumps([answer, chosen]) + "\n").encode())

    def begin(count: int) -> list[int]:
        chosen = list(itertools.islice(numbers, count))
        say("ok" if plan.hasty else "unknown", chosen)
        return chosen

    with engine.connect() as connection:
        while True:
            chosen = begin(plan.batch)
            store.enqueue_many(_jobs(chosen))
            say("ok", chosen)
            chosen = begin(3)
            _in_a_transaction(plan, store, connection, chosen, Transaction.commit)
            say("ok", chosen)
            chosen = begin(3)
            _in_a_transaction(plan, store, connection, chosen, Transaction.rollback)
            say("fail", chosen)
            yield


def _in_a_transaction(
    plan: Plan, store: Store, connection: Connection, chosen: list[int], end: Callable[[Transaction], None]
) -> None:
    with connection.begin() as transaction:
        on = store if plan.apart else store.on(connection)
        for number in chosen:
            on.enqueue(_jobs([number])[0])
            connection.execute(text("INSERT INTO app_row VALUES (:number)"), {"number": number})
        end(transaction)


def _jobs(numbers: list[int]) -> list[NewJob]:
    return [NewJob(kind="p", args={"number": number}) for number in numbers]


def nursery(plan: Plan) -> None:
    """Fork producers and kill them."""
    store = Store(plan.url)
    url = make_url(plan.url).set(drivername=DRIVERS[kind_of(plan.url)])
    engine = create_engine(url, poolclass=NullPool)
    with contextlib.closing(produce(plan, store, engine, 0)) as warm_up:  # so that what they compile is there
        next(warm_up)
    store.close()
    chance = random.Random(plan.kills)
    for producer in range(1, plan.kills + 1):
        reads, begun = os.pipe()
        if not (pid := os.fork()):
            os.close(reads)
            try:
                for _ in produce(plan, store, engine, producer):
                    os.write(begun, b"1")
            finally:
                os._exit(1)
        os.close(begun)
        os.read(reads, 1)
        time.sleep(chance.uniform(0, plan.within))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(reads)
        if not os.WIFSIGNALED(status):
            sys.exit(f"a producer ended by itself: {status}")


def run(plan: Plan) -> None:
    """Run a nursery in a process of its own."""
    command = [sys.executable, "-m", __name__, json.dumps(asdict(plan))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr


def history(plan: Plan) -> tuple[list[Event], Counter[str]]:
    """What was enqueued with which answer, and how many calls were answered how."""
    events, calls = [], Counter[str]()
    for path in sorted(Path(plan.directory).glob("producer-*.jsonl")):
        for answer, numbers in _last_answers(path):
            calls[answer] += 1
            events += [Event("enqueue", number, answer=answer) for number in numbers]
    return events, calls


def _last_answers(path: Path) -> Iterator[tuple[Answer, list[int]]]:
    lines = path.read_text().split("\n")[:-1]  # the last may be torn by a kill
    answers = {tuple(numbers): answer for answer, numbers in map(json.loads, lines)}
    for numbers, answer in answers.items():
        yield answer, list(numbers)


if __name__ == "__main__":
    nursery(Plan(**json.loads(sys.argv[1])))
