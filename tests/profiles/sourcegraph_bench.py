"""Sourcegraph's table as tests fill it, stores on it, and a look past them."""

import json
from dataclasses import dataclass
from datetime import timedelta

import pytest

from rowqueue.profiles.sourcegraph import (
    Options,
    Store,
)
from tests.profiles.sourcegraph_schema import ago, schema
from tests.support.stores import raw

on_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


@dataclass
class TestRecord:
    __test__ = False
    id: int
    state: str


class Bench:
    """The table, stores on it, and a look past them."""

    def __init__(self, url, stack, heartbeat):
        self.url, self.stack, self.heartbeat = url, stack, heartbeat
        self.dialect = "sqlite" if url.startswith("sqlite") else "postgres"
        self.rows = stack.enter_context(raw(url, "workerutil_test"))
        for statement in schema(self.dialect, heartbeat=heartbeat):
            self.rows.execute(statement)

    def store(self, **options):
        defaults = {
            "name": "test",
            "table_name": "workerutil_test",
            "order_by_expression": lambda w: w.c.uploaded_at,
            "scan": TestRecord,
            "stalled_max_age": 5,
            "max_num_resets": 5,
            "heartbeat": self.heartbeat,
        }
        store = Store(self.url, Options(**(defaults | options)))
        self.stack.callback(store.close)
        if self.dialect == "sqlite":
            store.init()
        return store

    def ago(self, minutes):
        return ago(self.dialect, minutes)

    def insert(self, *rows, **columns):
        """Rows of id and state (or of any columns), and SQL for the columns of all."""
        for row in rows:
            given = dict(zip(("id", "state"), row, strict=False)) if isinstance(row, tuple) else row
            values = {name: self._literal(value) for name, value in given.items()} | columns
            names = ", ".join(values)
            self.rows.execute(f"INSERT INTO workerutil_test ({names}) VALUES ({', '.join(values.values())})")

    def _literal(self, value):
        if isinstance(value, timedelta):
            return self.ago(value.total_seconds() / 60)
        return f"'{value}'" if isinstance(value, str) else "NULL" if value is None else str(value)

    def row(self, key):
        return self.rows.row(key)

    def states(self):
        return {key: row["state"] for key, row in self.rows.all().items()}

    def set(self, key, assignments):
        self.rows.execute(f"UPDATE workerutil_test SET {assignments} WHERE id = {key}")


both_shapes = pytest.mark.parametrize("shape", ["held", "heartbeat"], indirect=True)

later = pytest.mark.parametrize("shape", ["heartbeat"], indirect=True)


def minutes(number):
    return timedelta(minutes=number)


def finish(found):
    """End a transaction without an error; there is none with heartbeats."""
    _, store = found
    if not isinstance(store, Store):
        store.done()


def record_of(found):
    assert found is not None
    finish(found)
    return found[0]


def working(bench, store):
    """One row being worked, in a transaction or not: its record, and the store for it."""
    found = store.dequeue()
    assert found is not None
    return found


# execution logs


def logs(bench, key=1):
    found = bench.row(key)["execution_logs"]
    return json.loads(found) if isinstance(found, str) else found
