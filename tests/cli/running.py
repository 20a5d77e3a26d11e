"""The command as people run it: in a process of its own; or in this one, which takes a tenth of the time."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from rowqueue.cli import main
from tests.support import nursery

COMMAND = [sys.executable, "-m", "rowqueue"]


def environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "ROWQUEUE_DATABASE_URL"}
    return {**inherited, "COLUMNS": "200", **more}


def rowqueue(*arguments: str, cwd: Path, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
    with started(*arguments, cwd=cwd, stderr=nursery.PIPE, **env) as process:
        try:
            out, err = process.communicate(timeout)
        finally:
            process.kill()
    return subprocess.CompletedProcess(arguments, process.wait(), out, err)


def started(*arguments: str, cwd: Path, stderr: int, **env: str) -> nursery.Child:
    return nursery.start(
        "rowqueue",
        *arguments,
        cwd=cwd,
        env=environment(**env),
        stdout=nursery.PIPE,
        stderr=stderr,
        new_session=True,
    )


def rowqueue_here(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The same for commands that end by themselves and start no process, without a process of their own."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, environment(**env), clear=True),
        _imports_forgotten(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main(arguments)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _imports_forgotten() -> Iterator[None]:
    """Modules of the current folder are imported afresh and leave no trace."""
    folder, path = str(Path.cwd()), sys.path.copy()
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = wrote
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(folder):
                del sys.modules[name]


@contextlib.contextmanager
def running(*arguments: str, cwd: Path, **env: str) -> Iterator[nursery.Child]:
    """The command in the background, in a process group of its own; it is dead afterwards."""
    with started(*arguments, cwd=cwd, stderr=nursery.STDOUT, **env) as process:
        try:
            yield process
        finally:
            process.kill()


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """Assert that it was refused as people expect, and return the one line that says why."""
    assert result.returncode == 2, result
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]
