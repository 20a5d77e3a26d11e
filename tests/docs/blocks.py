"""The code blocks of a Markdown page, with the lines where they stand.

What a block is for is said where the reader of the source sees it:

- ```` ```python ```` is run, in the page's one namespace, in order; with `title="shop.py"` it is a file of that name,
  which is imported then (a `test_*.py` is left to pytest, and other files are only written);
- ```` ```console ````: lines that begin with `$ ` are run, what follows each is what it prints (`...` for any text),
  and `# exit code 1` behind a command says that it ends with that;
- ```` ```output ```` is what the Python block before it prints;
- `<!-- not run: why -->` above a block says that it is only shown;
- `<!-- test` and lines up to `-->` are Python that is run and not shown.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHOWN = frozenset({"text", "ini", "yaml", "toml", "dockerfile", "sql", "json", "html"})
"""Languages that nobody runs."""

_FENCE = re.compile(r"(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<info>.*)\Z")
_NOT_RUN = re.compile(r"<!-- not run: (?P<why>\S.*) -->\Z")
_TITLE = re.compile(r'\btitle="(?P<title>[\w./-]+)"')


class BadPage(Exception):
    """A page that cannot be read as blocks; the message begins with its file and line."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block.

    Attributes:
        page: the file.
        line: of its first line of code, counted from 1.
        language: `python`, `console`, `output`, `test`, or one that nobody runs.
        code: without the indentation of its fence.
        title: the file that it is, or nothing.
        why: it is not run; nothing where it is.
    """

    page: Path
    line: int
    language: str
    code: str
    title: str = ""
    why: str = ""

    @property
    def runs(self) -> bool:
        """It is run, or is what something that is run prints."""
        return not self.why and self.language not in SHOWN

    def place(self, line: int | None = None) -> str:
        """Where it stands, for people and editors."""
        return f"{self.page}:{self.line if line is None else line}"


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page in order.

    Raises:
        BadPage: a fence is not closed, or its language is none that is known.
    """
    lines = page.read_text().splitlines()
    number = 0
    why = ""
    while number < len(lines):
        line = lines[number]
        number += 1
        if fence := _FENCE.match(line):
            end = _end(page, lines, number, re.compile(rf" *{re.escape(fence['marks'])}\s*\Z"))
            yield _block(page, number + 1, fence, lines[number:end], why)
            number, why = end + 1, ""
        elif line.strip() == "<!-- test":
            end = _end(page, lines, number, re.compile(r"-->\Z"))
            yield Block(page, number + 1, "test", "\n".join(lines[number:end]))
            number = end + 1
        elif line.strip():
            found = _NOT_RUN.match(line.strip())
            why = found["why"] if found else ""


def _end(page: Path, lines: list[str], start: int, closing: re.Pattern[str]) -> int:
    for number in range(start, len(lines)):
        if closing.match(lines[number]):
            return number
    raise BadPage(f"{page}:{start}: nothing closes what begins here")


def _block(page: Path, line: int, fence: re.Match[str], lines: list[str], why: str) -> Block:
    language, _, rest = fence["info"].strip().partition(" ")
    if language not in SHOWN | {"python", "console", "output"}:
        raise BadPage(
            f"{page}:{line - 1}: nobody knows what to do with {language!r}: see tests/docs/blocks.py"
        )
    code = "\n".join(text.removeprefix(fence["indent"]) for text in lines)
    title = _TITLE.search(rest)
    return Block(page, line, language, code, title["title"] if title else "", why)


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a console block: its line, what is typed, what it prints, and the exit code."""

    line: int
    typed: str
    prints: str
    code: int


def commands(block: Block) -> list[Command]:
    """The commands of a console block.

    Raises:
        BadPage: it has none.
    """
    found: list[Command] = []
    for offset, line in enumerate(block.code.splitlines()):
        if line.startswith("$ "):
            ending = re.search(r"# exit code (\d+)", line)
            found.append(Command(block.line + offset, line[2:], "", int(ending[1]) if ending else 0))
        elif found and found[-1].typed.endswith("\\"):
            last = found.pop()
            found.append(Command(last.line, f"{last.typed[:-1]} {line.strip()}", "", last.code))
        elif found:
            last = found.pop()
            found.append(Command(last.line, last.typed, f"{last.prints}{line}\n", last.code))
    if not found:
        raise BadPage(f"{block.place()}: no line begins with '$ ': say why it is not run, or what is typed")
    return found
