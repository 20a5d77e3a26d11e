"""Clocks that are wrong, and move while a process runs (libfaketime; monotonic clocks stay right)."""

import os
from pathlib import Path

_PLACES = ("/usr/lib", "/usr/local/lib", "/usr/lib64")


def library() -> Path | None:
    """libfaketime for programs with threads."""
    for place in _PLACES:
        for pattern in ("faketime/libfaketimeMT.so.1", "*/faketime/libfaketimeMT.so.1"):
            for found in Path(place).glob(pattern):
                return found
    return None


class Clock:
    """A wall clock that differs from the machine's by so much; every process with its environment reads it.

    Args:
        file: where the difference stands.
        offset: seconds; it may be changed at any time.
    """

    def __init__(self, file: Path, offset: float = 0.0) -> None:
        self._file = file
        self.set(offset)

    def set(self, offset: float) -> None:
        """Step there."""
        half = self._file.with_suffix(".half")
        half.write_text(f"{offset:+.3f}\n")
        half.chmod(0o644)
        half.rename(self._file)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def over(self, environment: dict[str, str] | None = None) -> dict[str, str]:
        """The environment for a process that goes by this clock."""
        return {**(os.environ if environment is None else environment), **self.environment}
