"""The one place where a test waits for something that tells nobody when it happens."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, timeout: float = 60.0) -> T:
    """Ask `condition` until it answers something truthy, and return that; TimeoutError naming `what` otherwise.

    The timeout is patience and no bound of anything: a machine may be busy with ten other things.

    Prefer what wakes by itself (a pipe, an event, a lock, `process.wait`); this is for the rest.
    """
    pause = threading.Event()
    ends = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > ends:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        pause.wait(0.005)
    return answer
