"""Where a child finds the app: a module to import, and a name in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from rowqueue.app import App


def find_app_path(app: App) -> str | None:
    """``module:name`` of an app that stands at the top of an imported module; None when it does not.

    A script that is running counts under the name by which its folder, the first place where
    Python looks then, has it as a module.
    """
    for module in _modules(app):
        name = _importable_name(module)
        if name is None:
            continue
        for attribute, value in list(vars(module).items()):
            if value is app and attribute.isidentifier():
                return f"{name}:{attribute}"
    return None


def _modules(app: App) -> Iterator[ModuleType]:
    """The modules of its jobs first, because an app is mostly defined there or imported from elsewhere."""
    names = [getattr(job.function, "__module__", "") for job in app.jobs.values()]
    for name in dict.fromkeys([*names, *sys.modules]):
        module = sys.modules.get(name)
        if isinstance(module, ModuleType):
            yield module


def _importable_name(module: ModuleType) -> str | None:
    if module.__name__ != "__main__":
        return module.__name__
    spec = getattr(module, "__spec__", None)
    if spec is not None:  # python -m package.module
        return str(spec.name)
    file = getattr(module, "__file__", None)
    if file is None:
        return None
    path = Path(file).resolve()
    found = any((Path(folder) / path.name).resolve() == path for folder in sys.path)
    return path.stem if found and path.stem.isidentifier() else None
