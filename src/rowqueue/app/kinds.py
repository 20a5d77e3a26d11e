"""What a job is called in the database: text that still means the same function after a restart."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError


def kind_of(function: Callable[..., Any]) -> str:
    """The kind of a function that was given none: ``module.function``.

    A function of the script that is running counts under the name by which others import that
    script, so that ``python app.py`` and ``rowqueue work app:app`` mean the same jobs.

    Raises:
        ConfigurationError: the function has no name that lasts (a lambda, a function in a
            function, an interactive session).
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not module or not name:
        raise ConfigurationError(
            f"a {type(function).__name__} has no name to be stored under: give kind='...'"
        )
    if "<lambda>" in name or "<locals>" in name:
        raise ConfigurationError(f"{module}.{name} cannot be found again by its name: give kind='...'")
    if module == "__main__":
        module = _main_module(name)
    return names.text(f"{module}.{name}", "the kind")


def _main_module(name: str) -> str:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m package.module
        return str(spec.name)
    file = getattr(main, "__file__", None)
    if file is None:
        raise ConfigurationError(
            f"{name} was defined interactively, no worker could import it: give kind='...'"
        )
    path = Path(file).resolve()
    parts = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").exists() and folder.name:
        parts.append(folder.name)
        folder = folder.parent
    return ".".join(reversed(parts))
