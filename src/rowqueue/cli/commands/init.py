"""``rowqueue init``: create the tables or upgrade them."""

from __future__ import annotations

import click

from rowqueue.cli.target import TargetOptions, target_options


@click.command("init")
@target_options
def command(target: TargetOptions) -> None:
    """Create the tables, or bring older ones up to this version."""
    store = target.store(create=True)
    try:
        version = store.init()
    finally:
        store.close()
    where = store.database.url.render_as_string(hide_password=True)
    print(f"the tables {store.settings.prefix}* in {where} are at version {version}")
