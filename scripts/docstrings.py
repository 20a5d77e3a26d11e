"""For `make docs`: reads the docstrings' ``Example:`` as what its builder calls ``Examples:``."""

from __future__ import annotations

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Examples are shown as code, without what only doctest needs."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each thing that is read."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
