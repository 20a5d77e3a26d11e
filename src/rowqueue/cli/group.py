"""The group of commands, each imported only when it is named."""

from __future__ import annotations

import importlib

import click

from rowqueue import __version__
from rowqueue.cli.target import TargetOptions, target_options

COMMANDS = (
    "backfill",
    "bench",
    "demo",
    "doctor",
    "enqueue",
    "init",
    "jobs",
    "prune",
    "queues",
    "schema",
    "stats",
    "work",
    "workers",
)
"""A command ``x`` is the object ``command`` of the module ``rowqueue.cli.commands.x``."""


class LazyGroup(click.Group):
    """Finds its commands by name in ``rowqueue.cli.commands``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, for ``--help``."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import a command; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"rowqueue.cli.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@target_options
@click.pass_context
def cli(context: click.Context, target: TargetOptions) -> None:
    """Durable background jobs in the SQL database that you already have.

    \b
    Start with:  rowqueue demo
    """
    context.obj = target
