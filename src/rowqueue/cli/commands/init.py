"""``rowqueue init``: create the tables or upgrade them."""

from __future__ import annotations

import click

from rowqueue.cli.target import TargetOptions, shown, target_options


@click.command("init")
@target_options
def command(target: TargetOptions) -> None:
    """Create the tables, or bring older ones up to this version."""
    store = target.store(create=True)
    try:
        version = store.init()
    finally:
        store.close()
    print(f"the tables {store.settings.prefix}* in {shown(store.database)} are at version {version}")
