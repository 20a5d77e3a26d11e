"""What every operation of a store tells whoever measures it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Observation:
    """One call.

    Attributes:
        store: the store's name.
        operation: queued_count, dequeue, requeue, …
        seconds: how long it took.
        error: what it raised.
    """

    store: str
    operation: str
    seconds: float
    error: BaseException | None = None


Observe: TypeAlias = Callable[[Observation], object]


@dataclass
class Metrics:
    """Counts and times by operation: the simplest thing that ``Options(observe=...)`` takes."""

    counts: Counter[str] = field(default_factory=Counter[str])
    errors: Counter[str] = field(default_factory=Counter[str])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __call__(self, seen: Observation) -> None:
        """Count a call."""
        with self._lock:
            self.counts[seen.operation] += 1
            self.errors[seen.operation] += seen.error is not None
            self.seconds[seen.operation] = self.seconds.get(seen.operation, 0.0) + seen.seconds


@contextmanager
def observed(observe: Observe | None, store: str, operation: str) -> Iterator[None]:
    """Tell about the block, if there is somebody to tell."""
    if observe is None:
        yield
        return
    began = time.perf_counter()
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        observe(Observation(store, operation, time.perf_counter() - began, error))
