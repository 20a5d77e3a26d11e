"""A worker's verbs that end a claim, one statement for all jobs that end the same way."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from rowqueue.core import payload
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.finish import ERROR_LIMIT, TRACE_LIMIT, Finish, storable
from rowqueue.core.quick import maker
from rowqueue.core.states import State, Verb
from rowqueue.core.values import Claim, Outcome
from rowqueue.operations.answers import Standing, fence_of, refused, standing
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.operations.decode import key_of
from rowqueue.operations.wake import wake_available
from rowqueue.sql.statements.catalog import Statements

_make_outcome = maker(Outcome)


def finish(finishes: Sequence[Finish]) -> Operation[list[Outcome]]:
    """Write a batch of endings, mixed as they come; answers in the order given."""
    parts = _parts(finishes)
    access = Access.WRITE if len(parts) <= 1 else Access.TRANSACTION
    keys = tuple(item.claim.key for item in finishes)
    return Operation(lambda s: _finish(s, finishes, parts), access, keys)


def _parts(finishes: Sequence[Finish]) -> list[tuple[Verb, list[int]]]:
    """What goes into one statement: endings of one verb, and no row twice.

    A worker may hold a job's old claim beside its new one; the statement answers by key, so both in
    one would let the old claim pass for the new.
    """
    verbs = {item.verb for item in finishes}
    if len(verbs) == 1 and len({item.claim.key for item in finishes}) == len(finishes):  # as mostly
        return [(verbs.pop(), list(range(len(finishes))))]
    parts: dict[tuple[int, Verb], list[int]] = defaultdict(list)
    seen: Counter[Any] = Counter()
    for index, item in enumerate(finishes):
        parts[seen[item.claim.key], item.verb].append(index)
        seen[item.claim.key] += 1
    return [(verb, parts[turn, verb]) for turn, verb in sorted(parts)]


def _finish(
    s: Statements, finishes: Sequence[Finish], parts: Sequence[tuple[Verb, list[int]]]
) -> Steps[list[Outcome]]:
    answers: dict[int, Outcome] = {}
    for verb, indexes in parts:
        ordered = sorted(indexes, key=lambda index: finishes[index].claim.key)  # one lock order for all
        if s.layout.sidecar is not None:
            held = yield from _hold(s, [finishes[index].claim for index in ordered])
            ordered = [index for index in ordered if finishes[index].claim.key in held]
        items = [finishes[index] for index in ordered]
        rows = yield s.call_rows(verb.value, "given", _columns(s, verb, items))
        states = {key_of(row, s.layout): s.layout.state_of(row[-1]) for row in rows}
        for index, item in zip(ordered, items, strict=True):
            claim = item.claim
            if claim.key in states:
                answers[index] = _make_outcome(claim.key, None, states[claim.key], claim.lease)
    missing = [index for index in range(len(finishes)) if index not in answers]
    refusals = yield from refused(s, [finishes[index].claim for index in missing])
    for index in missing:
        claim = finishes[index].claim
        answers[index] = refusals[claim.key, fence_of(claim)]
    ready = (finishes[index].claim.job.queue for index, answer in answers.items() if _is_ready(answer))
    yield from wake_available(s, ready)
    return [answers[index] for index in range(len(finishes))]


def _is_ready(answer: Outcome) -> bool:
    return answer.done and answer.state is State.AVAILABLE


def _hold(s: Statements, claims: Sequence[Claim]) -> Steps[set[Any]]:
    """End the leases in the sidecar, under a lock; whose lease is somebody else's by now is left out."""
    columns = {**s.key_columns([claim.key for claim in claims]), "lease": [claim.lease for claim in claims]}
    rows = yield s.call_rows("lease_drop", "given", columns)
    return {key_of(row, s.layout) for row in rows}


def _columns(s: Statements, verb: Verb, items: list[Finish]) -> dict[str, list[Any]]:
    columns = s.claim_columns([item.claim.key for item in items], [fence_of(item.claim) for item in items])
    if verb is Verb.COMPLETE:
        columns["result"] = [item.result for item in items]
    if verb is Verb.FAIL:
        columns["state"] = [s.layout.value(item.state or State.RETRYABLE) for item in items]
    if verb in {Verb.FAIL, Verb.SNOOZE}:
        if any(item.delay for item in items):
            s.layout.check_delay()
        columns["delay"] = [float(item.delay) for item in items]
    if verb is Verb.FAIL:
        columns["error"] = [error_fragment(item.error or "failed", item.trace) for item in items]
    if verb in {Verb.SKIP, Verb.CANCEL, Verb.DISCARD}:
        columns["error"] = [
            None if item.error is None else error_fragment(item.error, item.trace) for item in items
        ]
    return columns


def error_fragment(error: str, trace: str = "") -> str:
    """The fields of an entry of ``errors`` that the worker knows, as JSON text without braces."""
    fields = {"error": storable(error, ERROR_LIMIT)}
    if trace:
        fields["trace"] = storable(trace, TRACE_LIMIT)
    return json.dumps(fields, ensure_ascii=False)[1:-1]


def settled(claims: Sequence[Claim]) -> Operation[list[Outcome]]:
    """How claims stand now, by reading (key, lease) again: the way to resolve a reply that was lost.

    A row keeps the lease that finished it, so ``lost`` means that somebody else has it since.
    """
    return Operation(lambda s: _settled(s, claims), Access.READ)


def _settled(s: Statements, claims: Sequence[Claim]) -> Steps[list[Outcome]]:
    found = yield from standing(s, [claim.key for claim in claims])
    return [_settlement(claim, found.get(claim.key)) for claim in claims]


def _settlement(claim: Claim, row: Standing | None) -> Outcome:
    if row is None:
        return Outcome(claim.key, "gone")
    return row.outcome(claim.key, None if row.fence == fence_of(claim) else "lost")


def progress(claim: Claim, fraction: float, message: str) -> Operation[Outcome]:
    """How far a running job is."""
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
        raise ConfigurationError(f"progress is a fraction from 0 to 1, not {fraction!r}")
    text = json.dumps({"fraction": fraction, "message": storable(message, ERROR_LIMIT)}, ensure_ascii=False)
    return Operation(lambda s: _guarded(s, claim, "progress", {"progress": text}), Access.WRITE, (claim.key,))


def update_log(claim: Claim, seq: int, entry: Any) -> Operation[Outcome]:
    """A new text for an entry of the execution log."""
    text = payload.encode(entry, "the log entry")
    return Operation(lambda s: _guarded(s, claim, "update_log", {"seq": seq, "entry": text}), Access.WRITE)


def _guarded(s: Statements, claim: Claim, name: str, values: dict[str, Any]) -> Steps[Outcome]:
    rows = yield s.call(name, **_fence(s, claim), **values)
    if rows:
        return Outcome(claim.key, None, State.RUNNING, claim.lease)
    answers = yield from refused(s, [claim])
    return answers[claim.key, fence_of(claim)]


def _fence(s: Statements, claim: Claim) -> dict[str, Any]:
    return {**s.key_values(claim.key), **s.fence_values(fence_of(claim))}


def add_log(claim: Claim, entry: Any) -> Operation[int | Outcome]:
    """One more entry of the execution log; returns its number, or why it was refused."""
    text = payload.encode(entry, "the log entry")

    def steps(s: Statements) -> Steps[int | Outcome]:
        rows = yield s.call("add_log", **_fence(s, claim), entry=text)
        if rows:
            return int(rows[0][0])
        answers = yield from refused(s, [claim])
        return answers[claim.key, fence_of(claim)]

    return Operation(steps, Access.WRITE)
