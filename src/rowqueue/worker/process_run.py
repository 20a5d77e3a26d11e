"""One attempt in a child process: the worker's side."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from rowqueue.worker.attempt import Attempt, Interruption
from rowqueue.worker.children import ChildProcess, Children
from rowqueue.worker.passing import Encoded, claim_message, raised_of
from rowqueue.worker.wire import Message

KILL_AFTER = 1.0
"""Seconds that a handler gets between being told to stop and its process's end."""


class ProcessRun:
    """Calling it, in a thread, runs the attempt and returns or raises what its handler did.

    Args:
        attempt: which.
        children: who lends a process.
        loop: where ``stop`` is called and timers run.
        timeout: how long the attempt may run (seconds), for ``context.deadline``.
        payload_limit: the longest result (bytes).
        on_ready: called in the loop when the process is ready: the attempt's time begins.
    """

    def __init__(
        self,
        attempt: Attempt,
        children: Children,
        loop: asyncio.AbstractEventLoop,
        timeout: float | None,
        payload_limit: int,
        on_ready: Callable[[], None],
    ) -> None:
        self._attempt = attempt
        self._children = children
        self._loop = loop
        self._timeout = timeout
        self._limit = payload_limit
        self._on_ready = on_ready
        self._lock = threading.Lock()
        self._child: ChildProcess | None = None
        self._killed = False
        self._timer: asyncio.TimerHandle | None = None

    # in the loop's thread

    def stop(self, why: Interruption) -> None:
        """Tell the handler to stop, and end its process when it does not, before its lease is another's."""
        self._tell()
        pause = 0.0 if why is Interruption.LOST else KILL_AFTER
        if why is Interruption.FENCED:
            pause = min(pause, (self._attempt.safe_until - time.monotonic()) / 2)
        self._timer = self._loop.call_later(max(0.0, pause), self._kill)

    def ended(self) -> None:
        """It has returned or raised."""
        if self._timer is not None:
            self._timer.cancel()

    def _kill(self) -> None:
        with self._lock:
            self._killed = True
            if self._child is not None:
                self._child.kill()

    # in any thread

    def _tell(self) -> None:
        with self._lock:
            if self._child is not None:
                # What it does not take at once is not waited for: the kill comes anyway.
                self._child.wire.send_at_once({"cancel": self._attempt.claim.lease})

    # in the thread that runs it

    def __call__(self) -> Encoded:
        """Run it.

        Raises:
            ChildFailed: the handler raised, or its process died.
            Control: the handler's instruction.
        """
        with self._children.lend() as child:
            self._enter(child)
            try:
                answer = self._talk(child)
            finally:
                with self._lock:
                    self._child = None
            if answer.get("spent"):
                child.kill()  # it ran out of memory, and is not to be trusted with the next job
        if "result" in answer:
            return Encoded(answer["result"], answer["dropped"])
        raise raised_of(answer)

    def _enter(self, child: ChildProcess) -> None:
        with self._lock:
            self._child = child
            if self._killed:
                child.kill()

    def _talk(self, child: ChildProcess) -> Message:
        if not child.ready:
            child.start()
        self._call(self._on_ready)
        child.say(
            {
                "claim": claim_message(self._attempt.claim),
                "number": self._attempt.claim.lease,
                "timeout": self._timeout,
                "limit": self._limit,
            }
        )
        if self._attempt.control.cancelled:  # told before the child had anything to hear
            self._tell()
        while "completing" in (message := child.receive()):
            self._attempt.control.completing = message["completing"]
        return message

    def _call(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the worker did not wait for this thread, and its loop is closed
            return
