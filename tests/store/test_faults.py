"""Each statement of each operation fails once before and once after it ran; then the caller asks again (#14, #23)."""

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from rowqueue.core.errors import DatabaseUnavailable
from rowqueue.core.finish import Finish
from rowqueue.core.states import State, Verb
from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from tests.support import mariadb
from tests.support.faulty import Faults, faulty_store
from tests.support.session import plain_url
from tests.support.stores import Raw, raw


@dataclass(frozen=True)
class Scenario:
    """An operation, what it stands on, and what must hold whether it ran once or the reply was lost."""

    act: Callable[[Any, Any], Any]
    check: Callable[[Any, Any, Raw], None]
    prepare: Callable[[Any, Raw], Any] = lambda store, rows: None


def jobs(count: int = 1, **options: Any) -> Callable[[Store, Raw], list[int]]:
    def prepare(store: Store, rows: Raw) -> list[int]:
        made = store.enqueue_many([NewJob(kind="k", **options) for _ in range(count)])
        return [answer.job.id for answer in made]

    return prepare


def claims(count: int = 1, **options: Any) -> Callable[[Store, Raw], Any]:
    def prepare(store: Store, rows: Raw) -> Any:
        jobs(count, **options)(store, rows)
        found = store.claim(count)
        return found if count > 1 else found[0]

    return prepare


def finals(store: Store, rows: Raw) -> list[int]:
    taken = claims(2)(store, rows)
    for claim in taken:
        store.add_log(claim, "x")
    store.complete_many(taken)
    rows.pass_time(100)
    return [claim.key for claim in taken]


def job_is(state: str, **expected: Any) -> Callable[[Store, Any, Raw], None]:
    """The one job stands so; `errors` is how many."""

    def check(store: Store, context: Any, rows: Raw) -> None:
        (job,) = store.list().jobs
        assert job.state == state
        errors = expected.pop("errors", None) if "errors" in expected else None
        assert errors is None or len(job.errors) == errors
        for name, value in expected.items():
            assert getattr(job, name) == value, name

    return check


def all_are(state: str, count: int) -> Callable[[Store, Any, Raw], None]:
    def check(store: Store, context: Any, rows: Raw) -> None:
        assert [job.state for job in store.list().jobs] == [state] * count

    return check


def claimed_once(store: Store, context: list[int], rows: Raw) -> None:
    """No row has two leases; what was claimed for nobody comes back when the lease runs out."""
    assert all(row["lease"] <= 1 for row in rows.all().values())
    rows.pass_time(100)
    store.rescue()
    assert len(store.claim(10)) == len(context)


STATEMENTS = {"mariadb": 3}
"""How many a verb sends, where it is not one."""


def mixed(store: Store, taken: Any) -> Any:
    return store.finish(
        [
            Finish(taken[0], Verb.COMPLETE),
            Finish(taken[1], Verb.FAIL, state=State.RETRYABLE, delay=60, error="x"),
            Finish(taken[2], Verb.RELEASE),
        ]
    )


def mixed_is(store: Store, taken: Any, rows: Raw) -> None:
    found = [store.get(claim.key) for claim in taken]
    assert [(job.state, job.attempt, len(job.errors)) for job in found if job] == [
        ("completed", 1, 0),
        ("retryable", 1, 1),
        ("available", 0, 0),
    ]
    assert [outcome.reason for outcome in store.settled(taken)] == [None] * 3


def counted_once(store: Store, taken: Any, rows: Raw) -> None:
    job_is("scheduled", attempt=0, snoozes=1)(store, taken, rows)
    assert [(kind.kind, kind.count) for kind in store.stats().unclaimable] == [("k", 1)]


def gone(store: Store, context: Any, rows: Raw) -> None:
    assert rows.count() == 0
    assert rows.rows("SELECT * FROM rowqueue_log") == []


def unique(store: Store, context: Any, rows: Raw) -> None:
    assert sorted(row["unique_key"] for row in rows.all().values()) == ["a", "b", "held"]


def at_least(count: int, most: int, table: str) -> Callable[[Store, Any, Raw], None]:
    """Nothing tells a repeated call without a key from a second one: never lost, perhaps twice."""

    def check(store: Store, context: Any, rows: Raw) -> None:
        (row,) = rows.rows(f"SELECT count(*) AS n FROM {table}")
        assert count <= row["n"] <= most

    return check


def is_true(answer: Callable[[Store], Any]) -> Callable[[Store, Any, Raw], None]:
    def check(store: Store, context: Any, rows: Raw) -> None:
        assert answer(store)

    return check


def _due(store: Store, rows: Raw) -> Any:
    keys = jobs(3, delay=60)(store, rows)
    rows.pass_time(100)
    return keys


def _left(store: Store, rows: Raw) -> Any:
    taken = claims()(store, rows)
    rows.pass_time(100)
    return taken


def _held(store: Store, rows: Raw) -> Any:
    return jobs(1, unique_key="held")(store, rows)


def _retried(store: Store, rows: Raw) -> Any:
    (key,) = jobs(1, unique_key="u")(store, rows)
    store.cancel(key)
    return key


def _conflicted(store: Store, rows: Raw) -> Any:
    key = _retried(store, rows)
    jobs(1, unique_key="u")(store, rows)
    return key


BATCH = [NewJob(kind="k", unique_key=key) for key in ("a", "held", "b")]
SCENARIOS = {
    "enqueue": Scenario(
        lambda s, c: s.enqueue(NewJob(kind="k", unique_key="u")), job_is("available", lease=0)
    ),
    "enqueue_many": Scenario(lambda s, c: s.enqueue_many(BATCH), unique, _held),
    "enqueue without a key": Scenario(
        lambda s, c: s.enqueue(NewJob(kind="k")), at_least(1, 2, "rowqueue_job")
    ),
    "claim": Scenario(lambda s, c: s.claim(2), claimed_once, jobs(3)),
    "claim of queues": Scenario(
        lambda s, c: s.claim(2, queues={"default": 1, "b": 2}), claimed_once, jobs(3)
    ),
    "extend": Scenario(lambda s, c: s.extend(c, lease=500), all_are("running", 2), claims(2)),
    "complete": Scenario(
        lambda s, c: s.complete(c, "done"), job_is("completed", result="done", attempt=1), claims()
    ),
    "complete_many": Scenario(lambda s, c: s.complete_many(c), all_are("completed", 3), claims(3)),
    "fail": Scenario(
        lambda s, c: s.fail(c, "x", delay=60), job_is("retryable", failures=1, errors=1), claims()
    ),
    "snooze": Scenario(lambda s, c: s.snooze(c, 60), job_is("scheduled", snoozes=1, attempt=0), claims()),
    "release": Scenario(lambda s, c: s.release(c), job_is("available", attempt=0, lease=1), claims()),
    "skip": Scenario(lambda s, c: s.skip(c, "x"), job_is("skipped", errors=1), claims()),
    "cancel": Scenario(lambda s, c: s.cancel(c, "x"), job_is("cancelled", errors=1), claims()),
    "discard": Scenario(lambda s, c: s.discard(c, "x"), job_is("discarded", errors=1), claims()),
    "finish": Scenario(mixed, mixed_is, claims(3)),
    "snooze_unknown": Scenario(lambda s, c: s.snooze_unknown([c]), counted_once, claims()),
    "progress": Scenario(lambda s, c: s.progress(c, 0.5), job_is("running"), claims()),
    "add_log": Scenario(lambda s, c: s.add_log(c, "x"), at_least(1, 2, "rowqueue_log"), claims()),
    "skip by key": Scenario(lambda s, c: s.skip_many(c, "x"), job_is("skipped", errors=1, lease=1), jobs()),
    "cancel by key": Scenario(
        lambda s, c: s.cancel_many(c, "x"), job_is("cancelled", errors=1, lease=1), jobs()
    ),
    "discard by key": Scenario(
        lambda s, c: s.discard_many(c, "x"), job_is("discarded", errors=1, lease=1), jobs()
    ),
    "promote": Scenario(lambda s, c: s.promote(c[0]), job_is("available", lease=1), jobs(1, delay=60)),
    "promote_due": Scenario(lambda s, c: s.promote_due(), all_are("available", 3), _due),
    "rescue": Scenario(lambda s, c: s.rescue(), job_is("available", rescues=1, errors=1, lease=2), _left),
    "retry": Scenario(lambda s, c: s.retry(c), job_is("available", attempt=0, max_attempts=25), _retried),
    "retry in conflict": Scenario(
        lambda s, c: s.retry(c),
        is_true(lambda s: sorted(job.state for job in s.list().jobs) == ["available", "cancelled"]),
        _conflicted,
    ),
    "delete": Scenario(lambda s, c: s.delete_many(c), gone, finals),
    "prune": Scenario(lambda s, c: s.prune(ages={State.COMPLETED: 1}), gone, finals),
    "pause": Scenario(lambda s, c: s.pause("q"), is_true(lambda s: s.queues()[0].paused_at)),
    "resume": Scenario(
        lambda s, c: s.resume("q"), is_true(lambda s: not s.queues()[0].paused_at), lambda s, r: s.pause("q")
    ),
    "heartbeat": Scenario(
        lambda s, c: s.heartbeat("w", queues={}, kinds=["k"]), is_true(lambda s: len(s.workers()) == 1)
    ),
    "forget_worker": Scenario(
        lambda s, c: s.forget_worker("w"),
        is_true(lambda s: not s.workers()),
        lambda s, r: s.heartbeat("w", queues={}, kinds=[]),
    ),
    "init": Scenario(lambda s, c: s.init(), is_true(lambda s: s.check_schema())),
    "stats": Scenario(lambda s, c: s.stats(), job_is("available"), jobs()),
    "list": Scenario(lambda s, c: s.list(), job_is("available"), jobs()),
    "get": Scenario(lambda s, c: s.get(c[0]), job_is("available"), jobs()),
}


def emptied(rows: Raw) -> None:
    for name in ("job", "log", "queue", "worker", "kind"):
        rows.execute(f"DELETE FROM rowqueue_{name}")


def attempt(
    store: Store, faults: Faults, scenario: Scenario, context: Any, at: int | None, when: Any
) -> list[str]:
    faults.watch(at, when)
    try:
        scenario.act(store, context)
    except DatabaseUnavailable:
        assert faults.struck
        scenario.act(store, context)  # the caller asks again
    assert faults.struck is (at is not None), (at, when, faults.seen)
    seen = faults.seen
    faults.watch()
    return seen


def test_every_statement_may_fail_before_and_after_it_ran(tables_url: str, publish) -> None:
    points = 0
    store, faults = faulty_store(tables_url)
    with contextlib.closing(store), raw(tables_url) as rows:
        store.check_schema()
        for name, scenario in SCENARIOS.items():
            emptied(rows)
            context = scenario.prepare(store, rows)
            statements = attempt(store, faults, scenario, context, None, "before")
            scenario.check(store, context, rows)
            assert statements, name
            for at in range(len(statements)):
                for when in ("before", "after"):
                    emptied(rows)
                    context = scenario.prepare(store, rows)
                    attempt(store, faults, scenario, context, at, when)
                    try:
                        scenario.check(store, context, rows)
                    except AssertionError as wrong:
                        wrong.add_note(f"{name}: a fault {when} {statements[at]} of {statements}")
                        raise
                    points += 1
    publish(
        "#14",
        "every statement of every verb fails once before and once after it ran, and the caller asks again",
        f"{points} fault points in {len(SCENARIOS)} operations, each as it must be",
        value=points,
        bound="fault points > 120",
        promise=1,
    )


def test_a_first_init_may_fail_at_every_statement(database_url: str, publish) -> None:
    store, faults = faulty_store(database_url)
    with contextlib.closing(store), raw(database_url) as rows:
        faults.watch()
        store.init()
        statements = len(faults.seen)
        for at in range(statements):
            for when in ("before", "after"):
                rows.drop_all()
                faults.watch(at, when)  # type: ignore[arg-type]
                with pytest.raises(DatabaseUnavailable):
                    store.init()
                faults.watch()
                store.init()
                assert store.enqueue(NewJob(kind="k")).inserted
        assert all(finding.ok for finding in store.doctor())
    publish(
        "#14",
        "a first init fails at every statement, before and after, and is asked again",
        f"{2 * statements} fault points, each time the whole schema",
        value=statements,
        bound="statements >= 1",
    )


def test_a_mixed_batch_is_written_whole_or_not_at_all(tables_url: str) -> None:
    store, faults = faulty_store(tables_url)
    with contextlib.closing(store), raw(tables_url) as rows:
        taken = claims(3)(store, rows)
        before = rows.all()
        many = 2 + 3 * STATEMENTS.get(rows.kind, 1)
        for at in range(many):  # BEGIN, three verbs, COMMIT
            faults.watch(at, "before")
            with pytest.raises(DatabaseUnavailable):
                mixed(store, taken)
            assert rows.all() == before
        faults.watch()
        mixed(store, taken)
        assert [name for name in faults.seen if name != "wake"] == faults.seen[:many]
        faults.watch()  # no fault in the look at what became of it
        mixed_is(store, taken, rows)


STEPS = ("nothing", "begin", "effect", "complete", "commit")


def test_work_and_completion_in_one_transaction_take_effect_once_wherever_it_crashes(
    tables_url: str, long: bool, publish
) -> None:
    """The handler's connection is lost after each statement; the job runs again when its lease has run out."""
    each = 200 if long else 10
    crashes = 0
    with contextlib.closing(Store(tables_url)) as store, raw(tables_url) as rows:
        rows.execute("DROP TABLE IF EXISTS effect")
        rows.execute("CREATE TABLE effect (job_id bigint)")
        keys = [
            answer.job.id
            for answer in store.enqueue_many([NewJob(kind="k") for _ in range(each * len(STEPS))])
        ]
        plan = {key: STEPS[key % len(STEPS)] for key in keys}
        while taken := store.claim(20):
            for claim in taken:
                crash = plan.pop(claim.key, None)
                crashes += crash is not None
                _handle(store, tables_url, claim, crash)
            rows.pass_time(100)
            store.rescue()
        found = [row["job_id"] for row in rows.rows("SELECT job_id FROM effect ORDER BY job_id")]
        assert rows.count("state = 'completed'") == len(keys)
        assert rows.count("attempt = 1") == each  # those whose commit was done and only its reply was lost
    wrong = abs(len(found) - len(keys)) + len(set(found) ^ set(keys))
    publish(
        "#23",
        "a handler that completes in its own transaction crashes after each of its statements",
        f"{crashes} crashes, {len(keys)} jobs, {len(found)} effects",
        value=wrong,
        bound="effects missing or twice = 0",
        promise=5,
    )


def _handle(store: Store, url: str, claim: Any, crash: str | None) -> None:
    connection: Any
    if url.startswith("mariadb"):
        connection = mariadb.connect(url)
    elif url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    else:
        connection = psycopg.connect(plain_url(url), autocommit=True)
    execute = connection.query if url.startswith("mariadb") else connection.execute
    with contextlib.closing(connection):
        steps = {
            "nothing": lambda: None,
            "begin": lambda: execute("BEGIN"),
            "effect": lambda: execute(f"INSERT INTO effect VALUES ({claim.key})"),
            "complete": lambda: store.on(connection).complete(claim).or_raise(),  # type: ignore[union-attr]
            "commit": lambda: execute("COMMIT"),
        }
        for name, step in steps.items():
            step()
            if name == crash:
                return
