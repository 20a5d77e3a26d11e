"""SIGTERM, SIGINT and SIGHUP (a terminal that goes away): once for a graceful stop, twice for a hard one; SIGQUIT is
a hard one at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def stopping_signals() -> list[signal.Signals]:
    """The signals that ask a worker to stop; without SIGHUP where it is ignored, as under ``nohup``."""
    return [
        number
        for number in _STOPPING
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]


@contextlib.contextmanager
def stop_on_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[bool], None]) -> Iterator[None]:
    """Call ``stop(hard)`` for each signal; ``hard`` is False for the first and True from the second on, and for SIGQUIT.

    Does nothing outside of the main thread, where Python takes no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = False

    def received(number: int) -> None:
        nonlocal seen
        stop(seen or number == signal.SIGQUIT)
        seen = True

    before = {number: signal.getsignal(number) for number in stopping_signals()}
    for number in before:
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
