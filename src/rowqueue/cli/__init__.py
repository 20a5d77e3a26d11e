"""The ``rowqueue`` command. Nothing heavy is imported before a command runs, so that ``--help`` is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count it: 128 + SIGINT."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every expected failure is one line on stderr.

    Args:
        arguments: what was typed after the program's name; None takes ``sys.argv``.

    Returns:
        0 when it worked; 2 for bad input and for what a database refuses; 130 after Ctrl-C; what
        the command itself returns otherwise.
    """
    import click

    from rowqueue.cli.group import cli
    from rowqueue.core.errors import RowqueueError

    try:
        code = cli.main(
            None if arguments is None else list(arguments), prog_name="rowqueue", standalone_mode=False
        )
    except RowqueueError as error:
        return _refuse(str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "rowqueue"
        return _refuse(f"{error.format_message().rstrip('.')} (see '{command} --help')")
    except click.ClickException as error:
        return _refuse(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:  # `rowqueue stats | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def _refuse(message: str) -> int:
    print("error:", " ".join(message.split()), file=sys.stderr)
    return 2
