"""Every kind of connection that `store.on()` takes, under one way of calling; and a process that dies in between.

`python -m tests.support.borrowing URL` enqueues through each of them, and is killed before the commit.
"""

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from inspect import isawaitable
from typing import Any

import asyncpg
import psycopg
from psycopg.rows import dict_row
from pymysql.cursors import DictCursor
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from tests.support import mariadb
from tests.support.session import plain_url
from tests.support.stores import driver_url


class Borrowed:
    """A connection with a transaction open on it.

    Args:
        connection: what `store.on()` is given.
        execute: runs SQL text on it.
        commit, rollback: end its transaction.
        savepoint: opens one; a context manager, sync or async, that rolls back to it on an exception.
    """

    def __init__(
        self,
        connection: Any,
        execute: Any,
        commit: Callable[[], Any],
        rollback: Callable[[], Any],
        savepoint: Callable[[], Any],
    ) -> None:
        self.connection = connection
        self._execute, self._commit, self._rollback, self._savepoint = execute, commit, rollback, savepoint

    async def write(self, number: int) -> None:
        """A row of the application's own."""
        await settle(self._execute(f"INSERT INTO app_row VALUES ({number})"))

    async def enqueue(self, store: Store, kind: str) -> Any:
        return await settle(store.on(self.connection).enqueue(NewJob(kind=kind)))

    async def complete(self, store: Store, claim: Any) -> Any:
        return await settle(store.on(self.connection).complete(claim, "done"))

    async def commit(self) -> None:
        await settle(self._commit())

    async def rollback(self) -> None:
        await settle(self._rollback())

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        context = self._savepoint()
        if hasattr(context, "__aenter__"):
            async with context:
                yield
        else:
            with context:
                yield


async def settle(answer: Any) -> Any:
    return await answer if isawaitable(answer) else answer


class PlainSavepoint:
    """A savepoint by SQL, for a driver without a word for it."""

    def __init__(self, execute: Callable[[str], Any]) -> None:
        self._execute = execute

    def __enter__(self) -> None:
        self._execute("SAVEPOINT mine")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._execute("ROLLBACK TO SAVEPOINT mine")
        self._execute("RELEASE SAVEPOINT mine")


@asynccontextmanager
async def of_connection(url: str) -> AsyncIterator[Borrowed]:
    engine = create_engine(_sync(url), poolclass=NullPool)
    with engine.connect() as c:
        yield Borrowed(c, lambda sql: c.execute(text(sql)), c.commit, c.rollback, c.begin_nested)


@asynccontextmanager
async def of_session(url: str) -> AsyncIterator[Borrowed]:
    engine = create_engine(_sync(url), poolclass=NullPool)
    with Session(engine) as s:
        yield Borrowed(s, lambda sql: s.execute(text(sql)), s.commit, s.rollback, s.begin_nested)


def of_async_connection(driver: str) -> Callable[[str], AbstractAsyncContextManager[Borrowed]]:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Borrowed]:
        engine = create_async_engine(make_url(url).set(drivername=driver), poolclass=NullPool)
        async with engine.connect() as c:
            yield Borrowed(c, lambda sql: c.execute(text(sql)), c.commit, c.rollback, c.begin_nested)

    return opened


def of_async_session(driver: str) -> Callable[[str], AbstractAsyncContextManager[Borrowed]]:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Borrowed]:
        engine = create_async_engine(make_url(url).set(drivername=driver), poolclass=NullPool)
        async with AsyncSession(engine) as s:
            yield Borrowed(s, lambda sql: s.execute(text(sql)), s.commit, s.rollback, s.begin_nested)

    return opened


@asynccontextmanager
async def of_psycopg(url: str) -> AsyncIterator[Borrowed]:
    with closing(psycopg.connect(plain_url(url))) as c:
        yield Borrowed(c, c.execute, c.commit, c.rollback, c.transaction)


@asynccontextmanager
async def of_psycopg_rows(url: str) -> AsyncIterator[Borrowed]:
    """With a row factory of the user's, and text cursors that are not ours."""
    connected: Any = psycopg.connect(plain_url(url))
    connected.row_factory = dict_row
    with closing(connected) as c:
        yield Borrowed(c, c.execute, c.commit, c.rollback, c.transaction)


@asynccontextmanager
async def of_async_psycopg(url: str) -> AsyncIterator[Borrowed]:
    c = await psycopg.AsyncConnection.connect(plain_url(url))
    try:
        yield Borrowed(c, c.execute, c.commit, c.rollback, c.transaction)
    finally:
        await c.close()


@asynccontextmanager
async def of_asyncpg(url: str) -> AsyncIterator[Borrowed]:
    c = await asyncpg.connect(plain_url(url))
    try:
        transaction = c.transaction()
        await transaction.start()
        yield Borrowed(c, c.execute, transaction.commit, transaction.rollback, c.transaction)
    finally:
        await c.close()


@asynccontextmanager
async def of_asyncpg_pool(url: str) -> AsyncIterator[Borrowed]:
    async with asyncpg.create_pool(plain_url(url), min_size=1, max_size=1) as pool, pool.acquire() as c:
        transaction = c.transaction()
        await transaction.start()
        yield Borrowed(c, c.execute, transaction.commit, transaction.rollback, c.transaction)


@asynccontextmanager
async def of_sqlite3(url: str) -> AsyncIterator[Borrowed]:
    """As the standard library opens it: a transaction begins by itself with the first write."""
    with closing(sqlite3.connect(_file(url))) as c:
        yield Borrowed(c, c.execute, c.commit, c.rollback, lambda: PlainSavepoint(c.execute))


@asynccontextmanager
async def of_sqlite3_explicit(url: str) -> AsyncIterator[Borrowed]:
    """In autocommit, with BEGIN written out and rows by name."""
    with closing(sqlite3.connect(_file(url), isolation_level=None)) as c:
        c.row_factory = sqlite3.Row
        c.execute("BEGIN IMMEDIATE")
        yield Borrowed(
            c,
            c.execute,
            lambda: c.execute("COMMIT"),
            lambda: c.execute("ROLLBACK"),
            lambda: PlainSavepoint(c.execute),
        )


@asynccontextmanager
async def of_pymysql(url: str) -> AsyncIterator[Borrowed]:
    """As PyMySQL opens it: a transaction begins by itself."""
    with closing(mariadb.connect(url, autocommit=False)) as c:
        yield Borrowed(c, c.execute, c.commit, c.rollback, lambda: PlainSavepoint(c.execute))


@asynccontextmanager
async def of_pymysql_explicit(url: str) -> AsyncIterator[Borrowed]:
    """In autocommit, with a transaction begun by hand, and rows as dicts."""
    with closing(mariadb.connect(url, cursorclass=DictCursor)) as c:
        c.begin()
        yield Borrowed(c, c.execute, c.commit, c.rollback, lambda: PlainSavepoint(c.execute))


WAYS: dict[str, dict[str, Callable[[str], AbstractAsyncContextManager[Borrowed]]]] = {
    "sqlite": {
        "Connection": of_connection,
        "Session": of_session,
        "AsyncConnection": of_async_connection("sqlite+aiosqlite"),
        "AsyncSession": of_async_session("sqlite+aiosqlite"),
        "sqlite3": of_sqlite3,
        "sqlite3 in autocommit": of_sqlite3_explicit,
    },
    "postgresql": {
        "Connection": of_connection,
        "Session": of_session,
        "AsyncConnection on psycopg": of_async_connection("postgresql+psycopg"),
        "AsyncConnection on asyncpg": of_async_connection("postgresql+asyncpg"),
        "AsyncSession on psycopg": of_async_session("postgresql+psycopg"),
        "AsyncSession on asyncpg": of_async_session("postgresql+asyncpg"),
        "psycopg": of_psycopg,
        "psycopg with rows of its own": of_psycopg_rows,
        "psycopg async": of_async_psycopg,
        "asyncpg": of_asyncpg,
        "asyncpg from a pool": of_asyncpg_pool,
    },
    "mariadb": {
        "Connection": of_connection,
        "Session": of_session,
        "AsyncConnection": of_async_connection("mariadb+aiomysql"),
        "AsyncSession": of_async_session("mariadb+aiomysql"),
        "PyMySQL": of_pymysql,
        "PyMySQL in autocommit": of_pymysql_explicit,
    },
}


def _sync(url: str) -> Any:
    return driver_url(url)


def _file(url: str) -> str:
    return make_url(url).database or ""


async def _die(url: str, name: str, number: int) -> None:
    store = Store(url)
    async with WAYS[make_url(url).get_backend_name()][name](url) as borrowed:
        await borrowed.write(number)
        if not (await borrowed.enqueue(store, name)).inserted:
            sys.exit("not inserted")
        os.kill(os.getpid(), signal.SIGKILL)


def main(url: str) -> None:
    ways = WAYS[make_url(url).get_backend_name()]
    for number, name in enumerate(ways):
        child = os.fork()
        if child == 0:
            asyncio.run(_die(url, name, number))
            os._exit(1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"{name} was not killed but ended with {status}")
    print(len(ways))


if __name__ == "__main__":
    main(sys.argv[1])
