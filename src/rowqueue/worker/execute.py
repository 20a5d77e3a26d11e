"""Running handlers: ``async def`` as tasks of the loop, ``def`` in threads, ``process=True`` in children.

Those with ``claim="held"`` run in either of the first two ways, inside their own transaction (``holds.py``).

The way of one attempt: bind its arguments, call the handler, turn its end into a ``Finish``, hand
that on. A child does the first two; a thread here waits for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rowqueue.core.finish import Finish
from rowqueue.core.values import Outcome
from rowqueue.worker.attempt import Attempt, Interruption
from rowqueue.worker.children import Children
from rowqueue.worker.endings import Endings, timeout_of
from rowqueue.worker.events import Events, ResultDropped, Started, TimedOut
from rowqueue.worker.finishing import Finishing
from rowqueue.worker.forks import alone, alone_async, end_copy
from rowqueue.worker.process_run import ProcessRun
from rowqueue.worker.slots import Slots
from rowqueue.worker.threads import Returns, Threads

if TYPE_CHECKING:
    from rowqueue.worker.holds import Ends, Holds


class Execution:
    """Starts attempts, and passes on how they ended.

    Args:
        loop: where async handlers run.
        threads: where the others run, or are waited for.
        children: whose processes run jobs with ``process=True``.
        slots: what an attempt takes and gives back.
        endings: what an end means.
        finishing: who writes it.
        events: who is told.
        make_holds: makes who runs held attempts, when the first one comes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        threads: Threads,
        children: Children,
        slots: Slots,
        endings: Endings,
        finishing: Finishing,
        events: Events,
        make_holds: Callable[[Ends], Holds],
    ) -> None:
        self._loop = loop
        self._threads = threads
        self._returns = Returns(loop)
        self._children = children
        self._slots = slots
        self._endings = endings
        self._finishing = finishing
        self._events = events
        self._make_holds = make_holds
        self._holds: Holds | None = None
        self._process = os.getpid()

    def start(self, attempt: Attempt) -> None:
        """Call the handler; its slot is taken until it ends."""
        self._slots.take(attempt.claim.job.queue)
        function = attempt.function
        if function.process:
            self._start_process(attempt)
            return
        try:
            bound = function.bind(attempt.control.context)
        except Exception as error:  # noqa: BLE001 - InvalidArguments, or what a user's own type raises
            self._ended(attempt, self._endings.raised(attempt, error))
            return
        if function.held:
            if self._holds is None:
                self._holds = self._make_holds(self)
            self._holds.start(attempt, alone_async(bound) if function.is_async else alone(bound))
            return
        self.begun(attempt)
        if function.is_async:
            attempt.task = self._loop.create_task(self._run_async(attempt, bound))
        else:
            attempt.started = True
            context = contextvars.copy_context()
            self._threads.run(lambda: context.run(self._run_in_thread, attempt, alone(bound)))

    def begun(self, attempt: Attempt) -> None:
        """Its handler is called now, and its time begins."""
        self._events.emit(Started, attempt.claim.job)
        self._time(attempt)

    async def close(self) -> None:
        """Close the connections of held claims."""
        if self._holds is not None:
            await self._holds.close()

    def unheld(self, attempt: Attempt, finish: Finish) -> None:
        """A held attempt never began, or could not write its own ending."""
        self._ended(attempt, finish)

    def held(
        self, attempt: Attempt, finish: Finish, outcome: Outcome | None, *, raised: bool, dropped: str
    ) -> None:
        """A held attempt has ended, and its transaction with it."""
        if dropped:
            self._events.emit(ResultDropped, attempt.claim.job, dropped)
        if self._is_over(attempt):
            self._finishing.held(attempt, finish, outcome, raised=raised)

    def _start_process(self, attempt: Attempt) -> None:
        self._events.emit(Started, attempt.claim.job)
        attempt.run = run = ProcessRun(
            attempt,
            self._children,
            self._loop,
            timeout=timeout_of(attempt),
            payload_limit=self._endings.payload_limit,
            on_ready=lambda: self._time(attempt),
        )
        attempt.started = True
        self._threads.run(lambda: self._run_in_thread(attempt, run))

    def _time(self, attempt: Attempt) -> None:
        """Its time begins."""
        timeout = timeout_of(attempt)
        if timeout is not None and not attempt.ended:
            attempt.control.deadline = time.monotonic() + timeout
            attempt.timer = self._loop.call_later(timeout, self._time_out, attempt, timeout)

    async def _run_async(self, attempt: Attempt, call: Callable[[], Any]) -> None:
        attempt.started = True
        try:
            result = await call()
        except GeneratorExit:  # the loop is gone, and nobody may await any more
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit and the like are a failed attempt, too
            end_copy(self._process)
            self._raised(attempt, error)
        else:
            end_copy(self._process)
            self._returned(attempt, result)

    def _run_in_thread(self, attempt: Attempt, call: Callable[[], Any]) -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - SystemExit and the like are a failed attempt, too
            self._hand_over(self._raised, attempt, error)
        else:
            self._hand_over(self._returned, attempt, result)

    def _hand_over(self, then: Callable[[Attempt, Any], None], attempt: Attempt, value: Any) -> None:
        try:
            self._returns.call(then, attempt, value)
        except RuntimeError:  # the worker did not wait for this thread, and its loop is closed
            return

    def _time_out(self, attempt: Attempt, timeout: float) -> None:
        if attempt.interrupt(Interruption.TIMEOUT):
            self._events.emit(TimedOut, attempt.claim.job, timeout)

    def _returned(self, attempt: Attempt, result: Any) -> None:
        finish, dropped = self._endings.returned(attempt, result)
        if attempt.control.completing:
            finish = self._endings.rolled_back(attempt)  # unless the row says that it was committed
        elif dropped:
            self._events.emit(ResultDropped, attempt.claim.job, dropped)
        self._ended(attempt, finish)

    def _raised(self, attempt: Attempt, error: BaseException) -> None:
        self._ended(attempt, self._endings.raised(attempt, error), raised=True)

    def _ended(self, attempt: Attempt, finish: Finish, *, raised: bool = False) -> None:
        if self._is_over(attempt):
            self._finishing.add(attempt, finish, raised=raised)

    def _is_over(self, attempt: Attempt) -> bool:
        """It has ended; False when it was given up before, and its lease is written off already."""
        if attempt.timer is not None:
            attempt.timer.cancel()
        if attempt.run is not None:
            attempt.run.ended()
        self._slots.give(attempt.claim.job.queue)
        if attempt.ended:
            return False
        attempt.ended = True
        attempt.task = None
        return True
