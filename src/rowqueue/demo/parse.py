"""One Python file as its modules, classes and functions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_DOCSTRING_LIMIT = 20_000
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Symbol:
    """A module, class or function: its kind, its name with dots, its line, its docstring."""

    kind: str
    name: str
    line: int
    docstring: str

    @property
    def own(self) -> str:
        """Its own name as words: ``JSONDecoder`` is also found by "json decoder"."""
        return _words(self.name if self.kind == "module" else self.name.rpartition(".")[2])

    @property
    def words(self) -> str:
        """Its whole name as words."""
        return _words(self.name)


def parse_file(path: str, name: str) -> list[Symbol]:
    """Read a file and list its symbols, the module first.

    Args:
        path: where it is.
        name: its path below the source folder, of which the module's name is made.

    Raises:
        SyntaxError: Python cannot parse it. (Also ValueError and RecursionError, as ``ast`` has it.)
        OSError: it cannot be read.
    """
    tree = ast.parse(Path(path).read_bytes(), path)
    module = module_name(name)
    return [Symbol("module", module, 1, _docstring(tree)), *_definitions(tree, module)]


def module_name(name: str) -> str:
    """``json/decoder.py`` → ``json.decoder``; a package is called after its folder."""
    parts = list(Path(name).with_suffix("").parts)
    if len(parts) > 1 and parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def _definitions(tree: ast.Module, module: str) -> Iterator[Symbol]:
    # A stack and no recursion: how deep a file nests is not ours to say.
    todo: list[tuple[ast.AST, str]] = [(tree, module)]
    while todo:
        node, outer = todo.pop()
        for child in _statements(node):
            inner = outer
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inner = f"{outer}.{child.name}"
                kind = "class" if isinstance(child, ast.ClassDef) else "function"
                yield Symbol(kind, inner, child.lineno, _docstring(child))
            todo.append((child, inner))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """The statements in a statement: definitions stand nowhere else, and expressions are most of a tree."""
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        found = getattr(node, field, None)
        if isinstance(found, list):
            yield from found


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Its docstring, as every database can store it."""
    text = ast.get_docstring(node, clean=False) or ""  # its indentation means nothing to a search
    return text.strip()[:_DOCSTRING_LIMIT].replace("\x00", "").encode("utf-8", "replace").decode()


def _words(name: str) -> str:
    parts = name.split(".")
    return " ".join([*parts, *(word for part in parts for word in _WORD.findall(part) if word != part)])
