"""A function that is also a job."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial, update_wrapper
from typing import Any, Generic, Never, ParamSpec, TypeVar, overload

from rowqueue.app.arguments import Arguments
from rowqueue.app.backfill import Args, Backfill
from rowqueue.app.bound import AsyncBound, Batch, Bound
from rowqueue.app.connections import AsyncConnection, SyncConnection
from rowqueue.app.context import Context, direct
from rowqueue.app.definition import Definition
from rowqueue.app.options import Options, refuse_unknown
from rowqueue.app.stores import Stores
from rowqueue.core.backfill import Backfilled
from rowqueue.core.errors import InvalidArguments
from rowqueue.core.quick import maker, undisturbed
from rowqueue.core.states import State
from rowqueue.core.values import Enqueued, Job, Json, NewJob, Seconds, seconds_of
from rowqueue.operations.enqueue import Alike
from rowqueue.store.borrowed import AsyncBoundStore

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
_make_new_job = maker(NewJob)


class JobFunction(Generic[P, R_co]):
    """What ``@app.job`` makes of a function: still callable, and enqueued by its verbs.

    Everywhere the arguments are the function's own, without the context. They are stored by
    name, checked against the annotations first; defaults are not stored, so that changing one
    changes it for waiting jobs, too. Options have a place of their own, ``options``, and never
    collide with arguments.

    Attributes:
        kind: its name in the database.
        aliases: names that it had before.
        timeout: how long one attempt may run (seconds); None: as long as it takes.
        retry: its retry policy; None leaves it to the app.
        process: it runs in a process of its own.
        memory: how much its process may allocate for one attempt (bytes); None: as much as there is.
        held: it works in the transaction that locks its row.
        is_async: it runs in the worker's event loop, and is awaited.
        takes_context: its first parameter is the Context.

    Example:
        >>> send_welcome.enqueue(user_id=7)  # doctest: +SKIP
        >>> send_welcome.options(delay=60).enqueue(7)  # doctest: +SKIP
    """

    __name__: str
    __qualname__: str

    def __init__(self, stores: Stores, definition: Definition, options: Options) -> None:
        update_wrapper(self, definition.function, updated=())
        self.__signature__ = definition.signature.public
        self._stores = stores
        self._definition = definition
        self._options = options
        self._encode = definition.signature.encode
        self._fields = options.given()
        self.kind = definition.kind
        self.aliases = definition.aliases
        # Plain attributes: a worker asks for most of them at every job.
        self.timeout = None if options.timeout is None else seconds_of(options.timeout, "timeout")
        self.retry = definition.retry
        self.process = definition.process
        self.memory = definition.memory
        self.held = definition.held
        self.is_async = definition.is_async
        self.takes_context = definition.signature.takes_context
        self._decode = definition.signature.decode

    def __repr__(self) -> str:
        return f"<job {self.kind}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function here and now, without queue or worker.

        A context is made up where the function takes one: its log and progress go nowhere.
        For another context call ``.function``.
        """
        if self.takes_context:
            return self.function(direct(self.kind, self.queue), *args, **kwargs)  # type: ignore[no-any-return]
        return self.function(*args, **kwargs)  # type: ignore[no-any-return]

    # how a worker runs it

    @property
    def function(self) -> Callable[..., Any]:
        """What was decorated; takes the context, too, if it has one."""
        return self._definition.function

    @property
    def queue(self) -> str:
        """Where it is enqueued."""
        return self._options.queue or "default"

    def decode(self, job: Job) -> tuple[list[Any], dict[str, Any]]:
        """A stored job's arguments, positional and by name, without the context.

        Raises:
            InvalidArguments: they do not fit the function, which has changed since the enqueue.
        """
        return self._decode(job.args)

    def bind(self, context: Context) -> Callable[[], Any]:
        """The call that runs a claimed job, ready to be made (in a thread, or in the loop).

        Raises:
            InvalidArguments: its arguments do not fit the function, which has changed since the enqueue.
        """
        args, kwargs = self._decode(context.job.args)
        function = self._definition.function
        if self.takes_context:
            return partial(function, context, *args, **kwargs)
        return partial(function, *args, **kwargs)

    # enqueue

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Enqueued:
        """Enqueue it, in a short transaction of its own.

        Returns:
            The row, and whether it is new (False: the unique key was taken, this is its row).

        Raises:
            InvalidArguments: the arguments do not fit the function's annotations, or cannot be stored.
        """
        return self._stores.sync.enqueue(self._new_job(*args, **kwargs))

    async def enqueue_async(self, *args: P.args, **kwargs: P.kwargs) -> Enqueued:
        """``enqueue``, awaited."""
        return await self._stores.asynchronous.enqueue(self._new_job(*args, **kwargs))

    def enqueue_many(self, batch: Batch) -> list[Enqueued]:
        """Enqueue it once for each element, all or none, in one transaction.

        Args:
            batch: each element is ``job.args(...)``, or a tuple of positional arguments.

        Returns:
            One answer for each element, in the order given.

        Example:
            >>> send_welcome.enqueue_many([send_welcome.args(1), (2,), (3,)])  # doctest: +SKIP
        """
        return self._stores.sync.enqueue_many(self._new_jobs(batch))

    async def enqueue_many_async(self, batch: Batch) -> list[Enqueued]:
        """``enqueue_many``, awaited."""
        return await self._stores.asynchronous.enqueue_many(self._new_jobs(batch))

    @overload
    def on(self, connection: SyncConnection) -> Bound[P]: ...
    @overload
    def on(self, connection: AsyncConnection) -> AsyncBound[P]: ...
    def on(self, connection: Any) -> Bound[P] | AsyncBound[P]:
        """Enqueue in your own transaction: the job exists exactly when that commits.

        Args:
            connection: a SQLAlchemy Session, Connection, AsyncSession or AsyncConnection, or a
                connection of psycopg (sync or async), asyncpg or sqlite3, to the app's database.

        Returns:
            The enqueuing verbs; to be awaited where the connection is async.

        Raises:
            ConfigurationError: not such a connection, or to another kind of database.
        """
        bound = self._stores.sync.on(connection)
        if isinstance(bound, AsyncBoundStore):
            return AsyncBound(bound, self._new_job, self._new_jobs)
        return Bound(bound, self._new_job, self._new_jobs)

    def backfill(
        self,
        select: Any,
        *,
        destination: str,
        args: Args | None = None,
        key: str | None = None,
        limit: int | None = None,
        follow: bool = False,
        **options: Any,
    ) -> Backfilled:
        """Make a job for every row of a source that never had one for this destination.

        Run it in as many processes as you like, and again whenever rows were added.

        Args:
            select: a SQLAlchemy Select on the app's database; no LIMIT.
            destination: what the jobs are for: a row has one job for each destination, for ever.
            args: from a row to the job's arguments (``args(...)``, a tuple, or a dict by name); None
                passes the row's columns in order.
            key: the name of the column that tells rows apart (an integer, text or a UUID); None is the first.
            limit: the most jobs to make in this call.
            follow: keep up with new rows.
            options: those of ``Backfill.run``: batch, lease, poll, rescan, progress, stop.

        Returns:
            How many jobs were made, and whether all are queued, others hold the rest, or there may be more.

        Example:
            >>> index_page.backfill(select(items.c.id), destination="search")  # doctest: +SKIP
            Backfilled(created=500, rest=<Rest.ALL_QUEUED: 'all_queued'>)
        """
        backfill = Backfill.of(self._stores, self, select, destination, args, key)
        return backfill.run(limit=limit, follow=follow, **options)

    async def backfill_async(
        self,
        select: Any,
        *,
        destination: str,
        args: Args | None = None,
        key: str | None = None,
        limit: int | None = None,
        follow: bool = False,
        **options: Any,
    ) -> Backfilled:
        """``backfill``, awaited."""
        backfill = Backfill.of(self._stores, self, select, destination, args, key)
        return await backfill.run_async(limit=limit, follow=follow, **options)

    def args(self, *args: P.args, **kwargs: P.kwargs) -> Arguments:
        """Arguments for ``enqueue_many``, checked and encoded now.

        Raises:
            InvalidArguments: they do not fit the function's annotations, or cannot be stored.
        """
        return Arguments(self.kind, self._encode(args, kwargs))

    def options(
        self,
        *,
        delay: Seconds | None = None,
        at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        unique_key: str | None = None,
        unique_states: Collection[State] | None = None,
        max_attempts: int | None = None,
        timeout: Seconds | None = None,
        tags: Sequence[str] | None = None,
        correlation_id: str | None = None,
        correlation_group: str | None = None,
        meta: Mapping[str, Json] | None = None,
        pending: bool | None = None,
        **unknown: Never,
    ) -> JobFunction[P, R_co]:
        """The same job with other options; None leaves one as it was, and later ones win.

        Args:
            delay: run it no sooner than this after the enqueue (seconds or timedelta).
            at: run it no sooner than this aware datetime; not together with ``delay``.
            priority: 1 (first) to 4 (last).
            queue: which workers run it.
            unique_key: at most one unfinished job may have this key.
            unique_states: final states in which the key stays taken, too, such as ``{State.COMPLETED}``.
            max_attempts: starts before a failure is final.
            timeout: how long one attempt may run (seconds or timedelta).
            tags: words to find it by.
            correlation_id: an id that it shares with what caused it.
            correlation_group: a wider group, for listing.
            meta: anything JSON can hold, for people and tools; the function does not get it.
            pending: park it until ``store.promote`` is called for it.
            unknown: nothing else.

        Raises:
            ConfigurationError: an option is unknown, or its value is wrong.
        """
        refuse_unknown(unknown)
        later = Options(
            delay=delay,
            at=at,
            priority=priority,
            queue=queue,
            unique_key=unique_key,
            unique_states=unique_states,
            max_attempts=max_attempts,
            timeout=timeout,
            tags=tags,
            correlation_id=correlation_id,
            correlation_group=correlation_group,
            meta=meta,
            pending=pending,
        )
        return JobFunction(self._stores, self._definition, self._options.then(later))

    def new_job(self, arguments: Arguments) -> NewJob:
        """The row to be, for a store's own ``enqueue``.

        Raises:
            InvalidArguments: the arguments are another job's.
        """
        return _make_new_job(kind=self.kind, args=self._own(arguments, 0), **self._fields)

    def _own(self, arguments: Any, index: int) -> dict[str, Json]:
        if not isinstance(arguments, Arguments):
            raise InvalidArguments(
                f"element {index} for {self.kind} is a {type(arguments).__name__}: pass its own args(...) or"
                " a tuple of its arguments, such as (1,)"
            )
        if arguments.kind != self.kind:
            raise InvalidArguments(
                f"{self.kind} got arguments of {arguments.kind}: make them with its own args(...)"
            )
        return arguments.values

    def _new_job(self, *args: P.args, **kwargs: P.kwargs) -> NewJob:
        return _make_new_job(kind=self.kind, args=self._encode(args, kwargs), **self._fields)

    def _new_jobs(self, batch: Batch) -> Alike:
        encode, none = self._encode, dict[str, Any]()
        with undisturbed():
            arguments = [
                encode(element, none) if isinstance(element, tuple) else self._own(element, index)
                for index, element in enumerate(batch)
            ]
        return Alike(NewJob(kind=self.kind, **self._fields), arguments)
