"""For the tests of users' own code: jobs that run at enqueue or on demand, assertions, and a clock to move.

Importing it brings only the standard library, because pytest imports the plugin into every suite.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rowqueue.testing.running import Ran
    from rowqueue.testing.under_test import Harness, harness

__all__ = ["Harness", "Ran", "harness"]

_LAZY = {
    "Harness": "rowqueue.testing.under_test",
    "Ran": "rowqueue.testing.running",
    "harness": "rowqueue.testing.under_test",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'rowqueue.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value
