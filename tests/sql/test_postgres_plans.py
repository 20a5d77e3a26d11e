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

from rowqueue.core.values import NewJob
from rowqueue.operations.claim import FRONT, claim, place_of
from rowqueue.store.store import Store
from tests.support.backlog import fill
from tests.support.explain import Measured, measure

ROWS = int(os.environ.get("ROWQUEUE_PLAN_ROWS", "80000"))
LONG = 1_000_000
TABLES = [
    ("none", ROWS, 100),
    ("all ready", ROWS, 100),
    ("fresh", ROWS, 100),
    ("all ready", 20_000, 500),  # a scan looks cheap here, and a finish that did one for each row took 430 ms
]
PAGES_A_ROW, PAGES_A_ROW_OF_MANY = 40, 80
"""A claim or a finish reads and writes the row and six indexes: 13 pages. Where 950,000 of a million rows have moved on
and nothing was vacuumed since, the first claim also walks over their entries, and marks them as dead for the next: 66."""
QUEUES = [f"queue-{number}" for number in range(10)]
KINDS = [f"kind-{number}" for number in range(6)]  # six kinds of seven


def cases(ids: dict[str, list[int]], batch: int) -> dict[tuple[str, str], tuple[dict[str, Any], int]]:
    """By statement and situation: the values, and how many rows it is asked for."""
    claim = {"limit": batch, "duration": 30.0, "worker": "w"}
    running, final, waiting = ids["running"], ids["completed"], ids["scheduled"]
    fence = {"given_id": running, "given_lease": [1] * batch}
    nothing = [None] * batch
    error = {"given_error": ['"error":"ValueError: no"'] * batch}
    delay = {"given_delay": [5.0] * batch}
    keys = {"keys": [f"key-{10 * number + 3}" for number in range(batch)]}
    prune = {"age": 86400.0, "queue": None, "limit": batch}
    job = {"id": running[0], "lease": 1}
    return {
        ("claim", "one queue"): (claim | wanted(QUEUES[:1], batch), batch),
        ("claim", "ten queues"): (claim | wanted(QUEUES, 10), batch),
        ("claim", "more slots than the limit"): (claim | wanted(QUEUES, batch), batch),
        ("claim", "behind a place"): (claim | wanted(QUEUES[:1], batch, 2), batch),
        ("claim", "behind the last one"): (claim | wanted(QUEUES[:1], batch, 5), batch),
        ("claim_kinds", "six kinds of seven"): (claim | wanted(QUEUES[:1], batch) | {"kinds": KINDS}, batch),
        ("claim_ready_queues", ""): ({}, len(QUEUES)),
        ("complete", ""): (fence | {"given_result": nothing}, batch),
        ("complete", "one"): ({"given_id": running[:1], "given_lease": [1], "given_result": [None]}, 1),
        ("fail", ""): (fence | error | delay | {"given_state": ["retryable"] * batch}, batch),
        ("snooze", ""): (fence | delay, batch),
        ("release", ""): (fence, batch),
        ("skip", ""): (fence | {"given_error": nothing}, batch),
        ("cancel", ""): (fence | {"given_error": nothing}, batch),
        ("discard", ""): (fence | error, batch),
        ("extend", ""): (fence | {"duration": 30.0}, batch),
        ("extend", "one"): ({"given_id": running[:1], "given_lease": [1], "duration": 30.0}, 1),
        ("progress", ""): (job | {"progress": '{"fraction":0.5}'}, 1),
        ("add_log", ""): (job | {"entry": "{}"}, 1),
        ("promote_due", ""): ({"limit": batch}, batch),
        ("next_due", ""): ({}, 1),
        ("look", "ten queues"): ({"given_queue": QUEUES}, len(QUEUES) + 1),
        ("rescue", ""): ({"limit": batch, "max_rescues": 3}, batch),
        ("prune", "most"): (prune | {"state": "completed"}, batch),
        ("prune", "kept longer"): (prune | {"state": "discarded", "age": 14 * 86400.0}, batch),
        ("prune", "one queue"): (prune | {"state": "completed", "queue": "queue-3", "limit": 10}, batch),
        ("list", "a late page"): ({"after": 10_000, "limit": batch}, batch),
        ("enqueue_holders", ""): (keys, batch),
        ("standing", ""): ({"keys": running}, batch),
        ("get", ""): ({"id": running[0]}, 1),
        ("retry", ""): ({"keys": final}, batch),
        ("retry_rival", ""): ({"id": 13}, 2),
        ("promote", ""): ({"keys": waiting}, batch),
        ("cancel_by_key", ""): ({"keys": waiting, "error": None}, batch),
        ("skip_by_key", ""): ({"keys": waiting, "error": None}, batch),
        ("discard_by_key", ""): ({"keys": waiting, "error": None}, batch),
        ("hold", ""): (job, 1),
        ("update_log", ""): (job | {"seq": 1, "entry": "{}"}, 1),
        ("log", ""): ({"id": running[0]}, 1),
        ("delete_log", ""): ({"keys": final}, batch),
        ("delete", ""): ({"keys": final}, batch),
    }


def wanted(queues: list[str], slots: int, after: int | None = None) -> dict[str, Any]:
    """The queues of a claim, each behind the last job of a priority."""
    priority, moment, key = FRONT if after is None else (after, FRONT[1].replace(year=9000), 0)
    columns = {
        "queue": queues,
        "slots": [slots] * len(queues),
        "after_priority": [priority] * len(queues),
        "after_at": [moment] * len(queues),
        "after_id": [key] * len(queues),
    }
    return {f"wanted_{name}": values for name, values in columns.items()}


NOT_HOT = {
    "inserts, which read no job": ("enqueue", "enqueue_plain", "enqueue_many", "enqueue_alike"),
    "a person asks, and it reads all": ("stats",),
    "small tables of their own": (
        *("stats_unclaimable", "queues", "pause", "pause_add", "resume", "workers", "tell", "wake"),
        *("unclaimable", "unclaimable_add", "unclaimable_forget", "idle", "idle_forget", "idle_prune"),
        *("heartbeat", "heartbeat_add", "heartbeat_forget", "heartbeat_prune"),
        *("schema_present", "schema_version", "schema_record"),
    ),
    "the ledger's; test_backfill.py has them": (
        *(
            "backfill_begin",
            "backfill_take",
            "backfill_look",
            "backfill_advance",
            "backfill_add",
            "backfill_record",
        ),
        *("backfill_undo", "backfill_give_back", "backfill_done"),
    ),
}


def test_every_statement_is_hot_or_has_its_reason(postgres_database: str) -> None:
    ids = {state: [1] * 100 for state in ("running", "completed", "scheduled")}
    tried = {name for name, _ in cases(ids, 100)}
    excused = {name for names in NOT_HOT.values() for name in names}
    with contextlib.closing(Store(postgres_database)) as store:
        known = set(dict(store.statements()))
    assert known - tried - excused == set()
    assert excused & tried == set()


@pytest.mark.slow
@pytest.mark.parametrize("statistics, rows, batch", TABLES)
def test_no_hot_statement_touches_more_rows_than_it_must(
    postgres_database: str, statistics: str, rows: int, batch: int, long: bool, publish
) -> None:
    rows = LONG if long and rows == ROWS else rows
    with contextlib.closing(Store(postgres_database)) as store:
        store.init()
        table = store.tables.job.name
        statements = dict(store.statements())
    pages = PAGES_A_ROW_OF_MANY if rows == LONG else PAGES_A_ROW
    wrong: list[str] = []
    most = most_pages = 0.0
    with psycopg.connect(
        make_url(postgres_database).set(drivername="postgresql").render_as_string(False), autocommit=True
    ) as connection:
        fill(connection, table, rows, statistics=statistics)
        tried = cases(
            {state: _ids(connection, table, state, batch) for state in ("running", "completed", "scheduled")},
            batch,
        )
        for (name, situation), (values, asked) in tried.items():
            for mode in ("force_custom_plan", "force_generic_plan"):
                found = measure(connection, table, statements[name], values, mode)
                most = max(most, found.touched / asked)
                print(_line(f"{name} {situation}".strip(), mode, asked, found))
                most_pages = max(most_pages, found.buffers / asked)
                too_many_pages = found.buffers > pages * asked + 200
                if (
                    found.touched > 2 * asked + 20
                    or found.sorted > 2 * asked
                    or found.seq_scans
                    or too_many_pages
                ):
                    wrong.append(f"{name} {situation} {mode}: {found}")
    assert not wrong, "\n".join(wrong)
    publish(
        "#32",
        f"plans over {rows:,} rows, 90 % of them final; statistics: {statistics}",
        f"{2 * len(tried)} plans, custom and generic: at most {most:.1f} rows touched and {most_pages:.0f} pages read for one asked for, no scan, no sort",
        value=len(wrong),
        bound="plans that touch over 20 rows and twice what is asked for = 0",
    )


def test_a_claim_behind_the_last_one_does_not_walk_over_what_was_claimed_before(
    postgres_database: str,
) -> None:
    """A snapshot is open, so what was claimed stays in the index; the control claims from the front, and walks over it."""
    batch = 100
    url = make_url(postgres_database).set(drivername="postgresql").render_as_string(False)
    with (
        contextlib.closing(Store(postgres_database)) as store,
        psycopg.connect(url) as reader,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        store.init()
        store.enqueue_many([NewJob(kind="k", args={"n": n}) for n in range(60 * batch)])
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        last = {}
        for _ in range(50):
            operation = claim(store.settings, batch, {"default": batch}, None, None, None, "w", last)
            claims = store.run(operation)
            last = {"default": place_of(claims[-1].job)}
        values = {"limit": batch, "duration": 30.0, "worker": "w"} | wanted(["default"], batch)
        names = ("wanted_after_priority", "wanted_after_at", "wanted_after_id")
        behind = {name: [value] for name, value in zip(names, last["default"], strict=True)}
        index, statement = f"{store.tables.job.name}_claim", dict(store.statements())["claim"]
        found, control = (
            entries_read(connection, index, statement, given) for given in (values | behind, values)
        )
    assert found <= 2 * batch
    assert control > 50 * batch, "the control walked over nothing: this test tells nothing"


def entries_read(
    connection: psycopg.Connection[Any], index: str, statement: str, values: dict[str, Any]
) -> int:
    """The entries of an index that a statement reads, those of dead rows included."""

    def count() -> int:
        (found,) = connection.execute(
            "SELECT pg_stat_get_xact_tuples_returned(%s::regclass)", [index]
        ).fetchone() or (0,)
        return int(found)

    with connection.transaction(force_rollback=True):
        before = count()
        connection.execute(statement, values)  # type: ignore[call-overload]
        return count() - before


def _ids(connection: psycopg.Connection[Any], table: str, state: str, batch: int) -> list[int]:
    rows = connection.execute(
        f"SELECT id FROM {table} WHERE state = %s ORDER BY id LIMIT {batch}",  # type: ignore[call-overload]
        [state],
    ).fetchall()
    return [row[0] for row in rows]


def _line(name: str, mode: str, batch: int, found: Measured) -> str:
    return (
        f"{name:38} {mode.split('_')[1]:8} asked {batch:4} touched {found.touched:7} sorted {found.sorted:6} "
        f"pages {found.buffers:7} {found.milliseconds:9.2f} ms  {' < '.join(found.nodes[1:4])}"
    )
