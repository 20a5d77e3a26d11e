"""Connections on which nothing comes any more, and which nobody closes (reliability #12)."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rowqueue import App, NewJob
from rowqueue.store import listener
from rowqueue.worker import events, listening, source
from tests.support.proxy import Proxy, proxy
from tests.support.waiting import wait_until
from tests.worker.harness import Running, settle

POLL = 0.5
NEVER = 3600.0


@pytest.fixture
def broken(fresh_postgres: str) -> Iterator[Proxy]:
    with proxy(fresh_postgres) as between:
        yield between


def app_of(url: str) -> App:
    app = App(url)
    app.init()

    @app.job(kind="k")
    async def handler() -> None: ...

    return app


def closed(*apps: App) -> None:
    for app in apps:
        asyncio.run(app.aclose())


def seconds_to_completion(running: Running, direct: App, patience: float) -> float | None:
    """How long a job takes that is enqueued by somebody else; None where it is not done in time."""
    job, began = direct.jobs["k"].enqueue(), time.monotonic()
    done = wait_for(
        lambda: any(event.job.id == job.job.id for event in running.said(events.Completed)), patience
    )
    return time.monotonic() - began if done else None


def rested(running: Running, direct: App, patience: float) -> float | None:
    """The same, for a worker that is at rest, so that only a notification or the poll makes it look."""
    settle(running)
    return seconds_to_completion(running, direct, patience)


def test_a_notification_that_never_comes_is_made_good_by_the_poll(
    fresh_postgres: str, broken: Proxy, publish: Any, long: bool
) -> None:
    direct, app = app_of(fresh_postgres), app_of(broken.url)
    broken.once("half_open", lambda text: text.startswith("LISTEN"))
    with Running(app, poll=POLL) as running:
        times = [rested(running, direct, 10) for _ in range(100 if long else 5)]
    broken.once("half_open", lambda text: text.startswith("LISTEN"))
    with Running(app, poll=NEVER) as running:
        control = [rested(running, direct, POLL + 1)]
    closed(app, direct)
    assert broken.acts["half_open"] == 2
    done = [each for each in times if each is not None]
    publish(
        "#12",
        "half-open after LISTEN: the poll finds what was not heard",
        f"{len(done)} of {len(times)} jobs done, the slowest after {max(done):.2f} s; poll {POLL:g} s",
        value=max(done) if len(done) == len(times) else NEVER,
        bound=f"<= {POLL + 1:g} s",
        promise=1,
        control=f"no poll: {control.count(None)} of 1 not done in {POLL + 1:g} s",
    )
    assert control == [None], "the control did not fail"


def test_a_listener_that_hears_nothing_is_replaced(
    fresh_postgres: str, broken: Proxy, publish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "CHECK_TIMEOUT", 0.3)
    direct, app = app_of(fresh_postgres), app_of(broken.url)
    times = {}
    for check in (0.3, NEVER):
        monkeypatch.setattr(listening, "CHECK", check)
        broken.once("half_open", lambda text: text.startswith("LISTEN"))
        with Running(app, poll=NEVER) as running:
            if check == NEVER:
                times[check] = rested(running, direct, 2)
            else:
                running.wait_for(events.Reconnected, such=lambda event: "listening" in event.doing)
                times[check] = rested(running, direct, 10)
    closed(app, direct)
    publish(
        "#12",
        "half-open after LISTEN: the listener is replaced",
        f"told again, a job starts after {times[0.3] or NEVER:.2f} s",
        value=times[0.3] or NEVER,
        bound="<= 1 s",
        control=f"no check: {'not done in 2 s' if times[NEVER] is None else 'done'}",
    )
    assert times[NEVER] is None, "the control did not fail"


@pytest.mark.parametrize("database_url", ["postgres", "mariadb"], indirect=True)
@pytest.mark.parametrize("what", ["claim", "complete", "extend"])
def test_a_server_that_falls_silent_is_asked_anew(
    what: str, database_url: str, publish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply to one statement never comes, and its connection stays: as behind a proxy that forgot it."""
    times: dict[float, float | None] = {}
    for silence in (1.0, NEVER):
        monkeypatch.setattr(source, "SILENCE", silence)
        with proxy(database_url) as broken:
            times[silence] = seconds_of_work(what, database_url, broken)
    publish(
        "#12",
        f"a server that falls silent at {what}",
        f"works again after {times[1.0] or NEVER:.1f} s, of which it waited 1 s for an answer",
        value=times[1.0] or NEVER,
        bound="<= 4 s",
        promise=6,
        control=f"no limit: {'not in 4 s' if times[NEVER] is None else 'works'}",
    )
    assert times[NEVER] is None, "the control did not fail"


def seconds_of_work(what: str, direct_url: str, broken: Proxy) -> float | None:
    """How long it takes, from the silence on, until the worker does again what fell silent."""
    direct, app = app_of(direct_url), app_of(broken.url)
    go = threading.Event()
    sets = {"claim": "state='running'", "complete": "state='completed'", "extend": "SET leased_until="}[what]

    @app.job(kind="slow")
    def slow() -> None:
        go.wait(20)

    running = Running(app, poll=0.1, lease=1.0, renew=0.2, listen=False, grace=0)
    with running:
        if what == "extend":
            held = direct.store.enqueue(NewJob(kind="slow"))
            running.wait_for(events.Started, held)
        broken.once("mute", lambda text: text.startswith("UPDATE") and sets in text)
        if what == "extend":
            wait_until(lambda: broken.acts["mute"], "a renewal")
            began = time.monotonic()
            found = wait_for(lambda: bool(running.said(events.Reconnected)), 4)
            time_ = time.monotonic() - began if found else None
        else:
            time_ = seconds_to_completion(running, direct, 4)
        go.set()
        broken.close()
    closed(app, direct)
    return time_


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it comes true in time."""
    try:
        return wait_until(condition, "it", seconds)
    except TimeoutError:
        return False
