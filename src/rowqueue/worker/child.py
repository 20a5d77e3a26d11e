"""The program of a child: imports the app, then runs one job after the other, each alone.

It may die in any way, and costs its worker one attempt. What it must not do is outlive its worker,
which renews the lease: it dies with it (at the end of the wire, and on Linux by a signal of the
system, because a handler that holds the GIL lets no thread look at the wire).
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from queue import SimpleQueue

from rowqueue.app.app import App
from rowqueue.app.context import ContextControl
from rowqueue.app.loading import load_app
from rowqueue.core.errors import RowqueueError
from rowqueue.worker.endings import trace_of
from rowqueue.worker.passing import claim_of, encoded, raised_message
from rowqueue.worker.wire import Message, Wire

VARIABLE = "ROWQUEUE_CHILD"
"""Set in the environment while a child imports the app: a worker must not start then."""

_PR_SET_PDEATHSIG = 1


def main(descriptor: int, parent: int) -> None:
    """Run jobs until the wire ends.

    Args:
        descriptor: the child's end of it.
        parent: the worker's process id.
    """
    _die_with(parent)
    # A service manager tells every process of a worker to stop; how a child ends is the worker's business.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    end = socket.socket(fileno=descriptor)
    end.set_inheritable(False)

    def forked() -> None:
        end.close()  # or the end of this child would not be the end of the wire
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    os.register_at_fork(after_in_child=forked)
    wire = Wire(end)
    hello = wire.receive()
    if hello is None:
        return
    _log_to(wire, hello["log_level"])
    try:
        app = _imported(hello["app"])
    except RowqueueError as error:
        wire.send({"unusable": str(error)})
        return
    Child(wire, app).run()


class Child:
    """Runs what comes over the wire.

    Args:
        wire: this end.
        app: the imported app.
    """

    def __init__(self, wire: Wire, app: App) -> None:
        self._wire = wire
        self._app = app
        self._work: SimpleQueue[Message | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._control: ContextControl | None = None
        self._number = 0
        self._busy = False
        self._pid = os.getpid()

    def run(self) -> None:
        """Work until the wire ends."""
        threading.Thread(target=self._listen, name="rowqueue-wire", daemon=True).start()
        self._wire.send({"ready": True})
        while (message := self._work.get()) is not None:
            answer = self._answer(message)
            if os.getpid() != self._pid:  # the handler forked, and this is its copy
                os._exit(0)
            with self._lock:
                self._busy = False
            self._wire.send(answer)

    def _answer(self, message: Message) -> Message:
        try:
            return self._run(message)
        except BaseException as error:  # noqa: BLE001 - SystemExit and the like are a failed attempt, too
            _limit_memory(None)
            return raised_message(error, trace_of(error)) | {"spent": isinstance(error, MemoryError)}

    def _run(self, message: Message) -> Message:
        claim = claim_of(message["claim"])
        function = self._app.registry.get(claim.job.kind)
        control = ContextControl(claim, self._app.stores, on_completing=self._completing)
        if message["timeout"] is not None:
            control.deadline = time.monotonic() + message["timeout"]
        with self._lock:
            self._number, self._control = message["number"], control
        memory = function.memory
        try:
            _limit_memory(None if memory is None else _address_space() + memory)
            result = function.bind(control.context)()
            answer = encoded(result, message["limit"])
        finally:
            _limit_memory(None)
            with self._lock:
                self._control = None
        return {"result": answer.text, "dropped": answer.dropped}

    def _completing(self, completing: bool) -> None:
        self._wire.send({"completing": completing})

    def _listen(self) -> None:
        while (message := self._wire.receive()) is not None:
            with self._lock:
                if "cancel" not in message:
                    self._busy = True
                    self._work.put(message)
                elif self._control is not None and self._number == message["cancel"]:
                    self._control.cancel()
        with self._lock:
            if self._busy:  # nobody renews its lease any more
                os.killpg(0, signal.SIGKILL)
        self._work.put(None)


def _imported(path: str) -> App:
    os.environ[VARIABLE] = "1"
    try:
        return load_app(path)
    finally:
        del os.environ[VARIABLE]


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before it could be asked for
        os._exit(0)


def _address_space() -> int:
    if sys.platform != "linux":
        return 0
    with open("/proc/self/statm") as file:  # noqa: PTH123 - no detour for a file of the system's
        return int(file.read().split()[0]) * resource.getpagesize()


def _limit_memory(most: int | None) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = hard if most is None else most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _log_to(wire: Wire, level: int) -> None:
    root = logging.getLogger()
    root.setLevel(level)
    root.addHandler(_Forward(wire))


class _Forward(logging.Handler):
    """Hands log records to the worker, whose handlers know where they go."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            self._wire.send({"log": [record.name, record.levelno, text]})
        except Exception:  # noqa: BLE001 - a log line must not fail a job
            return


def started_by_worker() -> bool:
    """Whether this process is a child that is importing its app."""
    return VARIABLE in os.environ
