"""Finding an app by the path that an operator types."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from rowqueue.app.app import App
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.finish import one_line


def load_app(path: str) -> App:
    """Import an app, ``package.module:name``, with the current folder importable as for ``python -m``.

    Args:
        path: a module and, after the colon, the app in it (``name`` or ``holder.name``).

    Raises:
        ConfigurationError: one line that says which step failed: no such module, its import
            failed (and why), no such name, or not an App.
    """
    module_name, colon, name = path.partition(":")
    if not colon or not all(part.isidentifier() for part in [*module_name.split("."), *name.split(".")]):
        raise ConfigurationError(f"{path!r} is no path to an app: write module:name, such as shop.jobs:app")
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
    found: object = _import(module_name)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigurationError(
                f"{module_name} has no {name!r}: write the name of its App after the colon"
            ) from None
    if not isinstance(found, App):
        raise ConfigurationError(
            f"{path} is a {type(found).__name__}, not a rowqueue.App: name the App itself"
        )
    return found


def _import(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"there is no module {error.name!r} in {Path.cwd()} or where Python looks: check the spelling and the folder"
            ) from None
        raise ConfigurationError(f"importing {name} failed: {one_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise ConfigurationError(f"importing {name} failed: {one_line(error)}") from error
