"""Connections of the caller's: which driver one is, and the verbs that make sense in its transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from rowqueue.core import payload
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.finish import Finish
from rowqueue.core.states import Verb
from rowqueue.core.values import Claim, Enqueued, Json, NewJob, Outcome
from rowqueue.operations import enqueue, finish
from rowqueue.operations.base import Operation
from rowqueue.operations.settings import StoreSettings
from rowqueue.sql.statements.catalog import Statements
from rowqueue.store.runner import AsyncConnection, Connection, run, run_async

T = TypeVar("T")


class BoundStore:
    """The store's verbs in the transaction of a sync connection of the caller's.

    Nothing is committed, rolled back or tried again here: that is the caller's.
    """

    def __init__(self, connection: Connection, settings: StoreSettings) -> None:
        self._connection = connection
        self._settings = settings

    def enqueue(self, job: NewJob) -> Enqueued:
        """Enqueue a job that exists exactly when the caller's transaction commits."""
        return self.enqueue_many([job])[0]

    def enqueue_many(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Enqueue jobs, all in the caller's transaction; answers in the order given."""
        return run(enqueue.enqueue(jobs, self._settings, aloud=True), self._connection)

    def complete(self, claim: Claim, result: Json = None) -> Outcome:
        """Complete a claim in the caller's transaction; not done means: roll back."""
        return run(completion(claim, result, self._settings), self._connection)[0]

    def run(self, operation: Operation[T]) -> T:
        """Run any operation in the caller's transaction."""
        return run(operation, self._connection)


class AsyncBoundStore:
    """The same, awaited."""

    def __init__(self, connection: AsyncConnection, settings: StoreSettings) -> None:
        self._connection = connection
        self._settings = settings

    async def enqueue(self, job: NewJob) -> Enqueued:
        """Enqueue a job that exists exactly when the caller's transaction commits."""
        return (await self.enqueue_many([job]))[0]

    async def enqueue_many(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        """Enqueue jobs, all in the caller's transaction; answers in the order given."""
        return await run_async(enqueue.enqueue(jobs, self._settings, aloud=True), self._connection)

    async def complete(self, claim: Claim, result: Json = None) -> Outcome:
        """Complete a claim in the caller's transaction; not done means: roll back."""
        return (await run_async(completion(claim, result, self._settings), self._connection))[0]

    async def run(self, operation: Operation[T]) -> T:
        """Run any operation in the caller's transaction."""
        return await run_async(operation, self._connection)


def completion(claim: Claim, result: Json, settings: StoreSettings) -> Operation[list[Outcome]]:
    """The operation that completes one claim."""
    text = None if result is None else payload.encode(result, "the result", limit=settings.payload_limit)
    return finish.finish([Finish(claim, Verb.COMPLETE, result=text)])


class AsyncSession:
    """A SQLAlchemy AsyncSession: its connection is known only once it is awaited for."""

    def __init__(self, session: Any, statements_for: Callable[[str], Statements]) -> None:
        self._session = session
        self._statements_for = statements_for
        self.statements = statements_for(session.get_bind().url.drivername)

    async def execute(self, call: Any) -> Any:
        """Run one statement on the session's connection, which begins its transaction."""
        from rowqueue.store.drivers.sqlalchemy import AsyncSQLAlchemyConnection

        connection = await self._session.connection()
        return await AsyncSQLAlchemyConnection(connection, self.statements).execute(call)


StatementsFor: TypeAlias = Callable[[str], Statements]
Adopter: TypeAlias = Callable[[Any, StatementsFor], tuple[Any, bool]]


def adopt(
    connection: Any, name: str, statements_for: StatementsFor, known: dict[type, Adopter]
) -> tuple[Any, bool]:
    """Wrap a connection of the caller's.

    Args:
        connection: a SQLAlchemy Session, Connection, AsyncSession or AsyncConnection, or one of
            psycopg's (sync or async), asyncpg's, sqlite3's or PyMySQL's.
        name: the store's database.
        statements_for: the store's statements by SQLAlchemy driver name.
        known: how to wrap the classes that were met before.

    Returns:
        The wrapper, and whether it is awaited.

    Raises:
        ConfigurationError: not a connection that rowqueue knows, or to another kind of database.
    """
    adopter = known.get(type(connection))
    if adopter is None:
        adopter = known[type(connection)] = _adopter(type(connection))
    wrapped, is_async = adopter(connection, statements_for)
    if wrapped.statements.dialect.name != name:
        raise ConfigurationError(
            f"that connection is to {wrapped.statements.dialect.name}, but this store's database is {name}"
        )
    return wrapped, is_async


def _adopter(kind: type) -> Adopter:
    """How to wrap connections of a class, known by its name: its library may not be installed."""
    bases = {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in kind.__mro__}
    if "sqlalchemy.scoped_session" in bases or "sqlalchemy.async_scoped_session" in bases:
        return lambda scoped, statements_for: _adopter(type(session := scoped()))(session, statements_for)
    if "sqlalchemy.AsyncSession" in bases:
        return lambda session, statements_for: (AsyncSession(session, statements_for), True)
    if "sqlalchemy.Session" in bases:
        return lambda session, statements_for: _through_sqlalchemy(session.connection(), statements_for)
    if bases & {"sqlalchemy.Connection", "sqlalchemy.AsyncConnection"}:
        return _through_sqlalchemy
    if (raw := _raw_adopter(bases)) is not None:
        return raw
    raise ConfigurationError(
        f"on() takes a SQLAlchemy Session or Connection (sync or async), or a connection of psycopg, asyncpg, "
        f"sqlite3 or PyMySQL, not {kind.__module__}.{kind.__name__}"
    )


def _through_sqlalchemy(connection: Any, statements_for: StatementsFor) -> tuple[Any, bool]:
    from rowqueue.store.drivers.sqlalchemy import AsyncSQLAlchemyConnection, SQLAlchemyConnection

    statements = statements_for(connection.engine.url.drivername)
    if hasattr(connection, "sync_connection"):
        return AsyncSQLAlchemyConnection(connection, statements), True
    return SQLAlchemyConnection(connection, statements), False


def _raw_adopter(bases: set[str]) -> Adopter | None:
    """How to wrap a driver's own connection; imported only where there is one."""
    make: Any
    if bases & {"psycopg.Connection", "psycopg.AsyncConnection"}:
        from rowqueue.store.drivers.psycopg import AsyncPsycopgConnection, PsycopgConnection

        is_async = "psycopg.AsyncConnection" in bases
        make, drivername = AsyncPsycopgConnection if is_async else PsycopgConnection, "postgresql+psycopg"
    elif bases & {"asyncpg.Connection", "asyncpg.PoolConnectionProxy"}:
        from rowqueue.store.drivers.asyncpg import AsyncpgConnection

        make, drivername, is_async = AsyncpgConnection, "postgresql+asyncpg", True
    elif "sqlite3.Connection" in bases:
        from rowqueue.store.drivers.sqlite import SQLiteConnection

        make, drivername, is_async = SQLiteConnection, "sqlite+pysqlite", False
    elif "pymysql.Connection" in bases:
        from rowqueue.store.drivers.pymysql import PyMySQLConnection

        make, drivername, is_async = PyMySQLConnection, "mariadb+pymysql", False
    else:
        return None
    return lambda raw, statements_for: (make(raw, statements_for(drivername)), is_async)
