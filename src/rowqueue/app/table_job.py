"""A function that works the rows of a table of the user's."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial, update_wrapper
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeAlias, TypeVar

from rowqueue.app.arguments import annotations_of
from rowqueue.app.context import Context
from rowqueue.app.definition import ClaimMode, is_async, is_held
from rowqueue.app.stores import Stores
from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.values import Seconds, seconds_of
from rowqueue.operations.claim import Where
from rowqueue.store import Store

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Turn: TypeAlias = Where | Literal[False] | None
"""What may be claimed now: what fits a condition, nothing, or anything."""

BeforeClaim: TypeAlias = Callable[[], Turn | Awaitable[Turn]]


class Handler(Protocol):
    """What a worker needs to know of whatever runs a job."""

    @property
    def kind(self) -> str:
        """Its name, for people."""
        ...

    @property
    def timeout(self) -> float | None:
        """How long one attempt may run (seconds)."""
        ...

    @property
    def retry(self) -> RetryPolicy | None:
        """Its retry policy; None leaves it to the store."""
        ...

    @property
    def process(self) -> bool:
        """It runs in a process of its own."""
        ...

    @property
    def is_async(self) -> bool:
        """It runs in the worker's loop."""
        ...

    @property
    def held(self) -> bool:
        """It works in the transaction that locks its row."""
        ...

    def bind(self, context: Context) -> Callable[[], Any]:
        """The call that runs a claimed job."""
        ...


class TableDecorator(Protocol):
    """``@app.job(table=...)``: takes the function."""

    def __call__(self, function: Callable[P, R], /) -> TableJob[P, R]:
        """Make a table's job of a function."""
        ...


class TableJob(Generic[P, R_co]):
    """What ``@app.job(table=...)`` makes of a function: still callable; a worker calls it for each row.

    Args:
        name: what the table is called here.
        store: the store over it.
        function: takes the record, or the context and the record.
        timeout: how long one attempt may run (seconds or timedelta).
        retry: when a failed attempt runs again; None is the store's.
        before_claim: asked before each claim.
        claim: ``leased``, or ``held``: it works in the transaction that locks its row.

    Raises:
        ConfigurationError: the store is not one of a table of yours, or the function cannot take its rows.
    """

    process = False

    def __init__(
        self,
        name: str,
        store: Store,
        function: Callable[P, R_co],
        *,
        timeout: Seconds | None = None,
        retry: RetryPolicy | None = None,
        before_claim: BeforeClaim | None = None,
        claim: ClaimMode = "leased",
    ) -> None:
        if not isinstance(store, Store) or store.table is None:
            raise ConfigurationError(
                f"{name} has no table of yours: make it with Store(database, JobTable(...)), or use @app.job"
            )
        self.kind = names.text(name, "the table's name")
        self.takes_context = _takes_context(name, function)
        if retry is not None and not isinstance(retry, RetryPolicy):
            raise ConfigurationError(
                f"retry of {name} must be a RetryPolicy, such as RetryPolicy.constant(5)"
            )
        if before_claim is not None and not callable(before_claim):
            raise ConfigurationError(f"before_claim of {name} must be a function without parameters")
        update_wrapper(self, function, updated=())
        self.function: Callable[..., Any] = function
        self.store = store
        self.stores = Stores.of(store)
        self.timeout = None if timeout is None else seconds_of(timeout, "timeout")
        self.retry = retry
        self.before_claim = before_claim
        self.is_async = is_async(function)
        self.held = is_held(name, claim)

    def __repr__(self) -> str:
        return f"<job of table {self.kind}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function here and now, without worker or claim."""
        return self.function(*args, **kwargs)  # type: ignore[no-any-return]

    def bind(self, context: Context) -> Callable[[], Any]:
        """The call that works a claimed row, ready to be made (in a thread, or in the loop)."""
        if self.takes_context:
            return partial(self.function, context, context.record)
        return partial(self.function, context.record)


def _takes_context(name: str, function: Callable[..., Any]) -> bool:
    if not callable(function):
        raise ConfigurationError(f"the handler of {name} must be a function, not {type(function).__name__}")
    inner = inspect.unwrap(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise ConfigurationError(
            f"the handler of {name} is a generator: nobody would run what it yields; let it return"
        )
    signature, hints = annotations_of(name, function)
    first = next(iter(signature.parameters), "")
    takes_context = hints.get(first) is Context
    try:
        signature.bind(*[None] * (2 if takes_context else 1))
    except TypeError:
        raise ConfigurationError(
            f"the handler of {name} must take (record) or (context: Context, record), not {signature}"
        ) from None
    return takes_context
