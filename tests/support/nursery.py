"""Processes that start at once: forked from one Python that has imported everything, which takes half a second.

`start("rowqueue", "work", "shop:app", cwd=…)` is `python -m rowqueue work shop:app` without that half second, and a
process like any other: it is killed, stopped, signalled and waited for. What is about the start of an interpreter
(its imports, its options, its environment's PYTHON…) takes `subprocess` instead.

The nursery is one process for each process of pytest, and dies with it.
"""

import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Self

ROOT = Path(__file__).resolve().parents[2]
PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT
IMPORTED = [
    "aiosqlite",
    "asyncpg",
    "psycopg",
    "pymysql",
    "rich.console",
    "rowqueue.cli",
    "rowqueue.demo.run",
    "rowqueue.sql.dialects.mariadb",
    "rowqueue.store.async_store",
    "rowqueue.store.listener",
    "rowqueue.worker",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.orm",
]


class Child:
    """One process, with the names of `subprocess.Popen`; streams are text."""

    def __init__(self, pid: int, ended: int, ours: list[int | None]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = os.fdopen(ended, "rb", buffering=0)
        streams: list[IO[Any] | None] = [
            None if fd is None else os.fdopen(fd, "r" if number else "w", encoding="utf-8", buffering=-1)
            for number, fd in enumerate(ours)
        ]
        self.stdin, self.stdout, self.stderr = streams

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = int(self._ended.read())
            self._ended.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended, and that is about to be told
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote until its end, to stdout and stderr."""
        if self.stdin is not None:
            self.stdin.close()
        texts = ["", ""]

        def read(index: int, stream: IO[str]) -> None:
            texts[index] = stream.read()

        streams = [(index, stream) for index, stream in enumerate((self.stdout, self.stderr)) if stream]
        readers = [threading.Thread(target=read, args=each, daemon=True) for each in streams]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return texts[0], texts[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.wait()


class Nursery:
    """The process that forks, as its owner has it."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                start_new_session=True,
            )
        self._lock = threading.Lock()

    def start(
        self,
        module: str,
        *arguments: str,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        stdin: int | None = DEVNULL,
        stdout: int | None = None,
        stderr: int | None = None,
        new_session: bool = False,
    ) -> Child:
        """Start `python -m module arguments`.

        Args:
            module: what is run.
            arguments: its arguments.
            cwd: its folder, where it imports from first.
            env: its environment; None is this process's.
            stdin, stdout, stderr: as for `subprocess.Popen`; None is this process's.
            new_session: it gets a session, and so a process group, of its own.
        """
        theirs, ours, opened = [0, 1, 2], list[int | None]([None] * 3), []
        for number, wish in enumerate((stdin, stdout, stderr)):
            if wish == PIPE:
                reading, writing = os.pipe()
                theirs[number], ours[number] = (writing, reading) if number else (reading, writing)
                opened.append(theirs[number])
            elif wish == DEVNULL:
                theirs[number] = os.open(os.devnull, os.O_RDWR)
                opened.append(theirs[number])
            elif wish == STDOUT:
                theirs[number] = theirs[1]
            elif wish is not None:
                theirs[number] = wish
        ended, ends = os.pipe()
        asked = {"module": module, "arguments": arguments, "cwd": str(cwd), "session": new_session}
        request = json.dumps({**asked, "env": dict(os.environ if env is None else env)}).encode()
        with self._lock:
            socket.send_fds(self._control, [f"{len(request)}\n".encode()], [*theirs, ends])
            self._control.sendall(request)
            answer = self._control.recv(64)
        for fd in (*opened, ends):
            os.close(fd)
        return Child(int(answer), ended, ours)

    def close(self) -> None:
        """End it, and what it started."""
        self._control.close()
        self._process.wait(20)


@functools.cache
def _own(_pid: int) -> Nursery:
    nursery = Nursery()
    nursery._process.returncode = (
        0  # it ends when this process does, and not before: no ResourceWarning about that
    )
    return nursery


def start(module: str, *arguments: str, **options: Any) -> Child:
    """`Nursery.start` of this process's nursery."""
    return _own(os.getpid()).start(module, *arguments, **options)


class _Forking:
    """The process that forks, in itself."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._ends: dict[int, int] = {}
        self._wake, waking = os.pipe()
        os.set_blocking(waking, False)
        signal.set_wakeup_fd(waking)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> dict[str, Any]:
        """Fork whatever is asked for; comes back in a child only, with what it is to do."""
        while True:
            ready, _, _ = select.select([self._control, self._wake], [], [])
            if self._wake in ready:
                os.read(self._wake, 4096)
                self._reap()
            if self._control in ready and (asked := self._fork()) is not None:
                return asked

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = found
                with contextlib.suppress(BrokenPipeError), os.fdopen(self._ends.pop(pid), "w") as told:
                    told.write(str(os.waitstatus_to_exitcode(status)))

    def _fork(self) -> dict[str, Any] | None:
        head, fds, _, _ = socket.recv_fds(self._control, 32, 4)
        if not head:
            self._leave()
        length, _, body = head.partition(b"\n")
        while len(body) < int(length):
            body += self._control.recv(int(length) - len(body))
        asked: dict[str, Any] = json.loads(body)
        pid = os.fork()
        if pid == 0:
            self._become(asked, fds)
            return asked
        self._ends[pid] = fds.pop()
        for fd in fds:
            os.close(fd)
        self._control.sendall(b"%d\n" % pid)
        return None

    def _become(self, asked: dict[str, Any], fds: list[int]) -> None:
        """In the child: nothing of the nursery's is left open, and the world is as asked."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._control.close()
        if asked["session"]:
            os.setsid()
        for number, fd in enumerate(fds[:3]):
            os.dup2(fd, number)
        os.closerange(
            3, max([*fds, *self._ends.values()]) + 1
        )  # or it would keep others' ends from being told
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])

    def _leave(self) -> NoReturn:
        for pid in self._ends:
            os.kill(pid, signal.SIGKILL)
        sys.exit(0)


def _run(asked: dict[str, Any]) -> None:
    sys.path[0] = asked["cwd"]
    sys.argv = [asked["module"], *asked["arguments"]]
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for _name in IMPORTED:
        importlib.import_module(_name)
    gc.freeze()
    _run(_Forking(socket.socket(fileno=int(sys.argv[1]))).serve())
