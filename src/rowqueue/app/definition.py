"""What a decorated function is as a job, whatever options a call of it has."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from rowqueue.app.arguments import Signature
from rowqueue.app.context import Context
from rowqueue.app.kinds import kind_of
from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.policies import RetryPolicy

ClaimMode: TypeAlias = Literal["leased", "held"]
"""How a job is claimed: its lease renewed while it runs, or its row locked in the transaction that it works in."""

LEAST_MEMORY = 1 << 20
"""Bytes below which no handler could even start."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A job: its kind, its function, and how a worker runs it.

    Attributes:
        kind: the name in the database.
        aliases: older names that it answers to.
        function: what was decorated.
        signature: its parameters, without the context.
        retry: when a failed attempt runs again; None leaves it to the app.
        process: it runs in a process of its own.
        memory: how much that process may allocate (bytes); None: as much as there is.
        is_async: calling it gives something to await.
        held: it works in the transaction that locks its row.
    """

    kind: str
    aliases: tuple[str, ...]
    function: Callable[..., Any]
    signature: Signature
    retry: RetryPolicy | None
    process: bool
    memory: int | None
    is_async: bool
    held: bool


def define(
    function: Callable[..., Any],
    *,
    kind: str | None,
    aliases: Sequence[str],
    retry: RetryPolicy | None,
    process: bool,
    memory: int | None = None,
    claim: ClaimMode = "leased",
) -> Definition:
    """Read a function as a job.

    Raises:
        ConfigurationError: it has no lasting name, cannot run as a job, or takes what cannot be stored.
    """
    if not callable(function):
        raise ConfigurationError(f"@app.job decorates functions, not {type(function).__name__}")
    name = kind_of(function) if kind is None else names.text(kind, "kind")
    if isinstance(aliases, str):
        raise ConfigurationError(
            f"aliases of {name} must be a list of names, not one text: aliases=({aliases!r},)"
        )
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise ConfigurationError(f"retry of {name} must be a RetryPolicy, such as RetryPolicy.constant(5)")
    inner = inspect.unwrap(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise ConfigurationError(f"{name} is a generator: nobody would run what it yields; let it return")
    awaited = is_async(function)
    if process and awaited:
        raise ConfigurationError(f"{name} is async def: process=True is for def")
    held = is_held(name, claim)
    if process and held:
        raise ConfigurationError(
            f"{name} cannot have both process=True and claim='held': its transaction is in this process; leave one out"
        )
    if memory is not None:
        names.whole(memory, f"memory of {name}", LEAST_MEMORY, 1 << 62)
        if not process:
            raise ConfigurationError(
                f"{name} has memory=, which takes a process of its own: add process=True"
            )
    return Definition(
        kind=name,
        aliases=tuple(names.text(alias, f"an alias of {name}") for alias in aliases),
        function=function,
        signature=Signature(name, function, Context),
        retry=retry,
        process=process,
        memory=memory,
        is_async=awaited,
        held=held,
    )


def is_held(name: str, claim: ClaimMode) -> bool:
    """Check the option ``claim`` of a job.

    Raises:
        ConfigurationError: there is no such way to claim.
    """
    if claim not in get_args(ClaimMode):
        raise ConfigurationError(f"claim of {name} must be 'leased' or 'held', not {claim!r}")
    return claim == "held"


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives something to await; a plain wrapper is taken to hand on what its inner one returns."""
    called = getattr(function, "__call__", None)  # noqa: B004
    return any(inspect.iscoroutinefunction(one) for one in (function, inspect.unwrap(function), called))
