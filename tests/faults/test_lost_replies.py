"""Connections that are cut after the commit was sent and before the reply arrived (reliability #12).

The caller cannot know what happened, and every other time nothing did: the cut came before. What it does is ask again.
"""

import contextlib
import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from rowqueue.core.errors import DatabaseUnavailable
from rowqueue.core.states import State
from rowqueue.core.values import Claim, NewJob
from rowqueue.store.store import Store
from tests.faults.scene import scene
from tests.support.proxy import Act, Proxy, proxy
from tests.support.stores import Raw, raw

SEED = 12


@dataclass(frozen=True, slots=True)
class Verb:
    """One write: how it is tried, how it is asked for again, and what must be true then."""

    act: Callable[[Store, Any], Any]
    again: Callable[[Store, Any], Any]
    state: State
    attempt: int = 1
    errors: int = 0


def resolved(act: Callable[[Store, Claim], Any]) -> Callable[[Store, Claim], Any]:
    """Ask again with the same claim: done now, or done before under this very lease."""

    def again(store: Store, claim: Claim) -> None:
        outcome = act(store, claim)
        assert outcome or (outcome.reason == "wrong_state" and outcome.lease == claim.lease), outcome

    return again


def verb(act: Callable[[Store, Claim], Any], state: State, **expected: int) -> Verb:
    return Verb(act, resolved(act), state, **expected)


VERBS = {
    "complete": verb(lambda store, claim: store.complete(claim, "done"), State.COMPLETED),
    "fail": verb(lambda store, claim: store.fail(claim, "x", delay=3600), State.RETRYABLE, errors=1),
    "snooze": verb(lambda store, claim: store.snooze(claim, 3600), State.SCHEDULED, attempt=0),
    "release": verb(lambda store, claim: store.release(claim), State.AVAILABLE, attempt=0),
    "cancel": verb(lambda store, claim: store.cancel(claim, "x"), State.CANCELLED, errors=1),
}


def is_write(text: str) -> bool:
    return "UPDATE rowqueue_job" in text or "INSERT INTO rowqueue_job" in text


def lose(broken: Proxy, act: Act, such: Callable[[str], bool], do: Callable[[], Any]) -> None:
    """Do it, and lose the reply, or the request."""
    broken.once(act, such)
    try:
        do()
    except (DatabaseUnavailable, psycopg.OperationalError):
        return
    raise AssertionError("nothing was cut")


def completes_in(store: Store, url: str, claim: Claim) -> None:
    """An effect and the completion in one transaction."""
    with psycopg.connect(url, autocommit=True) as connection, connection.transaction():
        connection.execute("INSERT INTO effect VALUES (%s)", [claim.key])
        store.on(connection).complete(claim).or_raise()


def one_of_each(store: Store, direct: Store, broken: Proxy, acts: Callable[[], Act], rows: Raw) -> int:
    """Every verb, an enqueue and a transaction of a handler's, each with a reply lost; how many those were."""
    for name, tried in VERBS.items():
        direct.enqueue(NewJob(kind=name, queue="verbs"))
        (claim,) = direct.claim(1, queues=["verbs"])
        lose(broken, acts(), is_write, lambda tried=tried, claim=claim: tried.act(store, claim))  # type: ignore[misc]
        tried.again(store, claim)
        job = direct.get(claim.key)
        assert job is not None
        found = (job.state, job.attempt, len(job.errors))
        assert found == (tried.state, tried.attempt, tried.errors), (name, found)
        rows.execute(f"DELETE FROM rowqueue_job WHERE id = {claim.key}")
    job = NewJob(kind="unique", queue="others", unique_key=f"u{time.monotonic_ns()}")
    lose(broken, acts(), is_write, lambda: store.enqueue(job))
    assert store.enqueue(job).job.unique_key == job.unique_key
    assert rows.count(f"unique_key = '{job.unique_key}'") == 1
    direct.enqueue(NewJob(kind="once", queue="once"))
    (claim,) = direct.claim(1, queues=["once"])
    lose(broken, acts(), lambda text: text == "COMMIT", lambda: completes_in(store, broken.url, claim))
    (outcome,) = store.settled([claim])
    if outcome.state is State.RUNNING:
        completes_in(store, broken.url, claim)
    assert len(rows.rows(f"SELECT * FROM effect WHERE job_id = {claim.key}")) == 1
    return len(VERBS) + 2


def test_every_lost_reply_is_resolved_to_one_result(fresh_postgres: str, publish: Any, long: bool) -> None:
    chance = random.Random(SEED)
    wanted = 1000 if long else 100

    def acts() -> Act:
        return chance.choice(["before", "after"])

    with proxy(fresh_postgres) as broken, raw(fresh_postgres) as rows, contextlib.ExitStack() as stack:
        store, direct = (
            stack.enter_context(contextlib.closing(Store(url))) for url in (broken.url, fresh_postgres)
        )
        direct.init()
        rows.execute("CREATE TABLE effect (job_id bigint)")
        count = 0
        while count < wanted:
            count += one_of_each(store, direct, broken, acts, rows)
        doubled = asks_blindly(store, broken, rows, chance, wanted // 10)
    assert broken.acts["after"] > wanted / 3
    publish(
        "#12",
        "cut after the commit was sent and before the reply",
        f"{count} unknown outcomes, of which {broken.acts['after']} had happened: not resolved to one result 0",
        value=0,
        bound="= 0",
        promise=3,
        control=f"asked again without a claim or a key: {doubled} of {wanted // 10} done twice",
        seed=SEED,
    )
    assert doubled > 0, "the control did not fail"


def asks_blindly(store: Store, broken: Proxy, rows: Raw, chance: random.Random, count: int) -> int:
    """The negative control: who asks again with nothing that tells the two apart does it twice."""
    for number in range(count):
        job = NewJob(kind="blind", queue="blind", args={"number": number})
        lose(broken, chance.choice(["before", "after"]), is_write, lambda job=job: store.enqueue(job))  # type: ignore[misc]
        store.enqueue(job)
    return rows.count("queue = 'blind'") - count


def losing_endings(broken: Proxy, most: int) -> None:
    """Lose the reply to so many endings: every second one that is written."""
    turns: Iterator[Act | None] = itertools.cycle(("after", None))
    broken.rule = lambda text: (
        next(turns) if "SET state='completed'" in text and broken.acts.total() < most else None
    )


def cutting(broken: Proxy, most: int) -> None:
    """Cut writes of anybody, half of them before and half of them after the server ran them; endings most of all."""
    chance = random.Random(SEED)
    turns: Iterator[Act] = itertools.cycle(("after", "before"))

    def rule(text: str) -> Act | None:
        if broken.acts.total() >= most or not (is_write(text) or text == "COMMIT"):
            return None
        share = 0.6 if "SET state='completed'" in text else 0.2
        return next(turns) if chance.random() < share else None

    broken.rule = rule


def test_workers_behind_a_slow_network_that_cuts(
    fresh_postgres: str, tmp_path: Path, publish: Any, long: bool
) -> None:
    jobs, cuts = (4000, 1000) if long else (120, 20)
    chance = random.Random(SEED)
    with proxy(fresh_postgres) as broken:
        broken.delay = lambda: chance.uniform(0, 0.1) if chance.random() < 0.2 else 0.0
        verdicts, cut = [], list[int]()
        for without in ("", "reread"):
            rows = {"": jobs, "reread": 100}[without]
            with scene(
                fresh_postgres,
                tmp_path / f"without {without}",
                url=broken.url,
                lease=2.0,
                renew=0.5,
                without=without,
            ) as stage:
                broken.acts.clear()
                (losing_endings if without else cutting)(broken, cuts)
                stage.hire(1)
                stage.produce(rows, url=fresh_postgres, batch=10, pause=0.01)
                stage.drain(600 if long else 60)
                assert stage.stop() == [0]
                verdicts.append(stage.judge())
                cut.append(broken.acts.total())
            with raw(fresh_postgres) as table:
                table.execute(
                    "DROP TABLE effect_once, audit; DROP FUNCTION audit CASCADE; TRUNCATE rowqueue_job"
                )
    found, control = verdicts
    publish(
        "#12",
        "workers on a network of 0 to 100 ms that cuts writes",
        f"{jobs} jobs, {cut[0]} cuts: violations {len(found.faults())} ({found})",
        value=len(found.faults()),
        bound="violations = 0",
        promise=4,
        control=f"lost replies not read again: {len(control.unresolved)} ends unknown to their worker",
        seed=SEED,
    )
    assert control.unresolved, "the control did not fail"
