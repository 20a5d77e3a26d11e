"""Prefixes and schemas of every kind are refused, or quoted and work; a canary beside them survives (#29)."""

import contextlib
import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import State
from rowqueue.core.values import NewJob
from rowqueue.sql.tables import tables
from rowqueue.store.store import Store
from tests.support.stores import Raw, raw

PIECES = [
    '"',
    "'",
    "`",
    ";",
    "--",
    "%",
    "%s",
    "%%",
    "%(a)s",
    ":a",
    ".",
    " ",
    "\n",
    "\\",
    "$1",
    "?",
    "{}",
    "ü",
    "漢",
    "A",
    "a",
    "_",
    "1",
    "job",
    "select",
    "pg_",
    "\0",
]
WORDS = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=70)
CANARY = "canary; drop"
FEW = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def canary(database_url):
    with raw(database_url, f'"{CANARY}"') as rows:
        rows.execute(f'CREATE TABLE "{CANARY}" (id integer)')
        rows.execute(f'INSERT INTO "{CANARY}" VALUES (1)')
        yield rows
        assert rows.count() == 1


def works(store: Store) -> None:
    """The statements that name tables: one of each shape."""
    store.init()
    store.init()
    store.enqueue_many([NewJob(kind="k", unique_key="u"), NewJob(kind="k", unique_key="u"), NewJob(kind="k")])
    claims = store.claim(5)
    assert len(claims) == 2
    assert all(store.extend(claims))
    store.add_log(claims[0], "x")
    assert all(store.complete_many(claims))
    assert store.retry(claims[0].key)
    assert store.delete(claims[1].key)
    assert store.stats().total(State.AVAILABLE) == 1


def drop(rows: Raw, prefix: str, schema: str = "") -> None:
    where = schema and '"' + schema.replace('"', '""').replace("%", "%") + '".'
    for table in tables(prefix).metadata.tables:
        rows.execute(f"DROP TABLE {where}{table}")


@example(prefix="select_")
@example(prefix="a" * 40)
@example(prefix="_")
@example(prefix="_")  # again: the one before left nothing behind
@example(prefix='x"; DROP TABLE "canary; drop"; --')
def a_prefix(canary, database_url, seen, prefix):
    if not re.fullmatch("[a-z_][a-z0-9_]{0,39}", prefix):
        with pytest.raises(ConfigurationError, match="table prefix"):
            Store(database_url, prefix=prefix)
        seen["refused"] += 1
        return
    with contextlib.closing(Store(database_url, prefix=prefix)) as store:
        works(store)
        drop(canary, prefix)
    seen["worked"] += 1


def test_prefixes(canary, database_url, long, publish):
    seen = Counter()
    examples = settings(FEW, max_examples=1000) if long else FEW
    examples(given(prefix=WORDS)(a_prefix))(canary, database_url, seen)
    publish(
        "#29",
        "table prefixes with quotes, percent signs, statements in them",
        f"{seen.total()} prefixes: {seen['worked']} worked, {seen['refused']} refused; the canary's table is whole",
        value=canary.count() - 1,
        bound="rows lost or added = 0",
    )


@example(schema="select")
@example(schema='a"b')
@example(schema="a%b%%c")
@example(schema=":a :b")
@example(schema="ü" * 40)
@example(schema="x" * 63)
@example(schema="x" * 64)
@example(schema="pg_mine")
@example(schema="Jobs")
@example(schema='x"; DROP TABLE "canary; drop"; --')
def a_schema(postgres_database, seen, schema):
    with raw(postgres_database, f'"{CANARY}"') as rows:
        rows.execute(f'CREATE TABLE IF NOT EXISTS "{CANARY}" (id integer)')
        bad = not schema or len(schema.encode("utf-8", "replace")) > 63 or schema.startswith("pg_")
        if bad or "%" in schema or "\0" in schema or any(0xD800 <= ord(c) < 0xE000 for c in schema):
            with pytest.raises(ConfigurationError, match="schema"):
                Store(postgres_database, schema=schema)
            seen["refused"] += 1
            return
        with contextlib.closing(Store(postgres_database, schema=schema)) as store:
            works(store)
        rows.rows(f'SELECT * FROM "{CANARY}"')
        names = rows.rows(
            "SELECT nspname AS name FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        )
        assert {row["name"] for row in names} == {"public", schema}
        if schema != "public":
            rows.execute(f'DROP SCHEMA "{schema.replace(chr(34), chr(34) * 2)}" CASCADE')
        else:
            drop(rows, "rowqueue_")
    seen["worked"] += 1


def test_schemas(postgres_database, long, publish):
    seen = Counter()
    examples = settings(FEW, max_examples=500) if long else FEW
    examples(given(schema=WORDS)(a_schema))(postgres_database, seen)
    publish(
        "#29",
        "schemas with quotes, percent signs, statements in them",
        f"{seen.total()} schemas: {seen['worked']} worked under their own name, {seen['refused']} refused",
        value=seen["worked"],
        bound="worked >= 5",
    )


def test_a_prefix_that_is_pasted_into_the_statement_reaches_other_tables(sqlite_url, publish):
    """A negative control: no check, no quotes."""
    with raw(sqlite_url) as rows:
        rows.execute("CREATE TABLE theirs (id integer)")
        prefix = 'theirs"; --'
        rows.execute(f'DROP TABLE "{prefix}job"')
        assert rows.rows("SELECT * FROM sqlite_master") == []
    publish.control(
        "#29", "a prefix that is pasted in", "somebody's table is gone", value=1, bound="gone = 1"
    )
