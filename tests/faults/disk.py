"""What a disk holds after a power loss: what was synced, and of the rest whatever the disk pleases."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import apsw

SECTOR = 512

Fate = Literal["dropped", "cut", "shuffled"]
"""Unsynced writes are all lost; or kept up to one that is torn; or any of them is there, and torn, in any order."""

FATES: tuple[Fate, ...] = ("dropped", "cut", "shuffled")


@dataclass(slots=True, eq=False)
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes since then: where and what; None cuts the file off there."""
    syncs_directory: bool = False
    """As SQLite does it on Unix: the first sync of a new journal or WAL syncs the directory, too."""

    def sync(self) -> None:
        for write in self.pending:
            _apply(self.synced, *write)
        self.pending.clear()

    def after_a_loss(self, fate: Fate, chance: random.Random) -> bytes:
        content = bytearray(self.synced)
        if fate == "cut" and self.pending:
            kept = chance.randrange(len(self.pending))
            for write in self.pending[:kept]:
                _apply(content, *write)
            _apply(content, *_torn(self.pending[kept], chance, in_order=True))
        elif fate == "shuffled":
            for write in chance.sample(self.pending, len(self.pending)):
                if chance.random() < 0.5:
                    _apply(content, *(_torn(write, chance) if chance.random() < 0.3 else write))
        return bytes(content)


class Disk:
    """The watch of a VFS that knows what would be left.

    Args:
        lies: xSync says that it is done, and does nothing.
    """

    def __init__(self, *, lies: bool = False) -> None:
        self.lies = lies
        self.syncs = 0
        self._names: dict[str, _File] = {}
        self._synced_names: dict[str, _File] = {}
        self.at_sync: Any = lambda: None
        """Called before and after every sync."""
        self.at_write: Any = lambda: None

    def before(self, call: str, path: str) -> None:
        if call == "xSync":
            self.at_sync()

    def after(self, call: str, path: str, *args: Any) -> None:
        name = Path(path).name
        match call:
            case "xOpen" if name not in self._names:
                journal = bool(args[0] & (apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL))
                self._names[name] = _File(syncs_directory=journal)
            case "xDelete":
                self._names.pop(name, None)
                if args[0] and not self.lies:
                    self._synced_names = dict(self._names)
            case "xWrite":
                data, offset = args
                self._names[name].pending.append((offset, data))
                self.at_write()
            case "xTruncate":
                self._names[name].pending.append((args[0], None))
            case "xSync":
                self.syncs += 1
                if not self.lies:
                    self._sync(self._names[name])
                self.at_sync()

    def _sync(self, file: _File) -> None:
        file.sync()
        if file.syncs_directory:
            file.syncs_directory = False
            self._synced_names = dict(self._names)

    def after_a_loss(self, fate: Fate, chance: random.Random) -> dict[str, bytes]:
        """The files that are there when the power is back."""
        left = {}
        for name in self._names.keys() | self._synced_names.keys():
            now, synced = self._names.get(name), self._synced_names.get(name)
            file = synced if fate == "dropped" or chance.random() < 0.5 else now
            if file is not None and name:  # a temporary file has none, and is gone with its process
                left[name] = file.after_a_loss(fate, chance)
        return left


def _torn(
    write: tuple[int, bytes | None], chance: random.Random, *, in_order: bool = False
) -> tuple[int, bytes | None]:
    """A part of a write: whole sectors from its beginning, or from anywhere in it."""
    offset, data = write
    if data is None or len(data) <= SECTOR:
        return write if chance.random() < 0.5 else (offset, b"")
    sectors = (len(data) + SECTOR - 1) // SECTOR
    first = 0 if in_order else chance.randrange(sectors)
    last = chance.randrange(first, sectors)
    return offset + first * SECTOR, data[first * SECTOR : last * SECTOR]


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    if len(content) < offset and data:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data
