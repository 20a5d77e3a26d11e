"""Power loss at every sync point of SQLite's (reliability #15): FULL loses nothing; less than that does."""

import contextlib
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from tests.faults.disk import FATES, Disk
from tests.faults.traffic import Traffic, judge
from tests.support.stores import fast_directory

try:
    import apsw
except ImportError:
    apsw = None

SEED = 15


@dataclass(slots=True)
class Found:
    """Of all losses of power: how many, in how many of them what was wrong, and how many rows were lost at most."""

    losses: int = 0
    syncs: int = 0
    verbs: int = 0
    lost: int = 0
    lost_at_most: int = 0
    torn: int = 0
    phantom: int = 0
    corrupt: int = 0
    unusable: int = 0

    def wrong(self) -> int:
        return self.lost + self.torn + self.phantom + self.corrupt + self.unusable

    def __str__(self) -> str:
        return (
            f"{self.losses:,} losses at {self.syncs} syncs of {self.verbs} verbs; of them with acknowledged jobs lost "
            f"{self.lost} (at most {self.lost_at_most} jobs), a torn batch {self.torn}, phantoms {self.phantom}, "
            f"integrity_check not ok {self.corrupt}, unusable afterwards {self.unusable}"
        )


class Experiment:
    """Verbs on a disk; at each moment that counts the power goes, in three ways, and what is left is judged."""

    def __init__(self, place: Path, seed: int) -> None:
        self.found = Found()
        self._image = place / "after"
        self._image.mkdir()
        self._path = self._image / "jobs.db"
        self._after = Store(f"sqlite:///{self._path}")  # what opens the file when the power is back
        self._chance = random.Random(seed)
        self._traffic: Traffic | None = None

    def lose_power(self) -> None:
        traffic = self._traffic
        acknowledged = dict(traffic.acknowledged) if traffic else {}
        batches = traffic.batches if traffic else []
        for fate in FATES:
            for old in self._image.iterdir():
                old.unlink()
            for name, content in self.disk.after_a_loss(fate, self._chance).items():
                (self._image / name).write_bytes(content)
            verdict = judge(self._path, acknowledged, batches)
            found = self.found
            found.losses += 1
            found.lost += bool(verdict.lost)
            found.lost_at_most = max(found.lost_at_most, len(verdict.lost))
            found.torn += bool(verdict.torn)
            found.phantom += bool(verdict.phantom)
            found.corrupt += bool(verdict.corrupt)
            if not verdict.corrupt and self._chance.random() < 0.2:
                found.unusable += not self._works()

    def _works(self) -> bool:
        """The file goes on being a queue."""
        with contextlib.closing(self._after) as store:
            store.init()
            key = store.enqueue(NewJob(kind="after", priority=1)).job.id
            claims = store.claim(1, kinds=["after"])
            return [claim.key for claim in claims] == [key] and bool(store.complete(claims[0]))

    def run(self, place: Path, verbs: int, *pragmas: str, lies: bool = False, **options: Any) -> Found:
        from tests.support.apsw_store import ApswDatabase, WatchedVFS, apsw_store

        self.disk = Disk(lies=lies)
        vfs = WatchedVFS("lossy", self.disk)
        try:
            database = ApswDatabase(str(place / "jobs.db"), "lossy", *pragmas, **options)
            with contextlib.closing(apsw_store(database)) as store:
                self.disk.at_sync = self.lose_power
                store.init()
                self._traffic = Traffic(store, SEED)
                writes = 0

                def at_write() -> None:
                    nonlocal writes
                    writes += 1
                    if writes % 7 == 0:
                        self.lose_power()

                self.disk.at_write = at_write
                for _ in range(verbs):
                    self._traffic.step()
                    self.lose_power()
                self.disk.at_write = lambda: None
                store.close()
                self.lose_power()
        finally:
            vfs.unregister()
        self.found.syncs, self.found.verbs = self.disk.syncs, verbs
        return self.found


def losses(tmp_path: Path, publish: Any, verbs: int, *pragmas: str, **options: Any) -> Found:
    if apsw is None:
        publish.cannot_run("#15", "power loss", "apsw is not installed: pip install apsw", promise=1)
    with tempfile.TemporaryDirectory(dir=fast_directory(tmp_path)) as name:
        place = Path(name)
        (place / "disk").mkdir()
        # Checkpoints are when a file can be broken, so there are many.
        return Experiment(place, SEED).run(
            place / "disk", verbs, "wal_autocheckpoint = 12", *pragmas, **options
        )


def on() -> str:
    return f"SQLite {apsw.sqlite_lib_version()}"


def test_power_loss_at_every_sync_point_loses_nothing(tmp_path: Path, long: bool, publish: Any) -> None:
    found = losses(tmp_path, publish, 1500 if long else 60)
    publish(
        "#15",
        "power lost at every sync point; unsynced writes dropped, cut off, torn and reordered",
        f"synchronous=FULL: {found}",
        value=found.wrong(),
        bound="violations = 0",
        promise=1,
        seed=SEED,
        on=on(),
    )
    assert found.losses > 300


@pytest.mark.parametrize(
    "name, pragmas, options, metric",
    [
        ("synchronous=NORMAL", (), {"synchronous": "NORMAL"}, "lost"),
        ("synchronous=OFF", ("synchronous = OFF",), {}, "corrupt"),
        ("a disk that lies about fsync", (), {"lies": True}, "corrupt"),
    ],
)
def test_less_than_that_loses_jobs_or_the_file(
    tmp_path: Path, publish: Any, name: str, pragmas: tuple[str, ...], options: Any, metric: str
) -> None:
    """Negative controls, the very same run."""
    found = losses(tmp_path, publish, 40, *pragmas, **options)
    if name == "synchronous=NORMAL":
        assert not found.corrupt  # it loses the end, but keeps the file
    publish.control(
        "#15", name, str(found), value=getattr(found, metric), bound=f"{metric} >= 1", seed=SEED, on=on()
    )
