"""What every hot verb reads on MariaDB: rows in proportion to what it does, never the backlog; counted by the server."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from rowqueue.core.finish import Finish
from rowqueue.core.states import State, Verb
from rowqueue.core.values import Claim
from rowqueue.operations import claim as claiming
from rowqueue.operations import finish, operate, reading, upkeep, wake
from rowqueue.operations.base import Operation
from rowqueue.operations.settings import StoreSettings
from rowqueue.store.borrowed import BoundStore
from rowqueue.store.store import Store
from tests.support.mariadb import MariaServer, connect, temporary_maria_database

ROWS = int(os.environ.get("ROWQUEUE_PLAN_ROWS", "200000")) // 4
MANY = 50
BOUND = 20 * MANY  # three steps, each with an index entry and a row, and the parameters
SETTINGS = StoreSettings()

_FILL = f"""
INSERT INTO rowqueue_job (id, kind, queue, state, priority, args, scheduled_at, max_attempts, lease, leased_until,
    created_at, finalized_at, unique_key)
SELECT id, 'k', CONCAT('queue-', id % 10), state, 1 + id % 4, '{{}}', past, 25, 1, IF(state = 'running', past, NULL),
    '2023-11-14', IF(state = 'completed', past, NULL), IF(id % 10 = 3, CONCAT('key-', id), NULL)
FROM (SELECT seq AS id, TIMESTAMPADD(MICROSECOND, seq, '2023-11-14') AS past, CASE
    WHEN seq DIV 10 % 100 < 60 THEN 'completed' WHEN seq DIV 10 % 100 < 65 THEN 'running'
    WHEN seq DIV 10 % 100 < 90 THEN 'available' ELSE 'scheduled' END AS state FROM seq_1_to_{ROWS}) AS made
"""


def _ends(verb: Verb, **options: Any) -> Callable[[list[Claim]], Operation[Any]]:
    return lambda claims: finish.finish([Finish(claim, verb, **options) for claim in claims])


def _claims(**options: Any) -> Operation[Any]:
    chosen = {"queues": {"queue-1": MANY}, "kinds": None, "where": None, "lease": None, "worker": "w"}
    return claiming.claim(SETTINGS, MANY, **{**chosen, **options})


HOT: dict[str, Callable[[list[Claim]], Operation[Any]]] = {
    "claim": lambda _: _claims(),
    "claim kinds": lambda _: _claims(kinds=["k"]),
    "claim every queue": lambda _: _claims(queues=None),
    "extend": lambda claims: claiming.extend(SETTINGS, claims, 30),
    "complete": _ends(Verb.COMPLETE, result="1"),
    "fail": _ends(Verb.FAIL, state=State.RETRYABLE, delay=5.0, error="no"),
    "snooze": _ends(Verb.SNOOZE, delay=5.0),
    "release": _ends(Verb.RELEASE),
    "skip": _ends(Verb.SKIP, error="no"),
    "discard": _ends(Verb.DISCARD, error="no"),
    "cancel by key": lambda claims: operate.end(Verb.CANCEL, [claim.key for claim in claims], "no"),
    "retry": lambda _: operate.retry(list(range(1, MANY))),
    "delete": lambda _: operate.delete(list(range(1, MANY))),
    "promote due": lambda _: upkeep.promote_due(MANY),
    "next due": lambda _: upkeep.next_due(),
    "look": lambda _: wake.look(["queue-1", "queue-2"]),
    "rescue": lambda _: upkeep.rescue(SETTINGS, MANY),
    "prune": lambda _: upkeep.prune({State.COMPLETED: 60.0}, None, MANY),
    "settled": finish.settled,
    "get": lambda _: reading.get(77),
    "progress": lambda claims: finish.progress(claims[0], 0.5, ""),
    "log": lambda claims: finish.add_log(claims[0], "entry"),
}


@pytest.fixture(scope="module", params=["never analysed", "analysed"])
def store(request: pytest.FixtureRequest, mariadb_server: MariaServer) -> Iterator[tuple[Store, str]]:
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(temporary_maria_database(mariadb_server.url, "plans"))
        store = stack.enter_context(contextlib.closing(Store(url)))
        store.init()
        raw = stack.enter_context(contextlib.closing(connect(url)))
        with raw.cursor() as cursor:
            cursor.execute(_FILL)
            if request.param == "analysed":
                cursor.execute("ANALYZE TABLE rowqueue_job")
        yield store, url


@pytest.mark.parametrize("name", HOT)
def test_no_hot_verb_reads_the_backlog(store: tuple[Store, str], name: str, publish) -> None:
    opened, url = store
    with contextlib.closing(connect(url)) as raw, raw.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        raw.begin()
        bound = cast("BoundStore", opened.on(raw))
        claims = bound.run(_claims())
        assert len(claims) == MANY
        before = _reads(cursor)
        bound.run(HOT[name](claims))
        read = _reads(cursor) - before
        raw.rollback()
    publish(
        "#32",
        f"{MANY} jobs by each hot verb among {ROWS:,} rows, never analysed and analysed",
        f"{read} rows and index entries read",
        value=read,
        bound=f"<= {BOUND}",
    )


def _reads(cursor: Any) -> int:
    cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
    return sum(int(count) for _, count in cursor.fetchall())
