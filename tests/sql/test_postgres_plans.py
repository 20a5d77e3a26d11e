"""Every hot statement's plan on PostgreSQL, whatever the statistics say, as a custom and as a generic plan.

A finish that scans the table once in a blue moon (after a restore, before the first ANALYZE) is an outage; so
the bounds are on rows touched, not on the estimate or the time.
"""

import contextlib
import os
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from rowqueue.store.store import Store
from tests.support.backlog import fill
from tests.support.explain import Measured, measure

BATCH = 100
ROWS = int(os.environ.get("ROWQUEUE_PLAN_ROWS", "200000"))
QUEUES = [f"queue-{number}" for number in range(10)]
KINDS = [f"kind-{number}" for number in range(6)]  # six kinds of seven
_CLAIM = {"limit": BATCH, "duration": 30.0, "worker": "w"}


def cases(ids: dict[str, list[int]]) -> dict[tuple[str, str], tuple[dict[str, Any], int]]:
    """By statement and situation: the values, and how many rows it is asked for."""
    running, final, waiting = ids["running"], ids["completed"], ids["scheduled"]
    fence = {"given_id": running, "given_lease": [1] * BATCH}
    nothing = [None] * BATCH
    error = {"given_error": ['"error":"ValueError: no"'] * BATCH}
    delay = {"given_delay": [5.0] * BATCH}
    keys = {"keys": [f"key-{10 * number + 3}" for number in range(BATCH)]}
    prune = {"age": 86400.0, "queue": None, "limit": BATCH}
    job = {"id": running[0], "lease": 1}
    return {
        ("claim", "one queue"): (_CLAIM | {"wanted_queue": QUEUES[:1], "wanted_slots": [BATCH]}, BATCH),
        ("claim", "ten queues"): (_CLAIM | {"wanted_queue": QUEUES, "wanted_slots": [10] * 10}, BATCH),
        ("claim", "more slots than the limit"): (
            _CLAIM | {"wanted_queue": QUEUES, "wanted_slots": [BATCH] * 10},
            BATCH,
        ),
        ("claim_kinds", "six kinds of seven"): (
            _CLAIM | {"wanted_queue": QUEUES[:1], "wanted_slots": [BATCH], "kinds": KINDS},
            BATCH,
        ),
        ("claim_ready_queues", ""): ({}, len(QUEUES)),
        ("complete", ""): (fence | {"given_result": nothing}, BATCH),
        ("complete", "one"): ({"given_id": running[:1], "given_lease": [1], "given_result": [None]}, 1),
        ("fail", ""): (fence | error | delay | {"given_state": ["retryable"] * BATCH}, BATCH),
        ("snooze", ""): (fence | delay, BATCH),
        ("release", ""): (fence, BATCH),
        ("skip", ""): (fence | {"given_error": nothing}, BATCH),
        ("cancel", ""): (fence | {"given_error": nothing}, BATCH),
        ("discard", ""): (fence | error, BATCH),
        ("extend", ""): (fence | {"duration": 30.0}, BATCH),
        ("extend", "one"): ({"given_id": running[:1], "given_lease": [1], "duration": 30.0}, 1),
        ("progress", ""): (job | {"progress": '{"fraction":0.5}'}, 1),
        ("add_log", ""): (job | {"entry": "{}"}, 1),
        ("promote_due", ""): ({"limit": BATCH}, BATCH),
        ("next_due", ""): ({}, 1),
        ("look", "ten queues"): ({"given_queue": QUEUES}, len(QUEUES) + 1),
        ("rescue", ""): ({"limit": BATCH, "max_rescues": 3}, BATCH),
        ("prune", "most"): (prune | {"state": "completed"}, BATCH),
        ("prune", "kept longer"): (prune | {"state": "discarded", "age": 14 * 86400.0}, BATCH),
        ("prune", "one queue"): (prune | {"state": "completed", "queue": "queue-3", "limit": 10}, BATCH),
        ("list", "a late page"): ({"after": ROWS // 2, "limit": BATCH}, BATCH),
        ("enqueue_holders", ""): (keys, BATCH),
        ("standing", ""): ({"keys": running}, BATCH),
        ("get", ""): ({"id": running[0]}, 1),
        ("retry", ""): ({"keys": final}, BATCH),
        ("retry_rival", ""): ({"id": 13}, 2),
        ("promote", ""): ({"keys": waiting}, BATCH),
        ("cancel_by_key", ""): ({"keys": waiting, "error": None}, BATCH),
        ("delete", ""): ({"keys": final}, BATCH),
    }


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["none", "all ready", "fresh"])
def test_no_hot_statement_touches_more_rows_than_it_must(postgres_database: str, statistics: str) -> None:
    with contextlib.closing(Store(postgres_database)) as store:
        store.init()
        table = store.tables.job.name
        statements = dict(store.statements())
    wrong: list[str] = []
    with psycopg.connect(
        make_url(postgres_database).set(drivername="postgresql").render_as_string(False), autocommit=True
    ) as connection:
        fill(connection, table, ROWS, statistics=statistics)
        wanted = cases(
            {state: _ids(connection, table, state) for state in ("running", "completed", "scheduled")}
        )
        for (name, situation), (values, batch) in wanted.items():
            for mode in ("force_custom_plan", "force_generic_plan"):
                found = measure(connection, table, statements[name], values, mode)
                print(_line(f"{name} {situation}".strip(), mode, batch, found))
                if found.touched > 2 * batch + 20 or found.sorted > 2 * batch or found.seq_scans:
                    wrong.append(f"{name} {situation} {mode}: {found}")
    assert not wrong, "\n".join(wrong)


def _ids(connection: psycopg.Connection[Any], table: str, state: str) -> list[int]:
    rows = connection.execute(
        f"SELECT id FROM {table} WHERE state = %s ORDER BY id LIMIT {BATCH}",  # type: ignore[call-overload]
        [state],
    ).fetchall()
    return [row[0] for row in rows]


def _line(name: str, mode: str, batch: int, found: Measured) -> str:
    return (
        f"{name:38} {mode.split('_')[1]:8} asked {batch:4} touched {found.touched:7} sorted {found.sorted:6} "
        f"pages {found.buffers:7} {found.milliseconds:9.2f} ms  {' < '.join(found.nodes[1:4])}"
    )
