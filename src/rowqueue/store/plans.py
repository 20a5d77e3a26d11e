"""Each verb's operation, made from a store's settings: what ``Store`` and ``AsyncStore`` run."""

from __future__ import annotations

import random
from collections.abc import Sequence

from rowqueue.core import payload
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.finish import Finish, after_failure, one_line
from rowqueue.core.states import State, Verb
from rowqueue.core.values import Claim, Json, Key, Outcome, Seconds, seconds_of
from rowqueue.operations import finish, operate
from rowqueue.operations.base import Operation
from rowqueue.operations.settings import StoreSettings

_FAIL_TARGETS = frozenset({State.RETRYABLE, State.AVAILABLE, State.DISCARDED})


def complete(
    claims: Sequence[Claim], results: Sequence[Json] | None, settings: StoreSettings
) -> Operation[list[Outcome]]:
    """running → completed, each with its result."""
    values = [None] * len(claims) if results is None else list(results)
    if len(values) != len(claims):
        raise ConfigurationError(f"{len(claims)} claims need as many results, not {len(values)}")
    texts = [
        None if value is None else payload.encode(value, "the result", limit=settings.payload_limit)
        for value in values
    ]
    return finish.finish(
        [Finish(claim, Verb.COMPLETE, result=text) for claim, text in zip(claims, texts, strict=True)]
    )


def fail(
    claims: Sequence[Claim],
    errors: Sequence[str | BaseException],
    state: State | None,
    delay: Seconds | None,
    trace: str,
    settings: StoreSettings,
) -> Operation[list[Outcome]]:
    """running → where the policy leads, unless the caller says."""
    if len(errors) != len(claims):
        raise ConfigurationError(f"{len(claims)} claims need as many errors, not {len(errors)}")
    return finish.finish(
        [
            _failure(claim, error, state, delay, trace, settings)
            for claim, error in zip(claims, errors, strict=True)
        ]
    )


def _failure(
    claim: Claim,
    error: str | BaseException,
    state: State | None,
    delay: Seconds | None,
    trace: str,
    settings: StoreSettings,
) -> Finish:
    line = error if isinstance(error, str) else one_line(error)
    target, wait = after_failure(claim.job, settings.retry, random=random.random())  # noqa: S311 - jitter
    if delay is not None and target is not State.DISCARDED:
        wait = seconds_of(delay, "delay")
        target = State.RETRYABLE if wait else State.AVAILABLE
    if state is not None:
        target = State(state)
    if target not in _FAIL_TARGETS:
        raise ConfigurationError(f"fail leads to retryable, available or discarded, not {target}")
    return Finish(claim, Verb.FAIL, state=target, delay=wait, error=line, trace=trace)


def snooze(claims: Sequence[Claim], delay: Seconds) -> Operation[list[Outcome]]:
    """running → scheduled."""
    wait = seconds_of(delay, "delay")
    return finish.finish([Finish(claim, Verb.SNOOZE, delay=wait) for claim in claims])


def release(claims: Sequence[Claim]) -> Operation[list[Outcome]]:
    """running → available."""
    return finish.finish([Finish(claim, Verb.RELEASE) for claim in claims])


def end(verb: Verb, targets: Sequence[Claim | Key], reason: str) -> Operation[list[Outcome]]:
    """skip, cancel or discard: by claim as its worker, by key as a person."""
    claims = [target for target in targets if isinstance(target, Claim)]
    if len(claims) == len(targets):
        return finish.finish([Finish(claim, verb, error=reason or None) for claim in claims])
    if claims:
        raise ConfigurationError(f"{verb} takes claims or keys, not both in one call")
    return operate.end(verb, targets, reason)
