"""Lines that must not pass: each is marked for both checkers, and test_typing.py lets no mark stand without a mistake."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from rowqueue import App, Claim, Context, NewJob, RetryPolicy, Store, Worker
from rowqueue.worker import events

app = App("sqlite:///jobs.db", lease="30")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
app_without_database = App()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


@app.job
def send(user_id: int, *, locale: str = "en") -> None: ...


@app.job(queue="mail")
def report(context: Context, day: str) -> int:
    print(context.jobs)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
    context.progress("half")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return len(day)


@app.job
async def fetch(context: Context, url: str) -> str:
    return url


@app.job(colour="red")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportCallIssue, reportUntypedFunctionDecorator]
def unknown_option(a: int) -> None: ...


@app.job(retry=5)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
def wrong_option(a: int) -> None: ...


def calls(context: Context) -> None:
    send.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.enqueue("7")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send.enqueue(7, "en")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.enqueue(7, colour="red")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.enqueue(user_id=7, delay=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    report.enqueue(context, "monday")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    report.enqueue(context=context, day="monday")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    report(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    fetch.enqueue(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send.args("7")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send.enqueue_many([1, 2])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    print(report.enqueue("monday").id)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]


async def awaited() -> None:
    await send.enqueue(7)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    send.enqueue_async(7)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    await fetch.enqueue_async(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await send.enqueue_many_async("12")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def options() -> None:
    send.options(delay="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send.options(delay=timedelta(1), until=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send.options(priority=1).enqueue("7")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send.options("mail")  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
    send.options(unique_states=["running"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


def claims() -> None:
    app.job(claim="tight")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    Worker(app, claim="held")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


async def on(session: AsyncSession, lite: sqlite3.Connection) -> None:
    send.on("sqlite:///jobs.db")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    send.on(lite).enqueue("7")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await send.on(lite).enqueue(7)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await send.on(session).enqueue("7")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(send.on(session).enqueue(7).inserted)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
    send.on(session).enqueue(7)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]


def stores(store: Store, claim: Claim) -> None:
    NewJob(args={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    NewJob(kind="mail", args=[1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    store.enqueue("mail")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    store.complete(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    store.claim("10")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    RetryPolicy.constant("5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    claim.lease = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def listening(on_failure: Callable[[events.Failed], None]) -> None:
    app.on(on_failure, events.Completed)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    app.on("print", events.Completed)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
