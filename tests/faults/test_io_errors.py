"""The n-th call to the file system fails, for n = 1, 2, 3 … until none is left (reliability #16, SQLite's own loop)."""

import contextlib
import itertools
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rowqueue.core.errors import StoreError
from rowqueue.store.drivers.sqlite import SQLiteConnection
from rowqueue.store.store import Store
from rowqueue.worker.patience import TRANSIENT
from tests.faults.traffic import Traffic, judge
from tests.support.stores import fast_directory

try:
    import apsw
except ImportError:
    apsw = None

SEED = 16
CODES = {
    "xWrite": "SQLITE_IOERR_WRITE",
    "xSync": "SQLITE_IOERR_FSYNC",
    "xTruncate": "SQLITE_IOERR_TRUNCATE",
    "xLock": "SQLITE_IOERR_LOCK",
    "xRead": "SQLITE_IOERR_READ",
    "xFileSize": "SQLITE_IOERR_FSTAT",
    "xOpen": "SQLITE_CANTOPEN",
    "xDelete": "SQLITE_IOERR_DELETE",
    "xAccess": "SQLITE_IOERR_ACCESS",
}
WRITING = ("xWrite", "xSync", "xTruncate", "xLock")


class Failing:
    """The watch of a VFS that fails at one of the calls, once, or from then on until it is mended."""

    def __init__(self) -> None:
        self.calls: tuple[str, ...] = ()
        self.count = 0
        self.at = 0
        self.lasting = False
        self.code = ""
        self.struck = 0

    def watch(self, calls: tuple[str, ...], at: int, *, lasting: bool, code: str = "") -> None:
        self.calls, self.at, self.lasting, self.code = calls, at, lasting, code
        self.count = self.struck = 0

    def before(self, call: str, path: str) -> None:
        if call in self.calls:
            self.count += 1
            if self.count == self.at or (self.lasting and self.count > self.at > 0):
                self.struck += 1
                code = getattr(apsw, self.code or CODES[call])
                raise apsw.exception_for(code)

    def after(self, call: str, path: str, *args: Any) -> None:
        """Nothing."""


@dataclass(slots=True)
class Found:
    """Of all runs, each with another call that failed."""

    runs: int = 0
    struck: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: int = 0

    def __str__(self) -> str:
        errors = ", ".join(f"{count} {name}" for name, count in sorted(self.errors.items()))
        return f"{self.runs:,} runs, {self.struck:,} calls failed, answered by {errors}; lost {self.lost}, wrong {self.wrong[:3]}"


class Loop:
    """The same verbs again and again, on a fresh file each time, until no call is left that can fail."""

    def __init__(self, place: Path) -> None:
        from tests.support.apsw_store import ApswDatabase, WatchedVFS, apsw_store

        self.path = place / "jobs.db"
        self.template = place / "template.db"
        with contextlib.closing(Store(f"sqlite:///{self.template}")) as store:
            store.init()
        self.failing = Failing()
        self.vfs = WatchedVFS("failing", self.failing)
        database = ApswDatabase(str(self.path), "failing", "wal_autocheckpoint = 6", "cache_size = 4")
        self.store = apsw_store(database)
        self.found = Found()

    def run(self, verbs: int, calls: tuple[str, ...], *, lasting: bool = False, code: str = "") -> None:
        for number in itertools.count(1):
            for old in self.path.parent.glob("jobs.db*"):
                old.unlink()
            shutil.copy(self.template, self.path)
            self.failing.watch(calls, number, lasting=lasting, code=code)
            self._once(verbs, f"call {number} of {calls}{' and all later' if lasting else ''} {code}")
            if not self.failing.struck:
                return

    def _once(self, verbs: int, words: str) -> None:
        found = self.found
        found.runs += 1
        traffic = Traffic(self.store, SEED)
        struck = 0
        for _ in range(verbs):
            try:
                traffic.step()
            except TRANSIENT as error:
                found.errors[type(error).__name__] += 1
                if self.failing.struck == struck:
                    found.wrong.append(f"{words}: refused without a fault: {error}")
            except (StoreError, apsw.Error) as error:
                found.wrong.append(f"{words}: not typed: {error!r}")
            struck = self.failing.struck
        found.struck += struck
        self.failing.at = -1
        for _ in range(4):  # it is mended, and the same store goes on
            try:
                traffic.step()
            except StoreError as error:
                found.wrong.append(f"{words}: does not go on: {error!r}")
        self.store.close()
        verdict = judge(self.path, traffic.acknowledged, traffic.batches)
        found.lost += bool(verdict.lost)
        if verdict.phantom or verdict.torn or verdict.corrupt:
            found.wrong.append(f"{words}: {verdict}")

    def close(self) -> None:
        self.store.close()
        self.vfs.unregister()


@pytest.fixture
def loop(tmp_path: Path, publish: Any) -> Iterator[Loop]:
    if apsw is None:
        publish.cannot_run("#16", "I/O errors", "apsw is not installed: pip install apsw", promise=1)
    with (
        tempfile.TemporaryDirectory(dir=fast_directory(tmp_path)) as name,
        contextlib.closing(Loop(Path(name))) as made,
    ):
        yield made


def on() -> str:
    return f"SQLite {apsw.sqlite_lib_version()}"


def test_an_io_error_at_any_call_loses_nothing_and_is_typed(loop: Loop, long: bool, publish: Any) -> None:
    verbs = 40 if long else 12
    for call in CODES if long else WRITING:
        loop.run(verbs, (call,))
    loop.run(verbs, ("xWrite", "xTruncate"), code="SQLITE_FULL")
    loop.run(verbs, WRITING, lasting=True)
    if long:
        loop.run(verbs, tuple(CODES), lasting=True)
        loop.run(verbs, ("xWrite", "xTruncate"), code="SQLITE_FULL", lasting=True)
    found = loop.found
    publish(
        "#16",
        "the n-th call to the file system fails, for every n: once, and from then on until it is mended",
        str(found),
        value=found.lost + len(found.wrong),
        bound="violations = 0",
        promise=1,
        seed=SEED,
        on=on(),
    )
    assert {"DatabaseUnavailable", "StoreFull"} <= set(found.errors)


def test_a_driver_that_does_not_look_at_what_commit_answers_loses_jobs(
    loop: Loop, publish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A negative control."""
    commit = SQLiteConnection.commit

    def deaf(self: SQLiteConnection) -> None:
        with contextlib.suppress(StoreError):
            commit(self)
        self.rollback()

    monkeypatch.setattr(SQLiteConnection, "commit", deaf)
    loop.run(12, ("xSync",))
    publish.control(
        "#16",
        "a driver that does not look at what COMMIT answers",
        str(loop.found),
        value=loop.found.lost,
        bound="lost >= 1",
        seed=SEED,
        on=on(),
    )
