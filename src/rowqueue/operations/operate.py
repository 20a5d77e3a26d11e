"""A person's verbs: by key, guarded by the state, and taking the lease away from whoever holds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rowqueue.core import names
from rowqueue.core.errors import UniqueConflict
from rowqueue.core.finish import Finish
from rowqueue.core.states import State, Verb
from rowqueue.core.values import Claim, Key, Outcome
from rowqueue.operations.answers import standing
from rowqueue.operations.base import Access, Operation, Steps, savepoint
from rowqueue.operations.finish import error_fragment, finish
from rowqueue.sql.statements.catalog import Statements

_STATEMENTS = {Verb.SKIP: "skip_by_key", Verb.CANCEL: "cancel_by_key", Verb.DISCARD: "discard_by_key"}


def end(verb: Verb, keys: Sequence[Key], reason: str) -> Operation[list[Outcome]]:
    """skip, cancel or discard jobs by key; cancelling a running one asks its worker to."""
    error = error_fragment(reason) if reason else None
    return Operation(lambda s: _by_key(s, _STATEMENTS[verb], keys, {"error": error}), Access.WRITE)


def promote(keys: Sequence[Key]) -> Operation[list[Outcome]]:
    """pending, scheduled, retryable → available, now."""
    return Operation(lambda s: _by_key(s, "promote", keys, {}), Access.WRITE)


def retry(keys: Sequence[Key]) -> Operation[list[Outcome]]:
    """Any but running → available; a taken unique key answers ``conflict`` and fails nobody else."""
    return Operation(lambda s: _retry(s, keys), Access.TRANSACTION)


def delete(keys: Sequence[Key]) -> Operation[list[Outcome]]:
    """Final → gone, its log too."""

    def steps(s: Statements) -> Steps[list[Outcome]]:
        packed = s.dialect.pack_list(list(keys))
        rows = yield s.call("delete", keys=packed)
        gone = {row[0] for row in rows}
        yield s.call("delete_log", keys=s.dialect.pack_list(sorted(gone)))
        found = yield from standing(s, [key for key in keys if key not in gone])
        return [Outcome(key) if key in gone else _refusal(key, found) for key in keys]

    return Operation(steps, Access.TRANSACTION)


def _by_key(s: Statements, name: str, keys: Sequence[Key], values: dict[str, Any]) -> Steps[list[Outcome]]:
    rows = yield s.call(name, keys=s.dialect.pack_list(sorted(keys)), **values)
    done = {row[0]: Outcome(row[0], None, State(row[1]), row[2]) for row in rows}
    found = yield from standing(s, [key for key in keys if key not in done])
    return [done.get(key) or _refusal(key, found) for key in keys]


def _refusal(key: Key, found: dict[Any, Any]) -> Outcome:
    if key not in found:
        return Outcome(key, "gone")
    lease, state, cancel = found[key]
    return Outcome(key, "wrong_state", state, lease, cancel_requested=cancel)


def _retry(s: Statements, keys: Sequence[Key]) -> Steps[list[Outcome]]:
    try:
        call = s.call("retry", keys=s.dialect.pack_list(sorted(keys)))
        rows = yield from savepoint(call, s)
    except UniqueConflict:
        if len(keys) > 1:
            answers: list[Outcome] = []
            for key in keys:
                answers += yield from _retry(s, [key])
            return answers
        rival = yield s.call("retry_rival", id=keys[0])
        found = yield from standing(s, keys)
        lease, state, _ = found[keys[0]]
        return [Outcome(keys[0], "conflict", state, lease, conflict=rival[0][0] if rival else None)]
    done = {row[0]: Outcome(row[0], None, State(row[1]), row[2]) for row in rows}
    found = yield from standing(s, [key for key in keys if key not in done])
    return [done.get(key) or _refusal(key, found) for key in keys]


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
        return bool(rows)

    return Operation(steps, Access.WRITE)


def snooze_unknown(claims: Sequence[Claim], delay: float) -> Operation[list[Outcome]]:
    """Give back jobs of kinds that this worker does not know, and count them for ``stats``."""
    snoozes = finish([Finish(claim, Verb.SNOOZE, delay=delay) for claim in claims])
    kinds = Counter(claim.job.kind for claim in claims)

    def steps(s: Statements) -> Steps[list[Outcome]]:
        outcomes = yield from snoozes.steps(s)
        for kind, count in sorted(kinds.items()):
            yield s.call("unclaimable_add", name=kind)
            yield s.call("unclaimable", name=kind, count=count)
        return outcomes

    return Operation(steps, Access.TRANSACTION)
