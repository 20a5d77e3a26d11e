"""A little of every verb on one store, and what was acknowledged of it (for faults below SQLite)."""

import random
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from rowqueue.core.values import Claim, NewJob
from rowqueue.store.store import Store

QUERY = "SELECT CAST(json_extract(args, '$.number') AS INTEGER), lease, failures, state FROM rowqueue_job"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a job is; each number only grows."""

    lease: int = 0
    failures: int = 0
    completed: bool = False

    def behind(self, other: "Standing") -> bool:
        """Something of the other's is not there."""
        return self.lease < other.lease or self.failures < other.failures or self.completed < other.completed


@dataclass(slots=True)
class Verdict:
    """What is wrong with a file: numbers of jobs, batches."""

    lost: list[int] = field(default_factory=list)
    phantom: list[int] = field(default_factory=list)
    torn: list[list[int]] = field(default_factory=list)
    corrupt: str = ""


class Traffic:
    """Verbs chosen by a seed; what the store answered is in `acknowledged`.

    Args:
        store: what is asked.
        seed: decides which verbs.
    """

    def __init__(self, store: Store, seed: int) -> None:
        self.store = store
        self.acknowledged: dict[int, Standing] = {}
        self.batches: list[list[int]] = []
        self.verbs = 0
        self._chance = random.Random(seed)
        self._claims: list[Claim] = []

    def step(self) -> None:
        """Ask for one verb; an error of the store's passes through, and nothing is acknowledged."""
        self.verbs += 1
        chosen = self._chance.random()
        if chosen < 0.3 or not self.acknowledged:
            self._enqueue()
        elif chosen < 0.55 or not self._claims:
            for claim in self.store.claim(3, worker="w"):
                self._claims.append(claim)
                self.acknowledge(claim, Standing(lease=claim.lease))
        elif chosen < 0.8:
            claims = self._taken(3)
            for claim, outcome in zip(claims, self.store.complete_many(claims), strict=True):
                if outcome:
                    self.acknowledge(claim, Standing(claim.lease, completed=True))
        elif chosen < 0.9:
            (claim,) = self._taken(1)
            if self.store.fail(claim, "x" * self._chance.randrange(2000), delay=0):
                self.acknowledge(claim, Standing(claim.lease, claim.job.failures + 1))
        else:
            self.store.add_log(self._claims[0], "y" * self._chance.randrange(3000))
            self.store.extend(self._claims)

    def acknowledge(self, claim: Claim, standing: Standing) -> None:
        """The store said that a job stands so."""
        number = claim.job.args["number"]
        known = self.acknowledged[number] if number in self.acknowledged else Standing()
        self.acknowledged[number] = Standing(
            max(known.lease, standing.lease),
            max(known.failures, standing.failures),
            known.completed or standing.completed,
        )

    def _enqueue(self) -> None:
        first = self.batches[-1][-1] + 1 if self.batches else 1
        numbers = list(range(first, first + self._chance.choice([1, 1, 5])))
        self.batches.append(numbers)
        pads = ["z" * self._chance.randrange(2500) for _ in numbers]
        self.store.enqueue_many(
            [
                NewJob(kind="k", args={"number": each, "pad": pad})
                for each, pad in zip(numbers, pads, strict=True)
            ]
        )
        self.acknowledged |= dict.fromkeys(numbers, Standing())

    def _taken(self, most: int) -> list[Claim]:
        taken, self._claims = self._claims[:most], self._claims[most:]
        return taken


def judge(path: Path, acknowledged: dict[int, Standing], batches: list[list[int]]) -> Verdict:
    """Look into a file past the store."""
    verdict = Verdict()
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        (said,) = connection.execute("PRAGMA integrity_check").fetchone()
        verdict.corrupt = "" if said == "ok" else said
        there = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'rowqueue_job'")
        rows = connection.execute(QUERY).fetchall() if there.fetchone()[0] else []
    except sqlite3.DatabaseError as error:
        verdict.corrupt = str(error)
        rows = []
    finally:
        connection.close()
    found = {
        number: Standing(lease, failures, state == "completed") for number, lease, failures, state in rows
    }
    verdict.lost = [
        number
        for number, standing in acknowledged.items()
        if number not in found or found[number].behind(standing)
    ]
    attempted = {number for batch in batches for number in batch}
    verdict.phantom = [number for number in found if number not in attempted]
    verdict.torn = [batch for batch in batches if 0 < sum(number in found for number in batch) < len(batch)]
    return verdict
