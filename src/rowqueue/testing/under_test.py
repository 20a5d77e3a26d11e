"""An app under test: ``with harness(app) as jobs``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from datetime import timedelta
from typing import Any, Literal

from rowqueue.app import App
from rowqueue.app.connections import SyncConnection
from rowqueue.app.job import JobFunction
from rowqueue.app.stores import Stores
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import State
from rowqueue.core.values import Claim, Enqueued, Job, Seconds
from rowqueue.store import AsyncStore, Store
from rowqueue.store.borrowed import AsyncBoundStore, BoundStore
from rowqueue.testing.clock import travel
from rowqueue.testing.found import Target, Wanted, listed
from rowqueue.testing.running import Ran, Runner
from rowqueue.testing.standins import Joined

Mode = Literal["inline", "drain"]

LEASE = timedelta(hours=1)
"""How long a test holds a job: nobody renews its lease, and a debugger may stop in it."""

WORKER = "rowqueue.testing"


@contextmanager
def harness(app: App, mode: Mode = "drain", *, raises: bool = True) -> Iterator[Harness]:
    """Test code that enqueues jobs of an app, without a worker.

    Args:
        app: whose jobs; its tables must be there (``app.init()``).
        mode: ``drain``: jobs wait in the database until ``drain()``. ``inline``: one that is due runs right
            when it is enqueued; others (delayed, pending, to be retried) wait for ``drain()``. A job that is
            enqueued ``on(connection)`` runs in that connection's transaction: rolled back, it never was.
        raises: what a handler raises is raised to the test, too, once it is written. False leaves it to the
            row and to ``Ran.error``, as a worker does.

    Raises:
        ConfigurationError: the app is under test already, or there is no such mode.
        SchemaError: the tables are missing, too old or too new.

    Example:
        >>> with harness(app) as jobs:  # doctest: +SKIP
        ...     sign_up("ada@example.com")
        ...     jobs.assert_enqueued(send_welcome, user_id=1, queue="mail")
        ...     jobs.drain()
    """
    if mode not in {"inline", "drain"}:
        raise ConfigurationError(f"mode must be 'inline' or 'drain', not {mode!r}")
    if app.stores.interceptor is not None:
        raise ConfigurationError("this app is under test already: end the other harness first")
    started = Harness(app, inline=mode == "inline", raises=raises)
    app.stores.interceptor = started
    try:
        yield started
    finally:
        app.stores.interceptor = None


class Harness:
    """What a test does with an app's jobs; ``harness(app)`` makes one.

    Only jobs that were enqueued since it began are seen by the assertions; ``drain`` runs whatever is due.
    """

    def __init__(self, app: App, *, inline: bool, raises: bool) -> None:
        self._app = app
        self._inline = inline
        self._raises = raises
        self._runner = Runner(app)
        self._inside: ContextVar[Joined | None] = ContextVar("rowqueue_testing", default=None)
        self._plain = app.store, app.async_store
        self._joined = self._here = Joined(app.stores, self._plain, self, None)
        newest = self._plain[0].list(limit=1, newest_first=True).jobs
        self._mark: int = newest[0].id if newest else 0

    def __repr__(self) -> str:
        return f"<harness of {self._app!r}>"

    def on(self, connection: SyncConnection) -> Harness:
        """The same in a transaction of yours: sees what it has not committed, and is rolled back with it.

        Args:
            connection: a sync one that a job's ``on`` takes, such as a Session; the answer is good until its
                transaction ends.

        Example:
            >>> jobs.on(session).assert_enqueued(send_welcome, 7)  # doctest: +SKIP
        """
        bound = self._plain[0].on(connection)
        if isinstance(bound, AsyncBoundStore):
            raise ConfigurationError(
                "harness.on takes a sync connection: commit, and look without on(connection)"
            )
        other = copy(self)
        other._here = Joined(self._app.stores, self._plain, self, bound)  # noqa: SLF001 - its own class
        return other

    # looking

    def all_enqueued(
        self,
        job: JobFunction[..., Any] | None = None,
        *,
        queue: str | None = None,
        state: State | None = None,
    ) -> list[Job]:
        """The jobs that were enqueued since the test began, as they stand now, oldest first.

        Args:
            job: only jobs of this kind.
            queue: only from this queue.
            state: only those in this state; None is any, done or not.
        """
        kind = None if job is None else job.kind
        found: list[Job] = []
        after: str | None = None
        while True:
            page = self._here.sync.list(
                kind=kind, queue=queue, state=state, limit=500, newest_first=True, after=after
            )
            new = [each for each in page.jobs if each.id > self._mark]
            found += new
            after = page.next
            if after is None or len(new) < len(page.jobs):
                return found[::-1]

    def assert_enqueued(
        self, job: Target, /, *args: Any, queue: str | None = None, count: int | None = None, **kwargs: Any
    ) -> list[Job]:
        """Fail unless such a job was enqueued.

        Args:
            job: the job, or ``job.args(...)`` where its own parameters are called queue or count.
            args: its arguments; none given means any. What is not given (a default) may be anything.
            queue: in which queue it must be.
            count: how many there must be; None is one or more.
            kwargs: its arguments by name.

        Returns:
            The jobs that were meant, oldest first.

        Raises:
            AssertionError: there are none, or not so many; it lists what was enqueued instead.
        """
        wanted = Wanted.of(job, args, kwargs, queue)
        everything = self.all_enqueued()
        found = wanted.among(everything)
        if count is None and not found:
            raise AssertionError(f"{wanted} was not enqueued, but:\n{listed(everything)}")
        if count is not None and len(found) != count:
            raise AssertionError(
                f"{wanted} was enqueued {len(found)} times, not {count}, among:\n{listed(everything)}"
            )
        return found

    def refute_enqueued(self, job: Target, /, *args: Any, queue: str | None = None, **kwargs: Any) -> None:
        """Fail if such a job was enqueued; the arguments mean what they do in ``assert_enqueued``.

        Raises:
            AssertionError: there is one, whatever became of it.
        """
        wanted = Wanted.of(job, args, kwargs, queue)
        if found := wanted.among(self.all_enqueued()):
            raise AssertionError(f"{wanted} was enqueued:\n{listed(found)}")

    # the clock

    def travel(self, time: Seconds) -> None:
        """Let time pass: what the tables say was, or will be, is so much earlier now.

        Args:
            time: how far (seconds or timedelta); only forward.
        """
        self._here.sync.run(travel(time))

    # running

    def drain(self, *, queues: Sequence[str] | None = None, limit: int = 1000) -> list[Ran]:
        """Run everything that is due, and what becomes due by that, one after the other.

        Args:
            queues: only jobs of these queues; None is every queue that is not paused.
            limit: how many may run, so that jobs which enqueue each other for ever end.

        Returns:
            What ran, in order.

        Raises:
            ConfigurationError: the limit was reached with jobs left.
        """
        ran: list[Ran] = []
        while claims := self._next(self._here.sync, queues):
            self._check(ran, limit, claims)
            ran += [self._run(self._here, claim) for claim in claims]
        return ran

    async def drain_async(self, *, queues: Sequence[str] | None = None, limit: int = 1000) -> list[Ran]:
        """``drain``, awaited: ``async def`` jobs run in this loop."""
        ran: list[Ran] = []
        while claims := self._next(self._here.sync, queues):
            self._check(ran, limit, claims)
            ran += [await self._run_async(self._here, claim) for claim in claims]
        return ran

    def _next(self, store: Store, queues: Sequence[str] | None) -> list[Claim]:
        store.rescue()
        store.promote_due()
        return store.claim(1, queues=queues, lease=LEASE, worker=WORKER)

    def _check(self, ran: list[Ran], limit: int, claims: list[Claim]) -> None:
        if len(ran) >= limit:
            self._here.sync.release_many(claims)
            raise ConfigurationError(
                f"{limit} jobs ran and there are more: does a job enqueue itself? Else give drain a higher limit"
            )

    def _run(self, stores: Joined, claim: Claim) -> Ran:
        token = self._inside.set(stores if stores.bound is not None else None)
        try:
            return self._answer(self._runner.run(self._given(stores), claim))
        finally:
            self._inside.reset(token)

    async def _run_async(self, stores: Joined, claim: Claim) -> Ran:
        token = self._inside.set(stores if stores.bound is not None else None)
        try:
            return self._answer(await self._runner.run_async(self._given(stores), claim))
        finally:
            self._inside.reset(token)

    def _given(self, stores: Joined) -> Stores:
        return self._app.stores if stores.bound is None else stores

    def _answer(self, ran: Ran) -> Ran:
        if self._raises and ran.error is not None:
            raise ran.error
        return ran

    # what the stand-ins ask

    def sync(self, store: Store) -> Store:
        """What takes the app's sync store's place."""
        return self._current(0, store).sync

    def asynchronous(self, store: AsyncStore) -> AsyncStore:
        """What takes the app's async store's place."""
        return self._current(1, store).asynchronous

    def _current(self, which: int, store: Store | AsyncStore) -> Joined:
        inside = self._inside.get()
        if inside is not None:
            return inside
        if self._plain[which] is not store:  # the app was closed, and opened again
            sync, asynchronous = self._plain
            if isinstance(store, AsyncStore):
                asynchronous = store
            else:
                sync = store
            self._plain = sync, asynchronous
            self._joined = Joined(self._app.stores, self._plain, self, None)
        return self._joined

    def join(self, bound: BoundStore | AsyncBoundStore) -> Joined:
        """Stores in the transaction of a caller's connection."""
        return Joined(self._app.stores, self._plain, self, bound)

    def enqueued(self, stores: Stores, made: list[Enqueued]) -> list[Enqueued]:
        """Run what is due of it, inline."""
        return [self._at_once(stores, each) for each in made] if self._inline else made

    async def enqueued_async(self, stores: Stores, made: list[Enqueued]) -> list[Enqueued]:
        """Run what is due of it, inline."""
        return [await self._at_once_async(stores, each) for each in made] if self._inline else made

    def _at_once(self, stores: Stores, made: Enqueued) -> Enqueued:
        assert isinstance(stores, Joined)
        claims = _claim_of(stores.sync, made)
        return Enqueued(self._run(stores, claims[0]).job, inserted=True) if claims else made

    async def _at_once_async(self, stores: Stores, made: Enqueued) -> Enqueued:
        assert isinstance(stores, Joined)
        claims = await _claim_of_async(stores.asynchronous, made)
        return Enqueued((await self._run_async(stores, claims[0])).job, inserted=True) if claims else made


def _claim_of(store: Store, made: Enqueued) -> list[Claim]:
    job = made.job
    if not made.inserted or job.state is not State.AVAILABLE:
        return []
    return store.claim(1, queues=[job.queue], where=lambda t: t.c.id == job.id, lease=LEASE, worker=WORKER)


async def _claim_of_async(store: AsyncStore, made: Enqueued) -> list[Claim]:
    job = made.job
    if not made.inserted or job.state is not State.AVAILABLE:
        return []
    return await store.claim(
        1, queues=[job.queue], where=lambda t: t.c.id == job.id, lease=LEASE, worker=WORKER
    )
