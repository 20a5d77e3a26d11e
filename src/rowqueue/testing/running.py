"""One claimed job from its arguments to its written end, in the caller's own thread or task.

What decides is the worker's own: the arguments are bound by the job, the end is read by ``Endings``, and it
is written by the same fenced statements. What a test has no use for is left out: slots, renewal, events.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rowqueue.app import App
from rowqueue.app.context import ContextControl
from rowqueue.app.stores import Stores
from rowqueue.core.control import Control
from rowqueue.core.errors import RowqueueError
from rowqueue.core.finish import Finish, HandlerTimeout
from rowqueue.core.states import State, Verb
from rowqueue.core.values import Claim, Job
from rowqueue.operations import finish as ending
from rowqueue.operations import operate, reading
from rowqueue.operations.base import Operation
from rowqueue.worker.attempt import Attempt, Interruption
from rowqueue.worker.endings import Endings, timeout_of

T = TypeVar("T")
Ending = Generator[Operation[Any], Any, "Ran"]

UNKNOWN_DELAY = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of one job that was run.

    Attributes:
        job: the row as it stands afterwards.
        error: what its handler raised, or why its attempt failed; None when it completed, or ended by an
            instruction (Retry, Snooze, Skip, Cancel, Discard).
        dropped: why what it returned could not be kept as the result; empty when it could.
    """

    job: Job
    error: BaseException | None = field(default=None)
    dropped: str = ""

    @property
    def state(self) -> State:
        """Where the job stands."""
        return self.job.state


class Runner:
    """Runs claimed jobs of an app.

    Args:
        app: its registered jobs and settings.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        settings = app.stores.settings
        self._endings = Endings(settings.retry, settings.payload_limit)

    def run(self, stores: Stores, claim: Claim) -> Ran:
        """Run one job: ``def`` right here, ``async def`` in a loop of its own."""
        attempt = self._attempt(stores, claim)
        if attempt is None:
            return _drive(self._unknown(claim), stores.sync.run)
        result, error = None, None
        try:
            call = attempt.function.bind(attempt.control.context)
            if attempt.function.is_async:
                result = _in_a_loop(lambda: self._awaited_and_closed(attempt, call))
            else:
                result = self._called(attempt, call)
        except BaseException as caught:  # noqa: BLE001 - as in a worker; what must not be kept is raised below
            error = caught
        return _drive(self._ended(attempt, result, error), stores.sync.run)

    async def run_async(self, stores: Stores, claim: Claim) -> Ran:
        """Run one job: ``async def`` in this loop, ``def`` in a thread."""
        attempt = self._attempt(stores, claim)
        run = stores.asynchronous.run
        if attempt is None:
            return await _drive_async(self._unknown(claim), run)
        result, error = None, None
        try:
            call = attempt.function.bind(attempt.control.context)
            if attempt.function.is_async:
                result = await self._awaited(attempt, call)
            else:
                result = await asyncio.to_thread(self._called, attempt, call)
        except BaseException as caught:  # noqa: BLE001 - as above
            error = caught
        return await _drive_async(self._ended(attempt, result, error), run)

    def _attempt(self, stores: Stores, claim: Claim) -> Attempt | None:
        function = self._app.jobs.get(claim.job.kind)
        return None if function is None else Attempt(claim, function, ContextControl(claim, stores), math.inf)

    # calling

    def _called(self, attempt: Attempt, call: Callable[[], Any]) -> Any:
        timeout = _begin(attempt)
        if timeout is None:
            return call()
        timer = threading.Timer(timeout, attempt.interrupt, [Interruption.TIMEOUT])
        timer.daemon = True
        timer.start()
        try:
            return call()
        finally:
            timer.cancel()
            timer.join()

    async def _awaited(self, attempt: Attempt, call: Callable[[], Any]) -> Any:
        async def handler() -> Any:
            attempt.started = True
            return await call()

        loop = asyncio.get_running_loop()
        timeout = _begin(attempt)
        attempt.task = loop.create_task(handler())
        if timeout is not None:
            attempt.timer = loop.call_later(timeout, attempt.interrupt, Interruption.TIMEOUT)
        try:
            return await attempt.task
        finally:
            if attempt.timer is not None:
                attempt.timer.cancel()

    async def _awaited_and_closed(self, attempt: Attempt, call: Callable[[], Any]) -> Any:
        try:
            return await self._awaited(attempt, call)
        finally:
            if self._app.stores.database.native_async:  # the handler's connections on this loop, which ends
                await self._app.async_store.close()

    # its end, as operations that a sync or an async store runs

    def _ended(self, attempt: Attempt, result: Any, error: BaseException | None) -> Ending:
        claim, dropped = attempt.claim, ""
        if isinstance(error, KeyboardInterrupt | asyncio.CancelledError) and attempt.why is None:
            yield ending.finish([Finish(claim, Verb.RELEASE)])
            raise error
        if error is None:
            finish, dropped = self._endings.returned(attempt, result)
            if attempt.control.completing:
                finish = self._endings.rolled_back(attempt)  # unless the row says that it was committed
        else:
            finish = self._endings.raised(attempt, error)
        attempt.ended = True
        open_ = True
        if attempt.control.completing:
            (standing,) = yield ending.settled([claim])
            open_ = bool(standing) and standing.state is State.RUNNING
        if open_:
            yield ending.finish([finish])
        job = yield reading.get(claim.key)
        failed = open_ and finish.verb in {Verb.FAIL, Verb.DISCARD}
        return Ran(job or claim.job, _failure(attempt, error, finish, failed=failed), dropped)

    def _unknown(self, claim: Claim) -> Ending:
        yield operate.snooze_unknown([claim], UNKNOWN_DELAY)
        job = yield reading.get(claim.key)
        try:
            self._app.registry.get(claim.job.kind)
        except RowqueueError as error:
            return Ran(job or claim.job, error)
        raise AssertionError("unreachable")


def _begin(attempt: Attempt) -> float | None:
    timeout = timeout_of(attempt)
    if timeout is not None:
        attempt.control.deadline = time.monotonic() + timeout
    return timeout


def _failure(
    attempt: Attempt, error: BaseException | None, finish: Finish, *, failed: bool
) -> BaseException | None:
    if isinstance(error, Control):
        return None
    if failed and attempt.why is Interruption.TIMEOUT:
        return HandlerTimeout(f"{attempt.claim.job.kind} ran longer than its timeout")
    if error is None and failed:
        return RowqueueError(finish.error or "the attempt failed")
    return error


def _in_a_loop(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end, in another thread where this one has a running loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(asyncio.run(make()))
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            errors.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=[run], name="rowqueue-testing")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]


def _drive(steps: Ending, run: Callable[[Operation[Any]], Any]) -> Ran:
    answer: Any = None
    try:
        while True:
            answer = run(steps.send(answer))
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


async def _drive_async(steps: Ending, run: Callable[[Operation[Any]], Any]) -> Ran:
    answer: Any = None
    while True:
        try:
            operation = steps.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        answer = await run(operation)
