"""The operators' commands in this process, which is quicker than a new one, and what they answered."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rowqueue.cli import main


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code in {0, 1}, self
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The cells of a plain table without its headings; columns are two blanks apart."""
        return [
            [cell.strip() for cell in line.split("  ") if cell.strip()] for line in self.out.splitlines()[1:]
        ]

    @property
    def refusal(self) -> str:
        """It was refused as people expect: the one line that says why."""
        assert self.code == 2, self
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        return line


Run = Callable[..., Answer]


def runner(capsys: Any, *common: str) -> Run:
    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        code = main([*map(str, arguments), *common])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run
