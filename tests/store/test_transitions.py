"""The transition matrix (reliability #1): every state x every verb x every lease, against the table in the core.

A refused verb must leave the whole row as it was.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from rowqueue.core.states import FINAL, TRANSITIONS, State, Verb, sources_of
from rowqueue.core.values import Claim, NewJob, Outcome

LEASES = {"right": 0, "stale": -1, "none": None}
FENCED = [verb for verb in Verb if sources_of(verb, fenced=True)]
BY_KEY = [Verb.PROMOTE, Verb.SKIP, Verb.CANCEL, Verb.DISCARD, Verb.RETRY, Verb.DELETE]
CLOCKED = [Verb.CLAIM, Verb.PROMOTE, Verb.RESCUE]
LEASE = 5


@dataclass(frozen=True)
class Cell:
    verb: Verb
    state: State
    how: str
    """`right`, `stale` or `none` (a lease), `key`, `due` (by the clock, when it is due) or `early`."""

    @property
    def expected(self) -> frozenset[State] | None:
        """Where it must lead; None: refused. Empty: the row is gone."""
        if self.how in LEASES:
            return _targets(self.verb, self.state, fenced=True) if self.how == "right" else None
        if self.how == "early":
            return None
        if self.verb is Verb.PROMOTE and self.how == "due" and self.state is State.PENDING:
            return None  # parked: the clock does not wake it
        return _targets(self.verb, self.state, fenced=False)


def _targets(verb: Verb, state: State, *, fenced: bool) -> frozenset[State] | None:
    for row in TRANSITIONS:
        if row.verb is verb and row.fenced is fenced and state in row.sources:
            return row.targets
    return None


CELLS = [
    *(Cell(verb, state, how) for verb in FENCED for state in State for how in LEASES),
    *(Cell(verb, state, "key") for verb in BY_KEY for state in State),
    *(Cell(verb, state, "due") for verb in CLOCKED for state in State),
    *(Cell(verb, state, "early") for verb in (Verb.PROMOTE, Verb.RESCUE) for state in State),
]


async def _fenced(store: Any, verb: Verb, claim: Claim) -> list[Outcome]:
    match verb:
        case Verb.EXTEND:
            return await store.extend([claim])
        case Verb.FAIL:
            return [await store.fail(claim, "error", delay=60)]
        case Verb.SNOOZE:
            return [await store.snooze(claim, 60)]
        case _:
            return [await getattr(store, verb.value)(claim)]


async def _apply(store: Any, cell: Cell, key: int, lease: int) -> bool:
    """Do it; true when the store says that it was done."""
    if cell.how in LEASES:
        shift = LEASES[cell.how]
        claim = Claim(key, 0 if shift is None else lease + shift, (await store.get(key)))
        (outcome,) = await _fenced(store, cell.verb, claim)
        return bool(outcome)
    if cell.how == "key":
        return bool(await getattr(store, cell.verb.value)(key))
    match cell.verb:
        case Verb.CLAIM:
            return bool(await store.claim(5))
        case Verb.PROMOTE:
            return bool(await store.promote_due())
        case _:
            return bool(await store.rescue())


def _put(rows: Any, state: State, *, due: bool) -> None:
    """Bring the row into a state in SQL, as the verbs would have left it."""
    now = "created_at"
    ahead = f"{now} {'-' if due else '+'} 3600 * {rows.second}"
    rows.execute(
        f"UPDATE rowqueue_job SET state = '{state}', lease = {LEASE}, attempt = 1, errors = NULL, result = NULL, "
        f"cancel_requested_at = NULL, max_attempts = 25, rescues = 0, snoozes = 0, failures = 0, "
        f"finalized_at = {now if state in FINAL else 'NULL'}, "
        f"leased_until = {ahead if state is State.RUNNING else 'NULL'}, "
        f"scheduled_at = {ahead if state in {State.SCHEDULED, State.RETRYABLE, State.PENDING} else now}"
    )


@pytest.mark.parametrize("verb", list(Verb))
async def test_every_cell_of_the_matrix_is_as_the_table_says(store, rows, verb, publish):
    cells = [cell for cell in CELLS if cell.verb is verb]
    wrong: list[Any] = []
    key = 0
    for cell in cells:
        if not rows.count():
            key = (await store.enqueue(NewJob(kind="k"))).job.id
        _put(rows, cell.state, due=cell.how == "due")
        before = rows.row(key)
        done = await _apply(store, cell, key, LEASE)
        after = rows.all().get(key)
        expected = cell.expected
        if expected is None:
            right = not done and after == before
        elif not expected or after is None:
            right = done and after is None and not expected
        else:
            right = done and after["state"] in expected and after["lease"] >= LEASE
            right = right and (after["finalized_at"] is None) == (after["state"] not in FINAL)
        if not right:
            wrong.append((cell, done, before, after))
    assert not wrong
    if cells:
        publish(
            "#1",
            "transition matrix: state x verb x {right, stale, no lease}, sync and async",
            "as the table says",
            value=len(wrong),
            cases=len(cells),
            bound="wrong = 0",
            promise=4,
        )


def test_the_matrix_has_every_row_of_the_table():
    seen = {
        (cell.verb, cell.how in LEASES, cell.state, cell.expected)
        for cell in CELLS
        if cell.expected is not None
    }
    for row in TRANSITIONS:
        if row.verb is not Verb.ENQUEUE:
            for state in row.sources:
                assert (row.verb, row.fenced, state, row.targets) in seen
    assert len(CELLS) > 300


async def test_enqueue_leads_where_the_table_says(store):
    jobs = (NewJob(kind="k"), NewJob(kind="k", delay=60), NewJob(kind="k", pending=True))
    states = {(await store.enqueue(job)).job.state for job in jobs}
    (row,) = [row for row in TRANSITIONS if row.verb is Verb.ENQUEUE]
    assert states == row.targets


async def test_every_target_of_the_table_is_reached(store, rows):
    """The fenced verbs with more than one target: which one is said by the policy, or by a request to cancel."""
    key = (await store.enqueue(NewJob(kind="k"))).job.id
    reached: dict[tuple[Verb, bool], set[State]] = {}
    for verb in FENCED:
        for asked in (False, True):
            options = (
                [{"state": state} for state in ("retryable", "available", "discarded")]
                if verb is Verb.FAIL
                else [{}]
            )
            for option in options:
                _put(rows, State.RUNNING, due=False)
                if asked:
                    rows.execute("UPDATE rowqueue_job SET cancel_requested_at = created_at")
                claim = Claim(key, LEASE, await store.get(key))
                done = (
                    await store.fail(claim, "x", **option)
                    if verb is Verb.FAIL
                    else (await _fenced(store, verb, claim))[0]
                )
                assert done
                reached.setdefault((verb, True), set()).add(State(rows.row(key)["state"]))
    for asked, spent in ((False, False), (False, True), (True, False)):
        _put(rows, State.RUNNING, due=True)
        if asked:
            rows.execute("UPDATE rowqueue_job SET cancel_requested_at = created_at")
        if spent:
            rows.execute("UPDATE rowqueue_job SET max_attempts = 1")
        (found,) = await store.rescue()
        reached.setdefault((Verb.RESCUE, False), set()).add(found.state)
    for (verb, fenced), states in reached.items():
        wanted = set().union(
            *(row.targets for row in TRANSITIONS if row.verb is verb and row.fenced is fenced)
        )
        assert states == wanted, verb
