"""What users write around jobs, and which types they get: every line must pass mypy --strict and pyright's strict."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar, assert_type

import asyncpg
import psycopg
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

import rowqueue
from rowqueue import App, Context, Enqueued, RetryPolicy, State
from rowqueue.app.arguments import Arguments
from rowqueue.app.bound import AsyncBound, Bound
from rowqueue.worker import events

app = App("sqlite:///jobs.db", lease=timedelta(seconds=30), retry=RetryPolicy.exponential(), max_attempts=5)


def from_engine(engine: Engine) -> App:
    return App(engine)


# Decorated functions keep their signature, without the context.


@app.job
def plain(user_id: int, *, locale: str = "en") -> str:
    return f"{user_id}{locale}"


@app.job()
def empty() -> None: ...


@app.job(queue="mail", max_attempts=5, timeout=30, retry=RetryPolicy.constant(5), tags=["mail"], priority=1)
def with_context(context: Context, user_id: int) -> None:
    assert_type(context.job, rowqueue.Job)
    assert_type(context.attempt, int)
    assert_type(context.cancelled, bool)
    context.log({"sent": user_id})
    context.progress(0.5, "halfway")


@app.job(claim="held", timeout=60)
def held(context: Context, user_id: int) -> None:
    connection: Connection = context.connection
    connection.begin_nested()
    assert_type(plain.on(connection).enqueue(user_id), Enqueued)


@app.job(claim="held")
async def held_async(context: Context, user_id: int) -> None:
    connection: AsyncConnection = context.connection
    await connection.begin_nested()
    assert_type(await plain.on(connection).enqueue(user_id), Enqueued)


@app.job(table="uploads", claim="held")
def held_row(context: Context, record: dict[str, Any]) -> None:
    context.connection.begin_nested()


def enqueue_held() -> None:
    assert_type(held.enqueue(7), Enqueued)
    assert_type(held(7), None)


@app.job(kind="reports.build", aliases=("reports.make",))
async def asynchronous(context: rowqueue.Context, day: datetime, to: Sequence[str] = ()) -> int:
    await context.log_async([day.year, *to])
    await context.progress_async(1.0)
    return 1


@app.job
async def without_context(name: str) -> str:
    return name


@dataclass
class Order:
    id: int
    due: datetime


@app.job
def structured(order: Order, more: dict[str, list[Order]] | None = None) -> None: ...


@app.job
def takes_object(value: object, other: int = 0) -> None: ...


@app.job
def takes_any(value: Any) -> None: ...


@app.job
def open_ended(**words: str) -> None: ...


P = ParamSpec("P")
R = TypeVar("R")


def timed(function: Callable[P, R]) -> Callable[P, R]:
    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return wrapper


@app.job
@timed
def wrapped(size: int) -> int:
    return size


@app.job(queue="slow")
@timed
def wrapped_with_context(context: Context, size: int) -> int:
    return size + context.attempt


def calls() -> None:
    assert_type(plain(7, locale="de"), str)
    assert_type(with_context(7), None)
    assert_type(plain.enqueue(7), Enqueued)
    assert_type(plain.enqueue(user_id=7, locale="de"), Enqueued)
    assert_type(with_context.enqueue(user_id=7), Enqueued)
    assert_type(asynchronous.enqueue(datetime.now(UTC), to=["a"]), Enqueued)
    assert_type(without_context.enqueue("a"), Enqueued)
    assert_type(empty.enqueue(), Enqueued)
    assert_type(plain.args(1, locale="fr"), Arguments)
    assert_type(plain.enqueue_many([plain.args(1), (2,), (3,)]), list[Enqueued])
    structured.enqueue(Order(1, datetime.now(UTC)), more={"a": []})
    takes_object.enqueue(value=[1, 2], other=3)
    takes_object.enqueue("a", 3)
    takes_any.enqueue({"a": 1})
    takes_any.enqueue(value=None)
    open_ended.enqueue(a="b", c="d")
    assert_type(wrapped(1), int)
    wrapped.enqueue(size=1)
    wrapped_with_context.enqueue(size=1)
    if plain.enqueue(1).inserted:
        assert_type(plain.enqueue(1).job.state, State)


async def awaited() -> None:
    assert_type(await plain.enqueue_async(7), Enqueued)
    assert_type(await with_context.enqueue_async(user_id=7), Enqueued)
    assert_type(await asynchronous.enqueue_async(datetime.now(UTC)), Enqueued)
    assert_type(await plain.enqueue_many_async([(1,), plain.args(2)]), list[Enqueued])
    assert_type(await without_context("a"), str)
    await asyncio.gather(plain.enqueue_async(1), plain.enqueue_async(2))
    call: Callable[[str], Coroutine[Any, Any, str]] = without_context
    await call("a")


def options() -> None:
    later = plain.options(delay=timedelta(minutes=5), priority=1)
    assert_type(later.enqueue(7, locale="de"), Enqueued)
    chained = later.options(
        at=datetime.now(UTC),
        queue="other",
        unique_key="user-7",
        unique_states=set(State),
        max_attempts=3,
        timeout=2.5,
        tags=("a", "b"),
        correlation_id="x",
        correlation_group="y",
        meta={"by": {"name": "me"}},
        pending=True,
    )
    chained.enqueue(user_id=7)
    chained.enqueue_many([(1,), chained.args(2)])
    with_context.options(delay=1).enqueue(7)


def on_sync(
    session: Session,
    scoped: scoped_session[Session],
    connection: Connection,
    postgres: psycopg.Connection[tuple[Any, ...]],
    rows_as_dicts: psycopg.Connection[dict[str, Any]],
    lite: sqlite3.Connection,
) -> None:
    assert_type(plain.on(session).enqueue(7, locale="de"), Enqueued)
    assert_type(with_context.on(session).enqueue(user_id=7), Enqueued)
    assert_type(plain.on(scoped).enqueue(7), Enqueued)
    assert_type(plain.on(connection).enqueue_many([(1,), plain.args(2)]), list[Enqueued])
    assert_type(plain.on(postgres).enqueue(7), Enqueued)
    assert_type(plain.on(rows_as_dicts).enqueue(7), Enqueued)
    assert_type(plain.options(delay=5).on(lite).enqueue(7), Enqueued)
    bound = empty.on(lite)
    assert_type(bound, Bound[[]])


async def on_async(
    session: AsyncSession,
    scoped: async_scoped_session[AsyncSession],
    connection: AsyncConnection,
    postgres: psycopg.AsyncConnection[tuple[Any, ...]],
    other: asyncpg.Connection,
    lent: PoolConnectionProxy,
) -> None:
    assert_type(await plain.on(session).enqueue(7, locale="de"), Enqueued)
    assert_type(await plain.on(scoped).enqueue(7), Enqueued)
    assert_type(await plain.on(connection).enqueue_many([(1,)]), list[Enqueued])
    assert_type(await plain.on(postgres).enqueue(7), Enqueued)
    await plain.on(other).enqueue(7)  # mypy sees no types of asyncpg, so nothing to assert
    await plain.on(lent).enqueue(7)
    assert_type(empty.on(session), AsyncBound[[]])


def completing(context: Context, session: Session) -> None:
    assert_type(context.complete_in(session, {"rows": 3}), None)


async def completing_async(context: Context, session: AsyncSession, connection: asyncpg.Connection) -> None:
    assert_type(context.complete_in(session), Awaitable[None])
    await context.complete_in(session, result=[1])
    await context.complete_in(connection)


def endings(context: Context) -> None:
    if context.attempt == 1:
        raise rowqueue.Retry(after=timedelta(seconds=5), reason="not yet")
    if context.attempt == 2:
        raise rowqueue.Snooze(60)
    if context.cancelled:
        raise rowqueue.Cancel("asked to")
    raise rowqueue.Discard("never works")


def registry() -> None:
    for kind, job in app.jobs.items():
        assert_type(kind, str)
        assert_type(job.kind, str)
        assert_type(job.is_async, bool)
        assert_type(job.timeout, float | None)
    app.init()
    app.close()


def on_failure(event: events.Failed) -> None:
    print(event.job.kind, event.error, event.delay)


def on_ending(event: events.Finished) -> None:
    print(event.job.kind, event.state)


def listening(everything: list[events.Event]) -> None:
    assert_type(app.on(on_failure, events.Failed), Callable[[events.Failed], object])
    app.on(on_ending, events.Failed, events.Completed)
    app.on(everything.append)
    app.on(print)
    app.on(lambda event: print(event.job.kind, event.delay), events.Failed)
