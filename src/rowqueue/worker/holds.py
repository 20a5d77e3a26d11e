"""Jobs with ``claim="held"``: each runs in the transaction that has its row locked, and ends with it.

The worker claims them as it claims others: committed, counted, with a lease that is renewed while they wait.
``Holder.hold`` then makes the lease short and locks the row. From there on nothing is renewed: nobody rescues a locked
row, and the lock is gone when the process is. How the handler ended is written by that transaction itself; what it
cannot write goes the way of all other endings.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from rowqueue.core.finish import Finish
from rowqueue.core.states import Verb
from rowqueue.core.values import Outcome
from rowqueue.store import AsyncStore, Store
from rowqueue.store.held import Holder
from rowqueue.store.held_async import AsyncHolder
from rowqueue.store.held_transaction import LIMITS, HeldClaim
from rowqueue.worker.attempt import Attempt, Interruption
from rowqueue.worker.endings import Endings, timeout_of
from rowqueue.worker.threads import Threads

AGAIN = 1.0
"""Seconds before a job that could not be held is given back: its database is away, or has no connection left."""

MARGIN = 5.0
"""Seconds between a timeout and the end of the transaction, in which the handler may heed it."""


class Ends(Protocol):
    """Who goes on when a held attempt has begun, and when it has ended; in the loop's thread."""

    def begun(self, attempt: Attempt) -> None:
        """Its row is locked, and its handler is called now."""
        ...

    def unheld(self, attempt: Attempt, finish: Finish) -> None:
        """It never began, or its ending is not written yet."""
        ...

    def held(
        self, attempt: Attempt, finish: Finish, outcome: Outcome | None, *, raised: bool, dropped: str
    ) -> None:
        """It has ended, and its transaction with it.

        Args:
            attempt: which.
            finish: its ending.
            outcome: what the database said to it; None: the connection was lost.
            raised: its handler raised.
            dropped: why its result could not be stored.
        """
        ...


class Hold:
    """One held attempt on its way: how its handler ended, until its transaction has.

    Args:
        attempt: which.
        call: its handler.
        endings: what an end means.
        on_stop: called when it is stopped while it waits for its turn.
    """

    def __init__(
        self, attempt: Attempt, call: Callable[[], Any], endings: Endings, on_stop: Callable[[Hold], None]
    ) -> None:
        self.attempt = attempt
        self.call = call
        self.held: HeldClaim[Any] | None = None
        self.finish: Finish | None = None
        self.raised = False
        self.dropped = ""
        self.over = asyncio.Event()
        self._endings = endings
        self._on_stop = on_stop
        self._error: BaseException | None = None

    # while it waits for its turn: in the loop's thread

    def stop(self, why: Interruption) -> None:  # noqa: ARG002 - the attempt knows
        """It need not wait any longer."""
        self._on_stop(self)

    def ended(self) -> None:
        """Nothing is left of it."""

    # in the handler's thread or task

    def enter(self, held: HeldClaim[Any]) -> None:
        """The row is locked: let the handler have the connection.

        Raises:
            InterruptedError: the worker was told to stop meanwhile.
        """
        attempt = self.attempt
        self.held = held
        held.decide = self._decide
        attempt.control.connection = held.connection
        attempt.abort = held.abort
        if attempt.ended or attempt.why is not None:
            error = InterruptedError("stopped before it began")
            self.fails(error)
            raise error

    def returns(self, result: Any) -> None:
        """Its handler returned."""
        self.finish, self.dropped = self._endings.returned(self.attempt, result)

    def fails(self, error: BaseException) -> None:
        """Its handler raised; decided here, where the traceback is the handler's own."""
        self.finish, self.raised, self._error = self._endings.raised(self.attempt, error), True, error

    def _decide(self, error: BaseException | None) -> Finish:
        if self.finish is None or error is not self._error:  # the commit failed, or it took too long
            assert error is not None
            self.finish, self.dropped = self._endings.raised(self.attempt, error), ""
        return self.finish


class Holds:
    """Runs the held attempts of one table.

    Args:
        store: whose claims, for ``def``.
        async_store: for ``async def``.
        loop: where async handlers run.
        threads: where the others run.
        endings: what an end means.
        turn: on SQLite one runs at a time, of all the worker's tables.
        keep: how many connections are kept.
        leave_out: ends the renewal of an attempt's lease, or it could make a lease long again that was made short.
        ends: who goes on.
    """

    def __init__(
        self,
        store: Store,
        async_store: AsyncStore,
        loop: asyncio.AbstractEventLoop,
        threads: Threads,
        endings: Endings,
        turn: asyncio.Lock,
        keep: int,
        leave_out: Callable[[Attempt], None],
        ends: Ends,
    ) -> None:
        self._single = store.database.name == "sqlite"
        self._longest = LIMITS[store.database.name]
        self._holder = Holder(store, keep)
        self._async_holder = AsyncHolder(async_store, keep)
        self._loop = loop
        self._threads = threads
        self._endings = endings
        self._turn = turn
        self._leave_out = leave_out
        self._ends = ends
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, attempt: Attempt, call: Callable[[], Any]) -> None:
        """Hold its row and call its handler, as soon as that can be."""
        hold = Hold(attempt, call, self._endings, self._stopped)
        if self._single:
            attempt.run = hold
            self._task(self._in_turn(hold))
        else:
            self._run(hold)

    async def close(self) -> None:
        """Close the connections that are not in use; nothing waits for its turn any more."""
        for task in (left := set(self._tasks)):
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=0.1)  # one may refuse to be cancelled
        await asyncio.to_thread(self._holder.close)
        await self._async_holder.close()

    async def _in_turn(self, hold: Hold) -> None:
        async with self._turn:
            if not hold.over.is_set():
                hold.attempt.run = None
                self._run(hold)
                await hold.over.wait()

    def _run(self, hold: Hold) -> None:
        attempt = hold.attempt
        if attempt.function.is_async:
            attempt.task = self._task(self._run_async(hold))
        else:
            attempt.started = True
            context = contextvars.copy_context()
            self._threads.run(lambda: context.run(self._run_in_thread, hold))

    def _run_in_thread(self, hold: Hold) -> None:
        attempt, error = hold.attempt, None
        try:
            locking = partial(self._leave_out, attempt)
            with self._holder.hold(attempt.claim, limit=self._limit(attempt), locking=locking) as held:
                if held is not None:
                    hold.enter(held)
                    self._hand_over(self._ends.begun, attempt)
                    try:
                        hold.returns(hold.call())
                    except BaseException as raised:
                        hold.fails(raised)
                        raise
        except BaseException as caught:  # noqa: BLE001 - it is written already
            error = caught
        self._hand_over(self._over, hold, error)

    async def _run_async(self, hold: Hold) -> None:
        attempt, error = hold.attempt, None
        attempt.started = True
        try:
            locking = partial(self._leave_out, attempt)
            async with self._async_holder.hold(
                attempt.claim, limit=self._limit(attempt), locking=locking
            ) as held:
                if held is not None:
                    hold.enter(held)
                    self._ends.begun(attempt)
                    try:
                        hold.returns(await hold.call())
                    except BaseException as raised:
                        hold.fails(raised)
                        raise
                    finally:
                        attempt.task = None  # nobody may cancel what ends the transaction
        except GeneratorExit:  # the loop is gone, and nobody may await any more
            raise
        except BaseException as caught:  # noqa: BLE001 - it is written already
            error = caught
        self._over(hold, error)

    def _limit(self, attempt: Attempt) -> float:
        timeout = timeout_of(attempt)
        return self._longest if timeout is None else max(self._longest, timeout + MARGIN)

    # in the loop's thread

    def _over(self, hold: Hold, error: BaseException | None) -> None:
        attempt, held = hold.attempt, hold.held
        attempt.abort, attempt.holding = None, False
        hold.over.set()
        if held is None or hold.finish is None:
            self._not_held(attempt, error)
        elif held.apart is not None:
            self._ends.unheld(attempt, held.apart)
        else:
            self._ends.held(attempt, hold.finish, held.outcome, raised=hold.raised, dropped=hold.dropped)

    def _not_held(self, attempt: Attempt, error: BaseException | None) -> None:
        if error is None:
            attempt.lost = True
            self._ends.unheld(attempt, Finish(attempt.claim, Verb.RELEASE))
        elif attempt.why is not None:
            self._ends.unheld(attempt, self._endings.raised(attempt, error))
        else:
            text = f"{type(error).__name__}: {error}"
            logging.getLogger("rowqueue").warning(
                "job %s is not held but given back: %s", attempt.claim.key, text
            )
            back = Finish(attempt.claim, Verb.RELEASE)
            self._loop.call_later(AGAIN, self._ends.unheld, attempt, back)

    def _stopped(self, hold: Hold) -> None:
        hold.over.set()
        hold.attempt.run = None
        self._ends.unheld(hold.attempt, self._endings.raised(hold.attempt, asyncio.CancelledError()))

    def _task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _hand_over(self, then: Callable[..., None], *values: Any) -> None:
        with suppress(RuntimeError):  # the worker did not wait for this thread, and its loop is closed
            self._loop.call_soon_threadsafe(then, *values)
