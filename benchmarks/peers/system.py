"""What an adapter says about its system, and the one thing that its handlers do."""

import os
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

_RECORD = struct.Struct("<QQ")
_FILE = (
    os.open(os.environ["BENCH_HITS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    if "BENCH_HITS" in os.environ
    else -1
)


@dataclass(frozen=True, slots=True)
class System:
    """A system.

    Attributes:
        name: as a reader knows it.
        package: whose version is told, and without which it is left out.
        settings: how it is run.
        remain: SQL that is true while anything is unfinished.
        databases: where it runs.
        bulk: it can enqueue many at once.
        jobs: the most that it is given to drain, where it is so slow that it would keep the others waiting.
    """

    name: str
    package: str
    settings: str
    remain: str
    databases: tuple[str, ...] = field(default=("postgresql",))
    bulk: bool = True
    jobs: int = 1_000_000


def hit(number: int) -> None:
    """Record that a job began: its number and the machine's clock, one write a job, by whatever process runs it."""
    os.write(_FILE, _RECORD.pack(number, time.monotonic_ns()))


def hits(path: str) -> list[tuple[int, int]]:
    """What was recorded."""
    return list(_RECORD.iter_unpack(Path(path).read_bytes()))
