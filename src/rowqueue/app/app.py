"""The app: a database, and the jobs that run from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar, overload

from rowqueue.app.backfill import Args, Backfill
from rowqueue.app.context import Context
from rowqueue.app.decorator import Decorator, TakesAnything
from rowqueue.app.definition import ClaimMode, define
from rowqueue.app.job import JobFunction
from rowqueue.app.options import Options
from rowqueue.app.registry import Registry
from rowqueue.app.stores import Stores
from rowqueue.app.table_job import BeforeClaim, TableDecorator, TableJob
from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.payload import PAYLOAD_LIMIT
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.values import Seconds
from rowqueue.operations.settings import StoreSettings
from rowqueue.sql.mapping import JobTable
from rowqueue.store import AsyncStore, Store
from rowqueue.store.database import Database

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E")
Listener: TypeAlias = tuple[Callable[[Any], object], tuple[type[Any], ...]]
_TABLE_OPTIONS = ("lease", "retry", "max_attempts", "max_rescues", "max_failures", "payload_limit")


class App:
    """A database and the jobs that run from it.

    Making one checks the options and connects to nothing. It is safe in any thread, and may live
    at the top of a module.

    Args:
        database: a URL (``sqlite:///jobs.db``, ``postgresql://…``) or a SQLAlchemy Engine or AsyncEngine.
        prefix: what every table name begins with.
        schema: the database schema of the tables; None is the connection's own.
        lease: how long a claim lasts without renewal (seconds or timedelta, at least 1 s).
        retry: when a failed job runs again, unless its own ``retry`` says otherwise; None is
            ``RetryPolicy.exponential()``.
        max_attempts: starts before a failure is final, unless the job says otherwise.
        max_rescues: crashes before a job is discarded.
        payload_limit: the longest encoded arguments, meta or result (bytes).
        synchronous: SQLite only: FULL (every acknowledged row survives a power loss) or NORMAL.
        prepared: PostgreSQL only: False behind a pooler that cannot keep prepared statements.
        pool_size: the most connections that each store keeps (PostgreSQL).

    Raises:
        ConfigurationError: an option is wrong, or the database's driver is not installed.

    Example:
        >>> app = App("sqlite:///jobs.db")
        >>> @app.job(queue="mail", kind="send_welcome")
        ... def send_welcome(user_id: int) -> None: ...
        >>> send_welcome.enqueue(user_id=7)  # doctest: +SKIP
    """

    def __init__(
        self,
        database: str | URL | Engine | AsyncEngine,
        *,
        prefix: str = "rowqueue_",
        schema: str | None = None,
        lease: Seconds = 30.0,
        retry: RetryPolicy | None = None,
        max_attempts: int = 25,
        max_rescues: int = 3,
        payload_limit: int = PAYLOAD_LIMIT,
        synchronous: str = "FULL",
        prepared: bool = True,
        pool_size: int = 4,
    ) -> None:
        settings = StoreSettings(
            prefix=prefix,
            schema=schema,
            lease=lease,
            retry=RetryPolicy.exponential() if retry is None else retry,
            max_attempts=max_attempts,
            max_rescues=max_rescues,
            payload_limit=payload_limit,
        )
        source = Database(database, synchronous=synchronous, prepared=prepared)
        self.registry = Registry()
        self.stores = Stores(source, settings, pool_size)
        self._backfills: dict[str, Backfill] = {}
        self._tables: dict[str, Store] = {}
        self._table_jobs: dict[str, TableJob[..., Any]] = {}
        self._listeners: list[Listener] = []

    def __repr__(self) -> str:
        url = self.stores.database.url.render_as_string(hide_password=True)
        return f"<App on {url}, {len(set(self.jobs.values()))} jobs>"

    @property
    def jobs(self) -> Mapping[str, JobFunction[..., Any]]:
        """The jobs by kind and alias, read-only."""
        return self.registry.jobs

    @property
    def store(self) -> Store:
        """The sync store, made when it is first asked for."""
        return self.stores.sync

    @property
    def async_store(self) -> AsyncStore:
        """The async store, made when it is first asked for."""
        return self.stores.asynchronous

    def init(self) -> int:
        """Create the tables or upgrade them; returns the schema's version."""
        return self.store.init()

    def close(self) -> None:
        """Close the sync stores' connections; the next use opens new ones (as after a fork)."""
        for table in self._tables.values():
            table.close()
        self.stores.close()

    async def aclose(self) -> None:
        """Close the connections of all stores."""
        for job in self._table_jobs.values():
            await job.stores.aclose()
        await self.stores.aclose()
        self.close()

    def on(self, callback: Callable[[E], object], *types: type[E]) -> Callable[[E], object]:
        """Call ``callback(event)`` for what happens in every worker of this app in this process.

        A worker takes what was registered before it starts. It calls in its loop's thread, so a callback must be
        quick; one that raises is logged. What happens in other processes is told there, where they import the same
        app; a child that runs a ``process=True`` job tells its worker, not its own copy of the app.

        Args:
            callback: takes the event; for several types, their common base such as ``JobEvent``.
            types: classes of ``rowqueue.worker.events``; their subclasses count, too. None is all.

        Returns:
            The callback.

        Raises:
            ConfigurationError: the callback cannot be called, or a type is no class.

        Example:
            >>> from rowqueue.worker import events
            >>> app.on(lambda event: print(event.job.kind, event.error), events.Failed)  # doctest: +SKIP
        """
        if not callable(callback) or not all(isinstance(each, type) for each in types):
            raise ConfigurationError(
                "app.on takes a function and classes of rowqueue.worker.events: app.on(print, events.Failed)"
            )
        self._listeners.append((callback, types))
        return callback

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """What ``on`` registered so far: each callback with its types."""
        return tuple(self._listeners)

    @overload
    def job(self, function: TakesAnything[P, R], /) -> JobFunction[P, R]: ...
    @overload
    def job(self, function: Callable[Concatenate[Context, P], R], /) -> JobFunction[P, R]: ...
    @overload
    def job(self, function: Callable[P, R], /) -> JobFunction[P, R]: ...
    @overload
    def job(
        self,
        *,
        kind: str | None = None,
        aliases: Sequence[str] = (),
        queue: str = "default",
        priority: int = 2,
        max_attempts: int | None = None,
        timeout: Seconds | None = None,
        retry: RetryPolicy | None = None,
        process: bool = False,
        memory: int | None = None,
        claim: ClaimMode = "leased",
        tags: Sequence[str] = (),
    ) -> Decorator: ...
    @overload
    def job(
        self,
        *,
        table: str,
        timeout: Seconds | None = None,
        retry: RetryPolicy | None = None,
        claim: ClaimMode = "leased",
        before_claim: BeforeClaim | None = None,
    ) -> TableDecorator: ...
    def job(
        self,
        function: Callable[..., Any] | None = None,
        *,
        kind: str | None = None,
        aliases: Sequence[str] = (),
        queue: str = "default",
        priority: int = 2,
        max_attempts: int | None = None,
        timeout: Seconds | None = None,
        retry: RetryPolicy | None = None,
        process: bool = False,
        memory: int | None = None,
        claim: ClaimMode = "leased",
        tags: Sequence[str] = (),
        table: str | None = None,
        before_claim: BeforeClaim | None = None,
        **unknown: object,
    ) -> Any:
        """Make a job of a function, ``def`` or ``async def``: ``@app.job`` or ``@app.job(...)``.

        The function's parameters must be annotated with types that can be stored (JSON types,
        datetime, UUID, Decimal, Enum, bytes, dataclasses, TypedDict, msgspec.Struct, pydantic
        models, and collections of these); without an annotation they take plain JSON data. If the
        first one is annotated ``rowqueue.Context``, the worker gives it the attempt's context.

        Args:
            function: what to decorate.
            kind: its name in the database; None is ``module.function``.
            aliases: older names whose stored jobs it runs, too.
            queue: which workers run it.
            priority: 1 (first) to 4 (last).
            max_attempts: starts before a failure is final; None is the app's.
            timeout: how long one attempt may run (seconds or timedelta).
            retry: when a failed attempt runs again; None is the app's.
            process: run it in a process of its own (``def`` only), which a timeout or a cancel kills.
            memory: how much that process may allocate for it (bytes, Linux); beyond it the handler
                gets a MemoryError, and its process ends.
            claim: ``leased``: its lease is renewed while it runs. ``held``: its row is locked in a transaction, which
                the function works in by ``context.connection``: what it does there and the job's completion commit
                together, so that takes effect exactly once; what it raises undoes it. That takes a connection
                for each such job that runs, for 10 minutes at most (or a longer timeout); on SQLite one runs at a time,
                for 5 seconds, while all others wait who want to write.
            tags: words to find its jobs by.
            table: work the rows of a table of yours, by the name that ``app.table`` gave it: the function takes
                ``(record)`` or ``(context: Context, record)``. Only timeout, retry, claim and before_claim go with it.
            before_claim: asked before each claim from that table (``def``, which must be quick, or ``async
                def``): a function from the table to one more SQLAlchemy condition, None for any row, or False
                to claim nothing this time, as when memory is short.
            unknown: nothing else.

        Raises:
            ConfigurationError: an option is unknown or wrong, the kind is taken, or a parameter's
                values cannot be stored.
        """
        if table is not None:
            plain = (kind, tuple(aliases), queue, priority, max_attempts, process, memory, tuple(tags))
            if unknown or plain != (None, (), "default", 2, None, False, None, ()):
                raise ConfigurationError(
                    "@app.job(table=...) takes timeout, retry, claim and before_claim: what else a row has is in the table, "
                    "and its handlers run in the worker's own process"
                )
            return lambda function: self._add_table_job(table, function, timeout, retry, before_claim, claim)
        if before_claim is not None:
            raise ConfigurationError("before_claim is for tables of yours: name one, @app.job(table=...)")
        if unknown:
            raise ConfigurationError(
                f"@app.job has no option {', '.join(map(repr, unknown))}; there are kind, aliases, queue, priority,"
                " max_attempts, timeout, retry, process, memory, claim, tags (others go to .options() at the enqueue)"
            )
        options = Options(
            queue=queue,
            priority=priority,
            max_attempts=max_attempts,
            timeout=timeout,
            tags=tags or None,
        )

        def decorate(function: Callable[..., Any]) -> JobFunction[..., Any]:
            definition = define(
                function, kind=kind, aliases=aliases, retry=retry, process=process, memory=memory, claim=claim
            )
            job: JobFunction[..., Any] = JobFunction(self.stores, definition, options)
            self.registry.add(job)
            return job

        return decorate if function is None else decorate(function)

    def _add_table_job(
        self,
        name: str,
        function: Callable[..., Any],
        timeout: Seconds | None,
        retry: RetryPolicy | None,
        before_claim: BeforeClaim | None,
        claim: ClaimMode,
    ) -> TableJob[..., Any]:
        if (store := self._tables.get(name)) is None:
            raise ConfigurationError(
                f"there is no table {name!r}: register it first, app.table({name!r}, JobTable(...))"
            )
        if name in self._table_jobs:
            raise ConfigurationError(f"the table {name!r} has a handler already: one table, one handler")
        job: TableJob[..., Any] = TableJob(
            name, store, function, timeout=timeout, retry=retry, before_claim=before_claim, claim=claim
        )
        self._table_jobs[name] = job
        return job

    @property
    def table_jobs(self) -> Mapping[str, TableJob[..., Any]]:
        """The jobs that work tables of yours by the table's name, read-only."""
        return MappingProxyType(self._table_jobs)

    @property
    def tables(self) -> Mapping[str, Store]:
        """The stores over tables of yours by name, read-only."""
        return MappingProxyType(self._tables)

    def table(self, name: str, table: JobTable, **options: Any) -> Store:
        """A store over a table of yours in the app's database, for ``rowqueue doctor --table NAME``, too.

        Unlike the rest of an app it connects at once, because the mapping is checked against the
        columns that are there.

        Args:
            name: what to call it.
            table: the mapping.
            options: lease, retry, max_attempts, max_rescues, max_failures, payload_limit; the app's where left out.

        Raises:
            ConfigurationError: the name is taken, an option is unknown, or the mapping does not fit the table.
            DatabaseUnavailable: it cannot be reached.

        Example:
            >>> uploads = app.table("uploads", JobTable("uploads"), lease=60)  # doctest: +SKIP
        """
        if names.text(name, "the table's name") in self._tables:
            raise ConfigurationError(f"there is a table {name!r} already: give this one another name")
        if unknown := options.keys() - _TABLE_OPTIONS:
            raise ConfigurationError(
                f"app.table has no option {', '.join(map(repr, sorted(unknown)))}; there are {', '.join(_TABLE_OPTIONS)}"
            )
        settings = replace(self.stores.settings, **options)
        made = Store.over(self.stores.database, settings, table=table)
        self._tables[name] = made
        return made

    @property
    def backfills(self) -> Mapping[str, Backfill]:
        """The backfills by name, read-only."""
        return MappingProxyType(self._backfills)

    def backfill(
        self,
        name: str,
        job: JobFunction[..., Any],
        select: Any,
        *,
        destination: str | None = None,
        args: Args | None = None,
        key: str | None = None,
    ) -> Backfill:
        """Register a backfill under a name, for ``rowqueue backfill NAME``; nothing is made before it is run.

        Args:
            name: what to call it.
            job: what each row is to have once.
            select: where the rows come from, a SQLAlchemy Select on the app's database.
            destination: what the jobs are for; None is the name.
            args: from a row to the job's arguments; None passes the row's columns in order.
            key: the name of the column that tells rows apart; None is the first.

        Raises:
            ConfigurationError: the name is taken, or the select cannot be used.

        Example:
            >>> app.backfill("search", index_page, select(items.c.id)).run()  # doctest: +SKIP
        """
        if names.text(name, "the backfill's name") in self._backfills:
            raise ConfigurationError(f"there is a backfill {name!r} already: give this one another name")
        made = Backfill.of(self.stores, job, select, destination or name, args, key)
        self._backfills[name] = made
        return made
