"""A child that ends with its parent, however the parent ends: it watches its stdin, which the parent holds."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable


def on_parent_death(stop: Callable[[], object]) -> None:
    """Call ``stop`` in a thread of its own once stdin ends; the system closes it when the parent dies.

    Args:
        stop: safe to call from any thread.
    """
    descriptor = sys.stdin.fileno()

    def watch() -> None:
        while os.read(descriptor, 4096):
            pass
        stop()

    threading.Thread(target=watch, name="rowqueue-lifeline", daemon=True).start()
