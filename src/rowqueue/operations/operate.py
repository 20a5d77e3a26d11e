"""A person's verbs: by key, guarded by the state, and taking the lease away from whoever holds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rowqueue.core import names
from rowqueue.core.errors import UniqueConflict
from rowqueue.core.finish import Finish
from rowqueue.core.states import State, Verb
from rowqueue.core.values import Claim, Key, Outcome
from rowqueue.operations.answers import Standing, standing
from rowqueue.operations.base import Access, Operation, Steps, savepoint
from rowqueue.operations.decode import key_of
from rowqueue.operations.finish import error_fragment, finish
from rowqueue.operations.wake import wake_available
from rowqueue.sql.compiled import Rows
from rowqueue.sql.statements.catalog import Statements

_STATEMENTS = {Verb.SKIP: "skip_by_key", Verb.CANCEL: "cancel_by_key", Verb.DISCARD: "discard_by_key"}


def end(verb: Verb, keys: Sequence[Key], reason: str) -> Operation[list[Outcome]]:
    """skip, cancel or discard jobs by key; cancelling a running one asks its worker to."""
    error = error_fragment(reason) if reason else None
    values = {"error": error}
    return Operation(lambda s: _by_key(s, _STATEMENTS[verb], keys, values), Access.WRITE, tuple(keys))


def promote(keys: Sequence[Key]) -> Operation[list[Outcome]]:
    """pending, scheduled, retryable → available, now."""
    return Operation(lambda s: _by_key(s, "promote", keys, {}), Access.WRITE)


def retry(keys: Sequence[Key]) -> Operation[list[Outcome]]:
    """Any but running → available; a taken unique key answers ``conflict`` and fails nobody else."""
    return Operation(lambda s: _retry(s, keys), Access.TRANSACTION)


def delete(keys: Sequence[Key]) -> Operation[list[Outcome]]:
    """Final → gone, its log too."""

    def steps(s: Statements) -> Steps[list[Outcome]]:
        rows = yield s.call("delete", **s.pack_keys(keys))
        gone = {key_of(row, s.layout) for row in rows}
        if gone and not s.layout.mapped:
            yield s.call("delete_log", **s.pack_keys(sorted(gone)))
        found = yield from standing(s, [key for key in keys if key not in gone])
        return [Outcome(key) if key in gone else _refusal(key, found) for key in keys]

    return Operation(steps, Access.TRANSACTION)


def _by_key(s: Statements, name: str, keys: Sequence[Key], values: dict[str, Any]) -> Steps[list[Outcome]]:
    rows = yield s.call(name, **s.pack_keys(sorted(keys)), **values)
    return (yield from _answers(s, keys, rows))


def _answers(s: Statements, keys: Sequence[Key], rows: Rows) -> Steps[list[Outcome]]:
    done = {}
    for row in rows:
        key = key_of(row, s.layout)
        done[key] = Outcome(key, None, s.layout.state_of(row[-2]), row[-1])
    yield from wake_available(s, (row[-3] for row in rows if s.layout.state_of(row[-2]) is State.AVAILABLE))
    found = yield from standing(s, [key for key in keys if key not in done])
    return [done.get(key) or _refusal(key, found) for key in keys]


def _refusal(key: Key, found: dict[Any, Standing]) -> Outcome:
    return found[key].outcome(key, "wrong_state") if key in found else Outcome(key, "gone")


def _retry(s: Statements, keys: Sequence[Key]) -> Steps[list[Outcome]]:
    try:
        rows = yield from savepoint(s.call("retry", **s.pack_keys(sorted(keys))), s)
    except UniqueConflict:
        if len(keys) > 1:
            answers: list[Outcome] = []
            for key in keys:
                answers += yield from _retry(s, [key])
            return answers
        rival = [] if s.layout.mapped else (yield s.call("retry_rival", id=keys[0]))
        found = yield from standing(s, keys)
        answer = found[keys[0]].outcome(keys[0], "conflict")
        return [replace(answer, conflict=rival[0][0] if rival else None)]
    return (yield from _answers(s, keys, rows))


def pause(queue: str) -> Operation[bool]:
    """Stop claims from a queue; False when it was paused already."""
    name = names.text(queue, "queue")

    def steps(s: Statements) -> Steps[bool]:
        yield s.call("pause_add", name=name)
        rows = yield s.call("pause", name=name)
        return bool(rows)

    return Operation(steps, Access.TRANSACTION)


def resume(queue: str) -> Operation[bool]:
    """Let claims from a queue go on; False when it was not paused."""
    name = names.text(queue, "queue")

    def steps(s: Statements) -> Steps[bool]:
        rows = yield s.call("resume", name=name)
        if rows:
            yield from wake_available(s, [name])
        return bool(rows)

    return Operation(steps, Access.WRITE)


def snooze_unknown(claims: Sequence[Claim], delay: float) -> Operation[list[Outcome]]:
    """Give back jobs of kinds that this worker does not know, and count them for ``stats``."""
    snoozes = finish([Finish(claim, Verb.SNOOZE, delay=delay) for claim in claims])

    def steps(s: Statements) -> Steps[list[Outcome]]:
        outcomes = yield from snoozes.steps(s)
        kinds = Counter(claim.job.kind for claim, done in zip(claims, outcomes, strict=True) if done)
        for kind, count in sorted(kinds.items()):
            yield s.call("unclaimable_add", name=kind)
            yield s.call("unclaimable", name=kind, count=count)
        return outcomes

    return Operation(steps, Access.TRANSACTION)
