"""Keeping leases, in threads of their own: a handler that blocks the loop starves nothing here.

Two threads, because one that waits for a database which does not answer cannot watch the clock:

- *renew* extends all claims every ``renew`` seconds, and learns of cancel requests and lost leases;
- *watch* tells a handler that its lease is lost shortly before that ends, when it could not be
  renewed. It counts by the local monotonic clock from before the claim or renewal was sent, so it
  is early rather than late, whatever the clocks of the machines say.

A claim that ``complete_in`` is completing is extended like the others: its row is locked, and the
statement passes over it; should that transaction be rolled back and the handler go on, the lease
is still kept. But it is neither fenced nor called lost, because nobody can take a locked row, and
once it is committed the row is nobody's any more. A held claim is not renewed at all once its row is
locked: the lock keeps it for as long as its process lives.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from rowqueue.core.errors import RowqueueError
from rowqueue.core.values import Outcome
from rowqueue.store import Store
from rowqueue.worker import events as happened
from rowqueue.worker.attempt import Attempt, Held, Interruption
from rowqueue.worker.events import Event, Events
from rowqueue.worker.options import WorkerOptions
from rowqueue.worker.patience import backoff

MARGIN = 0.1
"""The last part of a lease, in which a handler is told that it is lost."""


class Renewal:
    """Renews and watches from ``start`` until ``stop``.

    Args:
        options: the worker's.
        store: a sync store of its own.
        held: what to renew.
        loop: where handlers are told.
        events: who else is told; only used in the loop's thread.
    """

    def __init__(
        self,
        options: WorkerOptions,
        store: Store,
        held: Held,
        loop: asyncio.AbstractEventLoop,
        events: Events,
    ) -> None:
        self._options = options
        self._store = store
        self._held = held
        self._loop = loop
        self._events = events
        self._sending = threading.Lock()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start both threads."""
        for name, target in (("renew", self._renew), ("watch", self._watch)):
            thread = threading.Thread(target=target, name=f"rowqueue-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, timeout: float) -> bool:
        """Stop both and wait for them (seconds); True when they ended and the connection is closed."""
        self._stopped.set()
        ends = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            return False  # it waits for a database that does not answer; a daemon thread holds up nobody
        self._store.close()
        return True

    def leave_out(self, attempt: Attempt) -> None:
        """Renew its lease no more; returns when no renewal is on its way. In any thread but the loop's."""
        attempt.holding = True
        with self._sending:
            pass

    def _renew(self) -> None:
        tries = 0
        pause = self._options.renew
        while not self._stopped.wait(pause):
            try:
                self._extend_all()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may work
                tries += 1
                pause = min(backoff(tries), self._options.renew)
                name = type(error).__name__
                said = f"{name}: {error}" if isinstance(error, RowqueueError) else name
                self._emit(happened.Reconnecting, "renewing leases", said, tries, pause)
            else:
                if tries:
                    self._emit(happened.Reconnected, "renewing leases", tries)
                tries = 0
                pause = self._options.renew

    def _extend_all(self) -> None:
        with self._sending:
            attempts = self._held.renewable()
            if not attempts:
                return
            sent = time.monotonic()
            outcomes = self._store.extend([attempt.claim for attempt in attempts], lease=self._options.lease)
        for attempt, outcome in zip(attempts, outcomes, strict=True):
            if outcome:
                attempt.safe_until = sent + self._options.lease
                if outcome.cancel_requested:
                    self._tell(self._cancel_requested, attempt)
            elif outcome.reason in {"lost", "gone"}:
                self._tell(self._lost, attempt, outcome)
            # Anything else is still under our lease: its ending was written a moment ago.

    def _watch(self) -> None:
        lease = self._options.lease
        while not self._stopped.wait(lease / 40):
            limit = time.monotonic() + lease * MARGIN
            for attempt in self._held.renewable():
                if attempt.safe_until < limit and _is_told_of(attempt):
                    self._tell(self._fence, attempt)

    def _tell(self, tell: Callable[..., None], attempt: Attempt, *values: Any) -> None:
        """Have the loop's thread handle it, and flag a thread's handler at once, should the loop be blocked."""
        if (
            self._call(tell, attempt, *values)
            and not attempt.function.is_async
            and not attempt.control.completing
        ):
            attempt.control.cancel()

    def _emit(self, kind: type[Event], *values: Any) -> None:
        self._call(self._events.emit, kind, *values)

    def _call(self, call: Callable[..., None], *values: Any) -> bool:
        try:
            self._loop.call_soon_threadsafe(call, *values)
        except RuntimeError:  # the loop is closed: the worker has stopped
            return False
        return True

    # in the loop's thread

    def _cancel_requested(self, attempt: Attempt) -> None:
        if attempt.interrupt(Interruption.CANCEL):
            self._events.emit(happened.CancelRequested, attempt.claim.job)

    def _lost(self, attempt: Attempt, outcome: Outcome) -> None:
        if attempt.lose() and not attempt.ended:
            self._events.emit(happened.LeaseLost, attempt.claim.job, outcome.reason)

    def _fence(self, attempt: Attempt) -> None:
        if (
            attempt.safe_until >= time.monotonic() + self._options.lease * MARGIN
            or attempt.control.completing
        ):
            return  # it was renewed, or is being completed, after all
        if attempt.interrupt(Interruption.FENCED):
            self._events.emit(happened.Fenced, attempt.claim.job)


def _is_told_of(attempt: Attempt) -> bool:
    return attempt.why is None and not attempt.ended and not attempt.control.completing
