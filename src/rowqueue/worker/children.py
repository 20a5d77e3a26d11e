"""The worker's side of its children: processes that run ``process=True`` jobs, one job each at a time."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from rowqueue.core.finish import storable
from rowqueue.worker.passing import ChildFailed
from rowqueue.worker.wire import Message, Wire

START = 60.0
"""Seconds that a child may take to import the app."""

LOOK = 1.0
"""Seconds between looks at whether a silent child lives: a process that it forked may hold its wire open."""

GOODBYE = 2.0
"""Seconds that idle children get to end by themselves."""

_PROGRAM = "import sys; sys.path[:] = {path!r}; from rowqueue.worker.child import main; main({end}, {parent})"


class ChildProcess:
    """One child; ``kill`` from any thread, everything else in the thread that has it.

    Args:
        app_path: module:name of what it imports.
    """

    def __init__(self, app_path: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            program = _PROGRAM.format(path=sys.path, end=theirs.fileno(), parent=os.getpid())
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C reaches the worker alone; what a handler started dies with it
            )
        self.pid = self._process.pid
        self.wire = Wire(ours)
        self._reaping = threading.Lock()
        self.ready = False
        self.killed = False
        self._app_path = app_path

    def start(self) -> None:
        """Wait until it has imported the app.

        Raises:
            ChildFailed: it cannot, or died.
        """
        self.say({"app": self._app_path, "log_level": logging.getLogger().getEffectiveLevel()})
        message = self.receive(START)
        if "unusable" in message:
            raise ChildFailed(storable(f"its process could not import the app: {message['unusable']}", 1000))
        self.ready = True

    def say(self, message: Message) -> None:
        """Send it a message; when it is dead, ``receive`` tells how."""
        with contextlib.suppress(OSError):
            self.wire.send(message)

    def receive(self, limit: float | None = None) -> Message:
        """Its next message; log lines are logged on the way.

        Args:
            limit: the longest wait (seconds).

        Raises:
            ChildFailed: it died, or the time is up.
        """
        ends = None if limit is None else time.monotonic() + limit
        while True:
            try:
                message = self.wire.receive(LOOK)
            except TimeoutError:
                if ends is not None and time.monotonic() > ends:
                    raise ChildFailed(f"its process was not ready within {limit:g} s") from None
                if not self.exited():
                    continue
                message = None
            if message is None:
                raise ChildFailed(f"its process {ended(self.end())}")
            if "log" not in message:
                return message
            name, level, text = message["log"]
            logging.getLogger(name).log(level, "%s", text)

    def kill(self) -> None:
        """End it and what its handler started, at once."""
        with self._reaping:
            self.killed = True
            if self._process.returncode is None:  # or its number may be another process's by now
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)

    def exited(self) -> bool:
        """Whether it is dead; it is not reaped by that."""
        with self._reaping:
            return self._process.returncode is not None or (
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
            )

    def dismiss(self) -> None:
        """Let it end, now that it is idle; ``end`` waits for that."""
        self.wire.close()

    def end(self) -> int:
        """Wait for its end (its wire ends a moment before it), and return its exit status."""
        limit = time.monotonic() + GOODBYE
        while not self.exited() and time.monotonic() < limit:
            time.sleep(0.002)
        self.kill()  # what a handler started and left behind, too
        with self._reaping:
            code = self._process.wait()
        self.wire.close()
        return code


def ended(code: int) -> str:
    """How a process ended, for people."""
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", perhaps because the system ran out of memory" if -code == signal.SIGKILL else ""
    return f"was ended by {name}{hint}"


class Children:
    """As many children as ever ran at once, kept for the next jobs.

    Args:
        app_path: module:name of what they import; None: there was no job that needs one at the start.
    """

    def __init__(self, app_path: str | None) -> None:
        self._app_path = app_path
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()
        self._lock = threading.Lock()
        self._closed = False

    @contextlib.contextmanager
    def lend(self) -> Iterator[ChildProcess]:
        """A child for one job, idle or new (then not ``ready``); it is kept unless the block raises or kills it.

        Raises:
            ChildFailed: the system gives no process, or the worker has stopped.
        """
        child = self._take()
        try:
            yield child
        except BaseException:
            self._discard(child)
            raise
        with self._lock:
            if not self._closed and not child.killed:  # it may take a while to die
                self._idle.append(child)
                return
        self._discard(child)

    def _take(self) -> ChildProcess:
        with self._lock:
            if self._closed:
                raise ChildFailed("the worker has stopped")
            if self._app_path is None:
                raise ChildFailed("its job was registered after the worker was made: register it before")
            while self._idle:
                child = self._idle.pop()
                if not child.exited():
                    return child
                self._all.discard(child)
                child.end()
            try:
                child = ChildProcess(self._app_path)
            except OSError as error:
                raise ChildFailed(f"no process could be started for it: {error.strerror}") from error
            self._all.add(child)
            return child

    def _discard(self, child: ChildProcess) -> None:
        child.kill()
        child.end()
        with self._lock:
            self._all.discard(child)

    def close(self) -> None:
        """End all; those that run a job are killed."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = self._all.difference(idle)
        for child in busy:
            child.kill()
        for child in idle:
            child.dismiss()
        for child in idle:
            child.end()
