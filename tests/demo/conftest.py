from collections.abc import Callable
from pathlib import Path

import pytest

MODULE = '''"""The module number {number}, about a {word}."""

class Thing{number}:
    """A thing with a {word} in it."""

    def turn_{word}(self, times: int) -> int:
        """Turn the {word}."""
        return times + {number}


async def look() -> None:
    """Nothing to see."""
'''
WORDS = ("wheel", "lamp", "door", "chair", "clock")


@pytest.fixture
def sources(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a folder with so many modules, each with four symbols, and one that does not parse."""

    def make(count: int) -> Path:
        folder = tmp_path / "sources"
        for number in range(count):
            file = folder / f"package{number % 7}" / f"module{number}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(MODULE.format(number=number, word=WORDS[number % len(WORDS)]))
        (folder / "bad.py").write_text("def f(:\n")
        (folder / "notes.txt").write_text("not Python")
        return folder

    return make
