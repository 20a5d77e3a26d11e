"""Which queue a command works on: the options that say so, and the store or app behind them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rowqueue.core.errors import ConfigurationError

if TYPE_CHECKING:
    from rowqueue.app import App
    from rowqueue.store import Store
    from rowqueue.store.database import Database

DATABASE_VARIABLE = "ROWQUEUE_DATABASE_URL"
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """What was typed before or after the command's name; None where nothing was."""

    app: str | None = None
    database: str | None = None
    prefix: str | None = None
    schema: str | None = None

    def over(self, earlier: TargetOptions | None) -> TargetOptions:
        """These options, and the earlier ones where these are silent."""
        if earlier is None:
            return self
        names = [field.name for field in fields(self)]
        return TargetOptions(
            *(own if (own := getattr(self, name)) is not None else getattr(earlier, name) for name in names)
        )

    def url(self, default: str | None = None) -> str:
        """The database's URL: typed, from the environment, or the default.

        Raises:
            ConfigurationError: none of them is there.
        """
        import os

        found = self.database or os.environ.get(DATABASE_VARIABLE) or default
        if not found:
            raise ConfigurationError(
                f"which database? Give --database sqlite:///jobs.db (or postgresql://user@host/name), set"
                f" {DATABASE_VARIABLE}, or give --app module:name"
            )
        return found

    def load(self, path: str | None = None) -> App:
        """The app that ``path`` (or ``--app``) names; it knows its own database.

        Raises:
            ConfigurationError: it cannot be imported, is no App, or a database was named beside it.
        """
        from rowqueue.app.loading import load_app

        found = path or self.app
        if not found:
            raise ConfigurationError("which app? Give module:name, such as shop.jobs:app")
        if self.database or self.prefix or self.schema:
            raise ConfigurationError(
                "an app knows its own database, prefix and schema: leave out --database, --prefix and --schema"
            )
        return load_app(found)

    def store(self, *, create: bool = False) -> Store:
        """The store of the app or of the database; nothing connects yet.

        Args:
            create: the command may create the SQLite file.

        Raises:
            ConfigurationError: neither is named, or wrongly; the SQLite file is not there.
        """
        if self.app:
            store = self.load().store
        else:
            from rowqueue.store import Store

            store = Store(self.url(), prefix=self.prefix or "rowqueue_", schema=self.schema)
        if not create:
            _must_exist(store)
        return store


def shown(database: Database) -> str:
    """A database's URL for people: without its password, its options and the driver's name."""
    url = database.url
    return url.set(drivername=url.get_backend_name(), query={}).render_as_string(hide_password=True)


def _must_exist(store: Store) -> None:
    """Opening would create an empty file under a mistyped name."""
    path = store.database.url.database or ""
    if store.database.name != "sqlite" or store.database.engine is not None or path.startswith("file:"):
        return
    if not Path(path).exists():
        raise ConfigurationError(f"there is no file {path}: check the name, or run 'rowqueue init'")


def target_options(command: _Command) -> _Command:
    """Add the options to a command, which gets them as one argument ``target``."""

    @click.option("--app", metavar="MODULE:NAME", help="Use this app's database.")
    @click.option("--database", metavar="URL", help=f"Which database (or set {DATABASE_VARIABLE}).")
    @click.option("--prefix", metavar="TEXT", help="What every table name begins with (default: rowqueue_).")
    @click.option("--schema", metavar="NAME", help="The database schema of the tables.")
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        app: str | None,
        database: str | None,
        prefix: str | None,
        schema: str | None,
        **options: Any,
    ) -> Any:
        typed = TargetOptions(app, database, prefix, schema)
        context = click.get_current_context()
        return command(*args, target=typed.over(context.find_object(TargetOptions)), **options)

    return wrapped  # type: ignore[return-value]
