"""The negative controls: the same runs with one thing of the product's taken away. Each must be caught."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.states import State
from rowqueue.core.values import Claim, Outcome
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.operations.decode import job_of
from rowqueue.sql.compiled import Call, Statement
from rowqueue.sql.layout import Cols, Layout
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.statements.claim import _taken
from rowqueue.sql.terms import param
from rowqueue.store import AsyncStore
from rowqueue.worker.finishing import Finishing, _Ending
from tests.simulation.crew import Rules


class ByKey(Parts):
    """Writes by workers are guarded by the key alone."""

    def fenced(self, given: Any) -> ColumnElement[bool]:
        return sa.and_(*self.keys_match(self.c, given))


class ByKeyAndState(Parts):
    """By the key, and that the job runs."""

    def fences_match(self, cols: Cols, given: Any) -> list[ColumnElement[bool]]:
        return []


def _guarded(rules: Rules, parts: type[Parts], fence: tuple[str, ...] = ("lease",)) -> Statements:
    own = rules.base._statements
    layout = Layout(own.layout.base, own.layout.fields, fence=fence)
    weak = Statements(own.parts.tables, own.dialect, own.driver, layout)
    weak.parts = parts(layout, own.parts.tables, own.dialect)
    return weak


def _by_attempt(rules: Rules) -> Rules:
    """By key, state and the number of the attempt, which a job that was given back gets again."""
    statements = _guarded(rules, Parts, ("attempt",))
    return replace(
        rules, statements=statements, marked=lambda claim: replace(claim, fence=(claim.job.attempt,))
    )


class Hasty(Finishing):
    """Takes an answer that never came for a no, and does not read again what became of the job."""

    async def _settle(self, endings: list[_Ending]) -> None:
        await self._write(endings)

    def _answered(self, ending: _Ending, outcome: Outcome) -> None:
        if outcome.done:
            self._done(ending, outcome)
        else:
            self._refused(ending.attempt, outcome)


def _claim_in_two(
    store: AsyncStore, limit: int, worker: str, queues: tuple[str, ...]
) -> Operation[list[Claim]]:
    """Reads what is ready, then takes it without looking again, as without SKIP LOCKED and a condition."""

    def steps(s: Statements) -> Steps[list[Claim]]:
        found = yield Call(_kept(s, "look", _ready), {"queues": s.dialect.pack_list(queues), "limit": limit})
        if not found:
            return []
        values = {"duration": store.settings.lease_seconds, "worker": worker}
        keys = s.pack_keys([row[0] for row in found])
        rows = yield Call(_kept(s, "claim", _take), {**keys, **values})
        jobs = [job_of(row, s.layout) for row in rows]
        return [Claim(job.id, job.lease, job) for job in jobs]

    return Operation(steps, Access.WRITE)


def _ready(parts: Parts) -> Any:
    c = parts.c
    wanted = parts.dialect.among(c.queue, "queues", sa.Text())
    return sa.select(c.id).where(c.is_in(State.AVAILABLE), wanted).limit(param("limit", sa.Integer()))


def _take(parts: Parts) -> Any:
    return _taken(parts).where(parts.among(parts.c))


def _kept(s: Statements, name: str, build: Callable[[Parts], Any]) -> Statement:
    """A statement of the control's, compiled once; the product's own of that name stays what it is."""
    key = f"careless {name}"
    if key not in s._compiled:
        s._compiled[key] = s.compile(name, build(s.parts))
    return s._compiled[key]


CONTROLS: Mapping[str, Callable[[Rules], Rules]] = {
    "id": lambda rules: replace(rules, statements=_guarded(rules, ByKey)),
    "id+state": lambda rules: replace(rules, statements=_guarded(rules, ByKeyAndState)),
    "id+state+attempt": _by_attempt,
    "no second look at unknown outcomes": lambda rules: replace(rules, finishing=Hasty),
    "claim in two statements": lambda rules: replace(rules, claim=_claim_in_two),
    "no rescue": lambda rules: replace(rules, rescues=False),
}
EXPECTED: Mapping[str, set[str]] = {
    "id": {"stale_accepted"},
    "id+state": {"stale_accepted"},
    "id+state+attempt": {"stale_accepted"},
    "no second look at unknown outcomes": {"mistold"},
    "claim in two statements": {"unexplained", "overlap"},
    "no rescue": {"lost", "stuck"},
}
"""By which metrics each is caught."""
