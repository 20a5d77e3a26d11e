"""SIGTERM and SIGINT: once for a graceful stop, twice for a hard one."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

_STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def stop_on_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[bool], None]) -> Iterator[None]:
    """Call ``stop(hard)`` for each signal; ``hard`` is False for the first and True from the second on.

    Does nothing outside of the main thread, where Python takes no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = False

    def received() -> None:
        nonlocal seen
        stop(seen)
        seen = True

    before = {number: signal.getsignal(number) for number in _STOPPING}
    for number in _STOPPING:
        loop.add_signal_handler(number, received)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
