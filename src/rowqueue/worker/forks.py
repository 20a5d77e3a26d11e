"""A handler that forks makes a copy of the worker, which must not go on as one: it has the same sockets."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any


def alone(call: Callable[[], Any]) -> Callable[[], Any]:
    """The same call; a copy of this process that it forks ends where it returns or raises."""
    process = os.getpid()

    def run() -> Any:
        try:
            return call()
        finally:
            end_copy(process)

    return run


def alone_async(call: Callable[[], Any]) -> Callable[[], Any]:
    """``alone`` for what is awaited. The copy must not await anything: it has the worker's loop."""
    process = os.getpid()

    async def run() -> Any:
        try:
            return await call()
        finally:
            end_copy(process)

    return run


def end_copy(process: int) -> None:
    """End this process unless it is that one: where a handler has ended, a copy that it forked ends, too."""
    if os.getpid() != process:
        os._exit(0)
