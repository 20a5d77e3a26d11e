"""A page's blocks as one program: in a folder of its own, on SQLite files there or the suite's PostgreSQL."""

import ast
import asyncio
import doctest
import inspect
import io
import logging
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Self

from rowqueue.cli import main
from tests.docs.blocks import Block, blocks, commands

SERVERS = ("postgresql", "mariadb")
"""Where a page writes ``postgresql://localhost/shop``, the suite's own database takes its place."""

# With no plugins but ours: the others cost time, and one warns of its own options.
_PROGRAMS = {
    "python": [],
    "rowqueue": ["-m", "rowqueue"],
    "pytest": ["-m", "pytest", "-p", "rowqueue.testing.plugin"],
}
_OUTPUT = doctest.OutputChecker()
_LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Broken(AssertionError):
    """A block that does not do what its page says; the message begins with page and line."""


def run_page(page: Path, folder: Path, database: Callable[[str], str]) -> None:
    """Run every block of a page that is meant to be run.

    Args:
        page: the Markdown file.
        folder: an empty folder.
        database: from one of the servers to the URL of an empty database there.

    Raises:
        Broken: one failed, or printed something else.
    """
    with inside(folder), _Page(folder, database) as running:
        for block in blocks(page):
            if block.runs:
                running.run(block)


class _Page:
    def __init__(self, folder: Path, database: Callable[[str], str]) -> None:
        self._folder = folder
        self._database = database
        self._urls: dict[str, str] = {}
        self._printed = ""
        self._loop = asyncio.Runner()
        self._module = ModuleType("page")

    def __enter__(self) -> Self:
        sys.modules["page"] = self._module
        return self

    def __exit__(self, *_: object) -> None:
        here = [module for module in list(sys.modules.values()) if self._is_of_page(module)]
        for module in here:
            for value in list(vars(module).values()):
                self._close(value)
            del sys.modules[module.__name__]
        self._loop.close()

    def run(self, block: Block) -> None:
        code = self._real(block.code)
        if block.language == "console":
            self._console(block)
        elif block.language == "output":
            self._compare(block.place(), block.code, self._printed)
        elif block.title:
            self._file(block, code)
        else:
            self._python(block, code)

    def _real(self, text: str) -> str:
        for server in SERVERS:
            written = re.compile(rf"{server}(\+\w+)?://localhost/shop")
            if written.search(text):
                if server not in self._urls:
                    self._urls[server] = self._database(server).partition("://")[2]
                text = written.sub(rf"{server}\1://{self._urls[server]}", text)
        return text

    # Python

    def _python(self, block: Block, code: str) -> None:
        printed = io.StringIO()
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        with self._blamed(block), redirect_stdout(printed):
            compiled = compile("\n" * (block.line - 1) + code, str(block.page), "exec", flags=flags)
            self._execute(compiled)
        self._printed = printed.getvalue()

    def _execute(self, code: CodeType) -> None:
        namespace = vars(self._module)
        if code.co_flags & inspect.CO_COROUTINE:
            self._loop.run(eval(code, namespace))
        else:
            exec(code, namespace)

    def _file(self, block: Block, code: str) -> None:
        path = self._folder / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n" * (block.line - 1) + code + "\n" if path.suffix == ".py" else code + "\n")
        if path.suffix == ".py" and not path.name.startswith("test_"):
            name = ".".join(Path(block.title).with_suffix("").parts)
            with self._blamed(block):
                self._execute(compile(f"import {name}", str(path), "exec"))

    @contextmanager
    def _blamed(self, block: Block) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            files = {str(block.page), str(self._folder / (block.title or "none"))}
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename in files]
            line = error.lineno if isinstance(error, SyntaxError) else (lines or [block.line])[-1]
            raise Broken(f"{block.place(line)}: {type(error).__name__}: {error}") from error

    # commands

    def _console(self, block: Block) -> None:
        for command in commands(block):
            place = block.place(command.line)
            arguments = shlex.split(self._real(command.typed), comments=True)
            if arguments[0] not in _PROGRAMS:
                raise Broken(
                    f"{place}: {arguments[0]} is none of {', '.join(_PROGRAMS)}: say why it is not run"
                )
            code, printed = self._command(arguments)
            if code != command.code:
                raise Broken(f"{place}: exit code {code}, not {command.code}:\n{printed}")
            if command.prints.strip():
                self._compare(place, command.prints, printed)

    def _command(self, arguments: list[str]) -> tuple[int, str]:
        if arguments[:2] == ["rowqueue", "work"] and "--drain" not in arguments:
            arguments = [*arguments, "--drain"]  # so that it ends
        printed = io.StringIO()
        if arguments[0] == "rowqueue" and "--processes" not in arguments:
            with redirect_stdout(printed), redirect_stderr(printed), unlogged():
                return main(arguments[1:]), printed.getvalue()
        done = subprocess.run(
            [sys.executable, *_PROGRAMS[arguments[0]], *arguments[1:]],
            cwd=self._folder,
            env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    def _compare(self, place: str, wanted: str, printed: str) -> None:
        if not _OUTPUT.check_output(wanted, printed, _LOOSE):
            raise Broken(f"{place}: it prints something else:\n{printed}")

    # the end

    def _is_of_page(self, module: ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        return module is self._module or (file is not None and Path(file).is_relative_to(self._folder))

    def _close(self, value: Any) -> None:
        import sqlalchemy as sa
        from sqlalchemy.ext.asyncio import AsyncEngine

        from rowqueue import App, AsyncStore, Store

        match value:
            case App():
                self._loop.run(value.aclose())
            case Store() | sqlite3.Connection():
                value.close()
            case AsyncStore():
                self._loop.run(value.close())
            case sa.Engine():
                value.dispose()
            case AsyncEngine():
                self._loop.run(value.dispose())
            case _:
                return


@contextmanager
def unlogged() -> Iterator[None]:
    """Let a command set up logging as in a process of its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder from which modules can be imported, as a user's shell does, and change nothing outside."""
    before, path, environment = Path.cwd(), list(sys.path), dict(os.environ)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)
