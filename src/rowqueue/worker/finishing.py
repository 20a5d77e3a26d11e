"""Writing how attempts ended, and what the database says to it.

Two lanes, each with one write at a time. Most endings go straight to the first. An attempt that
called ``complete_in`` goes to the second, because only its row says whether that transaction was
committed: the row is read again, and what is not completed is written then.

A transaction of the handler's that is still open shows the row as running. The failure that is
then written waits for the row's lock, and PostgreSQL decides again when it has it: after a commit
the row is completed and the failure matches nothing (``wrong_state`` under our own lease: done);
after a rollback the failure takes effect. Either way is right, but the wait may be long, which is
why it must not hold up the first lane. (SQLite has no row locks: the write finds the file busy,
as every other write does, and is repeated.)

A held claim's own transaction writes how it ended. Where its connection was lost meanwhile, the second
lane reads the row: it is completed, or a rescue makes it run again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rowqueue.core.errors import FeatureMissing
from rowqueue.core.finish import Finish
from rowqueue.core.states import State, Verb
from rowqueue.core.values import Outcome
from rowqueue.store import AsyncStore
from rowqueue.worker import events as happened
from rowqueue.worker.attempt import Attempt, Held
from rowqueue.worker.events import Events
from rowqueue.worker.lane import Lane
from rowqueue.worker.patience import Patience


@dataclass(slots=True)
class _Ending:
    attempt: Attempt
    finish: Finish
    raised: bool
    cut_off: bool = False


class Finishing:
    """Collects endings and writes them.

    Args:
        store: where.
        held: the attempts whose leases are kept until their ending is written.
        patience: waits for a database that is away.
        events: who is told.
        on_written: called after each batch, with the shortest delay (seconds) until a job of it is
            to run again, or None.
    """

    def __init__(
        self,
        store: AsyncStore,
        held: Held,
        patience: Patience,
        events: Events,
        on_written: Callable[[float | None], None],
    ) -> None:
        self._store = store
        self._held = held
        self._patience = patience
        self._events = events
        self._again: float | None = None

        self._on_written = on_written
        self._plain = Lane(self._write, self._tell)
        self._settling = Lane(self._settle, self._tell)

    def add(self, attempt: Attempt, finish: Finish, *, raised: bool) -> None:
        """An attempt ended.

        Args:
            attempt: which.
            finish: the write that ends its claim.
            raised: its handler raised.
        """
        lane = self._settling if attempt.control.completing else self._plain
        lane.add(_Ending(attempt, finish, raised))

    def held(self, attempt: Attempt, finish: Finish, outcome: Outcome | None, *, raised: bool) -> None:
        """A held attempt ended, and its transaction with it.

        Args:
            attempt: which.
            finish: what was written there.
            outcome: the database's answer; None: the connection was lost, and with it all that was not committed.
            raised: its handler raised.
        """
        if outcome is None:
            self._settling.add(_Ending(attempt, finish, raised, cut_off=True))
            return
        self._answered(_Ending(attempt, finish, raised), outcome)
        self._held.drop([attempt])
        self._tell()

    def _tell(self) -> None:
        again, self._again = self._again, None
        self._on_written(again)

    def __len__(self) -> int:
        """How many endings are not written yet."""
        return len(self._plain) + len(self._settling)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What must run for ever."""
        return [self._plain.run(), self._settling.run()]

    async def _write(self, endings: list[_Ending]) -> None:
        for stale in [ending for ending in endings if ending.attempt.lost]:
            self._refused(stale.attempt, Outcome(stale.attempt.claim.key, "lost"))
            endings.remove(stale)
        outcomes = await self._outcomes([ending.finish for ending in endings])
        completed = []
        for ending, outcome in zip(endings, outcomes, strict=True):
            if outcome.reason is None and ending.finish.verb is Verb.COMPLETE:  # as mostly
                completed.append(ending.finish.claim.job)
            else:
                self._answered(ending, outcome)
        self._events.emit_each(happened.Completed, completed, State.COMPLETED)
        self._held.drop(ending.attempt for ending in endings)

    async def _settle(self, endings: list[_Ending]) -> None:
        claims = [ending.attempt.claim for ending in endings]
        standing = await self._patience.ask(
            "reading what became of jobs", lambda: self._store.settled(claims)
        )
        open_ = []
        for ending, outcome in zip(endings, standing, strict=True):
            if outcome and outcome.state is State.RUNNING:
                if ending.cut_off:
                    self._events.emit(happened.CutOff, ending.attempt.claim.job)
                else:
                    open_.append(ending)
            elif outcome:
                self._done(ending, outcome)
            else:
                self._refused(ending.attempt, outcome)
        if open_:
            await self._write(open_)
        self._held.drop(ending.attempt for ending in endings)

    async def _outcomes(self, finishes: Sequence[Finish]) -> list[Outcome]:
        """Write a batch, for as long as it takes; what the database refuses to store is written without it."""
        while True:
            try:
                return await self._written(finishes)
            except Exception as error:
                if len(finishes) > 1:
                    return [outcome for finish in finishes for outcome in await self._outcomes([finish])]
                bare = _bare(finishes[0])
                if isinstance(error, FeatureMissing) and finishes[0].verb is not Verb.COMPLETE:
                    bare = _without(finishes[0], error)
                if bare == finishes[0]:
                    logging.getLogger("rowqueue").exception(
                        "the end of job %s cannot be written", bare.claim.key
                    )
                    self._events.emit(happened.Unwritable, bare.claim.job)
                    return [Outcome(bare.claim.key, "wrong_state", State.RUNNING, bare.claim.lease)]
                if not isinstance(error, FeatureMissing):
                    self._events.emit(happened.ResultDropped, bare.claim.job, type(error).__name__)
                finishes = [bare]

    async def _written(self, finishes: Sequence[Finish]) -> list[Outcome]:
        return await self._patience.ask("finishing jobs", lambda: self._store.finish(finishes), raises=True)

    def _answered(self, ending: _Ending, outcome: Outcome) -> None:
        if outcome.done:
            self._done(ending, outcome)
        elif outcome.reason == "wrong_state" and outcome.lease == ending.finish.claim.lease:
            # The row keeps the lease that finished it: it was an earlier try of ours whose reply
            # was lost, or the handler's complete_in.
            if outcome.state is not State.RUNNING:
                self._done(ending, outcome)
        else:
            self._refused(ending.attempt, outcome)

    def _done(self, ending: _Ending, outcome: Outcome) -> None:
        finish, state = ending.finish, outcome.state
        assert state is not None
        job = finish.claim.job
        if state is State.COMPLETED and finish.verb is not Verb.COMPLETE:  # by complete_in
            self._events.emit(happened.Completed, job, state)
            if ending.raised:
                self._events.emit(happened.RanOn, job, finish.error or finish.verb.value)
            return
        kind = _EVENTS[finish.verb]
        match finish.verb:
            case Verb.FAIL:
                self._events.emit(kind, job, state, finish.error, finish.delay)
            case Verb.SNOOZE:
                self._events.emit(kind, job, state, finish.delay)
            case _:
                self._events.emit(kind, job, state)
        if not state.is_final:
            self._again = finish.delay if self._again is None else min(self._again, finish.delay)

    def _refused(self, attempt: Attempt, outcome: Outcome) -> None:
        self._events.emit(happened.Refused, attempt.claim.job, outcome.reason)
        self._held.drop([attempt])


_EVENTS: dict[Verb, type[happened.Event]] = {
    Verb.COMPLETE: happened.Completed,
    Verb.FAIL: happened.Failed,
    Verb.SNOOZE: happened.Snoozed,
    Verb.RELEASE: happened.Released,
    Verb.SKIP: happened.Skipped,
    Verb.CANCEL: happened.Cancelled,
    Verb.DISCARD: happened.Discarded,
}


def _bare(finish: Finish) -> Finish:
    """The same ending with nothing in it that a handler could have made up."""
    error = None if finish.error is None else "its error could not be stored"
    return replace(finish, result=None, error=error, trace="")


def _without(finish: Finish, error: FeatureMissing) -> Finish:
    """The nearest ending on a table that has no such state, or cannot wait: it says so in its error."""
    said = f"{finish.error or finish.verb.value}: {error}"
    if finish.verb in {Verb.SNOOZE, Verb.FAIL} and finish.state is not State.DISCARDED:
        job = finish.claim.job
        state = State.DISCARDED if job.attempt >= job.max_attempts else State.AVAILABLE
    else:
        state = State.DISCARDED
    if finish.verb is Verb.FAIL and finish.state is state and not finish.delay:
        return finish
    return Finish(finish.claim, Verb.FAIL, state=state, error=said, trace=finish.trace)
