"""The type of ``@app.job``: it gives a job its function's signature without the context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from rowqueue.app.context import Context
from rowqueue.app.job import JobFunction

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class _NobodysType:
    """A function whose first parameter takes even this takes anything: it did not ask for a Context."""


class TakesAnything(Protocol[P, R_co]):
    """A function whose first parameter is Any or object, which a Context would fit by accident."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(self, first: _NobodysType, /, *args: Any, **kwargs: Any) -> Any: ...


class Decorator(Protocol):
    """``@app.job(...)`` with its options given: takes the function."""

    @overload
    def __call__(self, function: TakesAnything[P, R], /) -> JobFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], R], /) -> JobFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> JobFunction[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """Make a job of a function."""
