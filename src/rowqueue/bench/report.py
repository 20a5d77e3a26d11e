"""What was measured, for people and for programs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from dataclasses import asdict, dataclass
from typing import Any

from rowqueue import __version__
from rowqueue.bench.options import Sizes


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: a value for each round.

    Attributes:
        name: what was measured.
        unit: of the values: jobs/s, or ms.
        ours: by rowqueue.
        plain: by the driver alone on the same table; empty where there is no such thing.
        raw: what that was.
    """

    name: str
    unit: str
    ours: tuple[float, ...]
    plain: tuple[float, ...] = ()
    raw: str = ""

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios, ours by the plain loop's."""
        pairs = zip(self.ours, self.plain, strict=True) if self.plain else ()
        ratios = [ours / plain for ours, plain in pairs if plain]
        return statistics.median(ratios) if ratios else None

    def row(self) -> tuple[str, ...]:
        """For a table."""
        ratio = self.ratio
        return (
            self.name,
            spread(self.ours, self.unit),
            spread(self.plain, self.unit) if self.plain else "-",
            "-" if ratio is None else f"{ratio:.2f}",
            self.raw,
        )


COLUMNS = ("what", "rowqueue", "plain driver", "ratio", "the plain driver's")


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run.

    Attributes:
        server: the database's name and version.
        place: where the tables were.
        sizes: how much was measured.
        figures: the lines.
        ran: how many jobs ran, each exactly once.
    """

    server: str
    place: str
    sizes: Sizes
    figures: tuple[Figure, ...]
    ran: int

    @property
    def setting(self) -> str:
        """One line: with what it was measured."""
        return (
            f"rowqueue {__version__} on {self.server}; {machine()}; concurrency {self.sizes.concurrency}, "
            f"medians [least-most] of {self.sizes.rounds} rounds"
        )

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rowqueue": __version__,
            "server": self.server,
            "machine": machine(),
            "sizes": asdict(self.sizes),
            "figures": [
                {**asdict(figure), "median": statistics.median(figure.ours), "ratio": figure.ratio}
                for figure in self.figures
            ],
            "ran_exactly_once": self.ran,
        }


def spread(values: tuple[float, ...], unit: str) -> str:
    """The median, and the least and the most."""
    digits = ",.2f" if unit == "ms" else ",.0f"
    middle, least, most = (
        format(value, digits) for value in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} [{least}-{most}] {unit}"


def machine() -> str:
    """Python, system, processors, and drivers that are installed."""
    drivers = []
    for name in ("psycopg", "PyMySQL", "uvloop"):
        try:
            drivers.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    parts = [f"Python {platform.python_version()}", *drivers, f"{platform.system()} {platform.machine()}"]
    return ", ".join([*parts, f"{os.cpu_count()} CPUs"])
