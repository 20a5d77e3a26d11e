"""What the operators' commands have in common: options, and lengths of time as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from rowqueue.cli.target import TargetOptions

if TYPE_CHECKING:
    from rowqueue.store import Store

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)\Z", re.ASCII)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
job_id = click.IntRange(1, 2**63 - 1)


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A length of time: 90, 90s, 5min, 2h, 1d; in Python, seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it; a number is seconds."""
        if isinstance(value, float):
            return value
        match = _DURATION.match(str(value).strip())
        if match is None or match[2] not in _UNITS:
            self.fail(f"{value!r} is no length of time: write 90 (seconds), 5min, 2h or 1d", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


@contextmanager
def opened(target: TargetOptions) -> Iterator[Store]:
    """The store that the options name, closed afterwards.

    Raises:
        ConfigurationError: none is named, or wrongly.
    """
    store = target.store()
    try:
        yield store
    finally:
        store.close()


def remember(target: TargetOptions) -> None:
    """Let a group's own options hold for the commands in it."""
    click.get_current_context().obj = target
