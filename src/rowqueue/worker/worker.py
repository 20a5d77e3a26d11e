"""The worker: its parts put together, its start and its stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from rowqueue.app import App
from rowqueue.app.definition import ClaimMode
from rowqueue.app.table_job import BeforeClaim, TableJob
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.values import Seconds
from rowqueue.store import Store
from rowqueue.worker.app_path import find_app_path
from rowqueue.worker.child import started_by_worker
from rowqueue.worker.collector import calm_collector
from rowqueue.worker.events import Callback, Event, Events
from rowqueue.worker.logs import log_to
from rowqueue.worker.options import DEFAULT_CONCURRENCY, WorkerOptions, checked_options
from rowqueue.worker.runtime import UNWIND, Runtime
from rowqueue.worker.signals import stop_on_signals
from rowqueue.worker.tables import check_held, chosen_tables, options_of


class Worker:
    """Claims and runs an app's jobs, or the rows of a store over a table of yours, in one process.

    ``async def`` jobs run in one event loop, ``def`` jobs in threads, those with
    ``process=True`` in children, one each, which are kept for the next jobs. It keeps four connections
    to the database (three without ``listen``), whatever the concurrency (handlers' own are counted
    apart), and waits for a database that goes away. Each table of yours (``@app.job(table=...)``) has
    slots, leases and three connections of its own, and is polled on PostgreSQL.

    Args:
        app: its registered jobs, and its database; or a ``Store`` over a table of yours.
        handler: with a store: takes its records, ``(record)`` or ``(context: Context, record)``.
        queues: queues with the most jobs of each that run at once, or only their names; None is
            every queue that a registered job names.
        tables: tables with the most rows of each that are worked at once, or only their names; None is
            every table with a handler.
        concurrency: the most jobs of all queues that run at once; None is 10, or the sum of the queues'
            numbers. A table without a number has as many for itself.
        lease: how long a claim lasts without renewal (seconds or timedelta); None is the
            app's, and each table's own.
        renew: how often leases are renewed (seconds or timedelta); None is a third of the lease.
        poll: how often the database is asked when nothing wakes the worker (seconds or timedelta).
        grace: how long handlers may go on after a stop was asked for (seconds or timedelta).
        worker_id: who it is in the database; None is host, process and a random part.
        drain: stop when nothing is available or due in its queues and nothing runs here. Jobs that
            are due later, retries among them, are not waited for.
        listen: let the database wake it, besides the poll: on PostgreSQL one more connection, which
            listens; on SQLite the file is watched. Say False behind a pooler that lends connections for one
            transaction (PgBouncer); a store with ``prepared=False`` does not listen anyway.
        prefetch: how many jobs (of each table so many rows) may be claimed before a slot is free for
            them. They start sooner, but wait here while another worker may be free, and a crash
            charges them an attempt.
        app_path: ``module:name`` by which a child process imports the app, for jobs with
            ``process=True``; None finds it when the app stands at the top of a module.
        timeout: with a store: how long one attempt may run (seconds or timedelta).
        claim: with a store: ``leased`` or ``held``, see ``App.job``.
        before_claim: with a store: asked before each claim, see ``App.job``.

    Raises:
        ConfigurationError: an option is wrong, there is no queue to work, or a job has
            ``process=True`` and no child could import the app.

    Example:
        >>> Worker(app, queues={"mail": 20, "reports": 2}).run()  # doctest: +SKIP
        >>> Worker(uploads, lambda upload: convert(upload), concurrency=4).run()  # doctest: +SKIP
    """

    @overload
    def __init__(
        self,
        app: App,
        *,
        queues: Mapping[str, int] | Sequence[str] | None = None,
        tables: Mapping[str, int] | Sequence[str] | None = None,
        concurrency: int | None = None,
        lease: Seconds | None = None,
        renew: Seconds | None = None,
        poll: Seconds = 1.0,
        grace: Seconds = 30.0,
        worker_id: str | None = None,
        drain: bool = False,
        listen: bool = True,
        prefetch: int = 0,
        app_path: str | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        app: Store,
        handler: Callable[..., Any],
        *,
        concurrency: int | None = None,
        lease: Seconds | None = None,
        renew: Seconds | None = None,
        poll: Seconds = 1.0,
        grace: Seconds = 30.0,
        worker_id: str | None = None,
        drain: bool = False,
        listen: bool = True,
        prefetch: int = 0,
        timeout: Seconds | None = None,
        claim: ClaimMode = "leased",
        before_claim: BeforeClaim | None = None,
    ) -> None: ...
    def __init__(
        self,
        app: App | Store,
        handler: Callable[..., Any] | None = None,
        *,
        queues: Mapping[str, int] | Sequence[str] | None = None,
        tables: Mapping[str, int] | Sequence[str] | None = None,
        concurrency: int | None = None,
        lease: Seconds | None = None,
        renew: Seconds | None = None,
        poll: Seconds = 1.0,
        grace: Seconds = 30.0,
        worker_id: str | None = None,
        drain: bool = False,
        listen: bool = True,
        prefetch: int = 0,
        app_path: str | None = None,
        timeout: Seconds | None = None,
        claim: ClaimMode = "leased",
        before_claim: BeforeClaim | None = None,
    ) -> None:
        self.app = app if isinstance(app, App) else None
        table_jobs = _table_jobs(app, handler, timeout, before_claim, claim)
        self.app_path = None if self.app is None else _app_path(self.app, app_path)
        check_held(
            [*(() if self.app is None else self.app.jobs.values()), *table_jobs.values()],
            app.stores.database if isinstance(app, App) else app.database,
        )
        settings = app.stores.settings if isinstance(app, App) else app.settings
        self.options: WorkerOptions = checked_options(
            () if self.app is None else {job.queue for job in self.app.jobs.values()},
            queues=queues,
            concurrency=concurrency,
            lease=settings.lease if lease is None else lease,
            renew=renew,
            poll=poll,
            grace=grace,
            worker_id=worker_id,
            drain=drain,
            listen=listen,
            prefetch=prefetch,
            optional=bool(table_jobs) and (tables is None or bool(tables)),
        )
        chosen = chosen_tables(table_jobs, tables, concurrency or DEFAULT_CONCURRENCY)
        self._tables = [
            (table_jobs[name], options_of(table_jobs[name], most, self.options, lease, renew))
            for name, most in chosen.items()
        ]
        self.events = Events()
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._stop: bool | None = None

    @property
    def counts(self) -> Counter[type[Event]]:
        """How often each event happened, such as ``counts[events.Refused]`` for stale writes."""
        return self.events.counts

    def on(self, callback: Callback, *types: type[Event]) -> Callback:
        """Call ``callback(event)`` for events of these types and their subtypes; none is all.

        It is called in the loop's thread and must be quick. Subscribe before the worker runs.
        ``App.on`` does it for every worker of an app.

        Example:
            >>> worker.on(print, events.Failed, events.Refused)  # doctest: +SKIP
        """
        return self.events.on(callback, *types)

    def run(self) -> int:
        """Work until stopped (SIGTERM, SIGINT, SIGHUP, SIGQUIT, ``stop``), or until drained.

        Returns:
            The exit code: 0 when it stopped in order; 1 when a handler could not be ended, whose
            job was given back but whose thread still runs (a daemon thread, which ends with the process).

        Raises:
            SchemaError: the tables are missing, too old or too new.
        """
        # Not asyncio.run: at its end it waits for tasks, and one may refuse to be cancelled.
        loop = asyncio.new_event_loop()
        try:
            with calm_collector():
                return loop.run_until_complete(self._run(with_signals=True))
        finally:
            # Handlers' own connections on this loop, which ends.
            if self.app is not None and self.app.stores.database.native_async:
                loop.run_until_complete(self.app.async_store.close())
            for job, _ in self._tables:
                loop.run_until_complete(job.stores.aclose_async())
            with contextlib.suppress(TimeoutError):  # a handler that refuses to end may be inside of one
                loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), UNWIND))
            loop.close()

    async def run_async(self) -> int:
        """``run`` in a loop of yours: it takes no signals, and a cancellation is a hard stop."""
        return await self._run(with_signals=False)

    def stop(self, hard: bool = False) -> None:
        """Ask it to stop, from any thread; ``hard`` does not wait for handlers. Before ``run`` it holds for that, too."""
        with self._lock:
            self._stop = bool(self._stop) or hard
            runtime = self._runtime
        if runtime is not None:
            runtime.stop_from_anywhere(hard)

    async def _run(self, *, with_signals: bool) -> int:
        log_to(self.events, logging.getLogger("rowqueue"))
        for callback, types in () if self.app is None else self.app.listeners:
            self.events.on(callback, *types)
        loop = asyncio.get_running_loop()
        if started_by_worker():
            raise ConfigurationError(
                "a worker was started while a child imported its app: put Worker(...).run() under"
                ' `if __name__ == "__main__":`'
            )
        runtime = Runtime(self.app, self.options, self._tables, self.events, loop, self.app_path)
        with self._lock:
            if self._runtime is not None:
                raise ConfigurationError("this worker was run already: make a new one")
            self._runtime = runtime
            asked = self._stop
        if asked is not None:
            runtime.stop(asked)
        if not with_signals:
            return await runtime.run()
        with stop_on_signals(loop, runtime.stop):
            return await runtime.run()


def _table_jobs(
    app: App | Store,
    handler: Callable[..., Any] | None,
    timeout: Seconds | None,
    before_claim: BeforeClaim | None,
    claim: ClaimMode,
) -> Mapping[str, TableJob[..., Any]]:
    """The jobs that work tables, by name: the app's, or the one that store and handler make."""
    if isinstance(app, App):
        if handler is not None or timeout is not None or before_claim is not None or claim != "leased":
            raise ConfigurationError(
                "handler, timeout, claim and before_claim go with a store; an app's are given to @app.job"
            )
        return app.table_jobs
    if handler is None:
        raise ConfigurationError("Worker(store, handler) needs a handler, which takes the store's records")
    name = "the store" if app.table is None else app.table.name
    job: TableJob[..., Any] = TableJob(
        name, app, handler, timeout=timeout, before_claim=before_claim, claim=claim
    )
    return {name: job}


def _app_path(app: App, given: str | None) -> str | None:
    """Where children find the app; None when no job needs one."""
    job = next((job for job in app.jobs.values() if job.process), None)
    if job is None:
        return None
    path = given or find_app_path(app)
    if path is None:
        raise ConfigurationError(
            f"{job.kind} has process=True, but no child process could import its app: put the app at the top of a"
            ' module, or give Worker(app, app_path="module:name")'
        )
    return path
