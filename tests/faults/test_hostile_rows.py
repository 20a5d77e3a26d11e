"""Rows that another program wrote, with what we cannot read (reliability #30): they do not keep others from their work."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from rowqueue import App
from rowqueue.core.errors import RowqueueError, StoreError
from rowqueue.core.values import NewJob
from rowqueue.operations import decode
from rowqueue.sql.types import JsonText
from rowqueue.store.drivers import sqlite
from rowqueue.store.store import Store
from rowqueue.worker import events
from tests.support.stores import Raw, raw
from tests.worker.harness import drain

DEEP = "[" * 5000 + "]" * 5000
HOSTILE = {
    "args": ["", "not json", "[1]", "null", "7", '"x"', '{"n": 1', '{"n": ' + "1" * 5000 + "}", DEEP],
    "meta": ["[1", "7", '{"m": ' + "9" * 5000 + "}"],
    "tags": ["7", "{}", "nothing", "[1"],
    "errors": ["{}", "7", '["x"]', '[{"at": "soon"}]', '[{"at": 7}]', '[{"attempt": 1}]', "[1"],
    "progress": ["{}", "[]", "7", "x", '{"fraction"'],
    "result": ["{", "x", DEEP],
}


def spoil(rows: Raw, key: int, column: str, value: str) -> bool:
    """Write a value, as SQL, into the row; False where the database itself refuses that."""
    try:
        rows.execute(f"UPDATE rowqueue_job SET {column} = {value} WHERE id = {key}")
    except Exception:  # noqa: BLE001 - each driver has its own
        return False
    return True


def written(store: Store, rows: Raw) -> int:
    """One job for each hostile value, each of a kind of its own; how many the database let in."""
    let_in = 0
    for column, values in HOSTILE.items():
        for number, value in enumerate(values):
            job = store.enqueue(NewJob(kind=f"{column}-{number}", priority=1)).job
            if spoil(rows, job.id, column, f"'{value}'"):
                let_in += 1
            else:
                store.cancel(job.id)
    return let_in


@pytest.mark.every_database
def test_rows_that_cannot_be_read_keep_no_other_job_from_its_work(database_url: str, publish: Any) -> None:
    app = App(database_url)
    app.init()

    @app.job(kind="good")
    def good() -> str:
        return "done"

    kinds = [f"{column}-{number}" for column, values in HOSTILE.items() for number in range(len(values))]
    for kind in kinds:
        app.job(kind=kind, max_attempts=1)(lambda n=0: None)
    with contextlib.closing(Store(database_url)) as store, raw(database_url) as rows:
        let_in = written(store, rows)
        jobs = [good.enqueue() for _ in range(5)]
        assert store.list(limit=100).jobs
        running = drain(app)
        states = {job.kind: job.state for job in store.list(limit=100).jobs}
        left = [kind for kind, state in states.items() if state in {"available", "running"}]
        bad_args = [states[kind] for kind in kinds if kind.startswith("args-")]
        assert all(running.row(job).state == "completed" for job in jobs)
        assert len(running.said(events.Completed)) >= len(jobs)
    app.close()
    assert "completed" not in bad_args, "a function ran with arguments that nobody gave it"
    publish(
        "#30",
        "rows with JSON that cannot be read, written past the store",
        f"{let_in} of {len(kinds)} let in by the database; every other job was worked, left over: {left}",
        value=len(left),
        bound="left over = 0",
        promise=8,
    )


def test_a_reader_that_fails_at_such_a_row_blocks_the_queue(
    sqlite_url: str, publish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A negative control: decoding as it was, which raises."""
    monkeypatch.setattr(decode, "json_of", decode.payload.decode)
    with contextlib.closing(Store(sqlite_url)) as store, raw(sqlite_url) as rows:
        store.init()
        written(store, rows)
        store.enqueue(NewJob(kind="good"))
        with pytest.raises((ValueError, TypeError, KeyError)):
            store.claim(100)
        claimed = 0
    publish.control(
        "#30",
        "a reader that fails at such a row",
        f"{claimed} jobs claimed",
        value=claimed,
        bound="claimed = 0",
    )


NO_NUMBERS = [
    "'soon'",
    "''",
    "'NaN'",
    "'infinity'",
    "'-infinity'",
    "X'00ff'",
    "1.5",
    "1e300",
    "2147483647",
    "4611686018427387904",
    "9223372036854775807",
    "-1",
]
NO_MOMENTS = ["'0000-00-00'", "'0001-01-01'", "'9999-12-31'", "'99999-01-01'", "'0044-03-15 BC'"]


def foreign(store: Store, rows: Raw) -> Iterator[tuple[int, str]]:
    """Write what is no number, and no moment, into each such column of a job of its own; yields what was let in."""
    columns = [column for column in store.jobs.c if not isinstance(column.type, sa.String | sa.Text)]
    columns = [
        column for column in columns if column.name != "id" and "Json" not in type(column.type).__name__
    ]
    written = [(column.name, value) for column in columns for value in NO_NUMBERS + NO_MOMENTS]
    jobs = store.enqueue_many([NewJob(kind="k", max_attempts=1) for _ in written])
    for (column, value), made in zip(written, jobs, strict=True):
        if spoil(rows, made.job.id, column, value):
            yield made.job.id, f"{column} = {value}"


def unreadable(store: Store, let_in: dict[int, str]) -> list[str]:
    found = []
    for key, said in let_in.items():
        try:
            assert store.get(key) is not None
        except (RowqueueError, TypeError, ValueError, OverflowError):
            found.append(said)
    return found


@pytest.mark.every_database
def test_no_column_takes_what_cannot_be_read_back(database_url: str, publish: Any) -> None:
    app = App(database_url)
    app.init()

    @app.job(kind="k")
    def k() -> None: ...

    with contextlib.closing(Store(database_url)) as store, raw(database_url) as rows:
        let_in = dict(foreign(store, rows))
        bad = unreadable(store, let_in)
        running = drain(app)
        left = [said for key, said in let_in.items() if rows.row(key)["finalized_at"] is None]
        done = len(running.said(events.Finished))
    app.close()
    publish(
        "#30",
        "what is no number or no moment, written into such a column",
        f"{len(let_in)} let in by the database, unreadable {len(bad)} {bad[:3]}; then {done} jobs worked, left {left}",
        value=len(bad) + len(left),
        bound="unreadable or left = 0",
        promise=8,
    )


def test_a_table_that_is_not_strict_takes_it(sqlite_url: str, publish: Any) -> None:
    """A negative control: SQLite's tables as they are unless one says otherwise."""
    with contextlib.closing(Store(sqlite_url)) as store, raw(sqlite_url) as rows:
        store.init()
        ddl = store.ddl("sqlite")
        (table,) = re.findall(r"CREATE TABLE rowqueue_job .*?;", ddl, re.DOTALL)
        rows.execute("DROP TABLE rowqueue_job")
        rows.execute(
            re.sub(r", \n\tCONSTRAINT rowqueue_job_moments [^\n]*[^,\n]", "", table).replace(" STRICT", "")
        )
        bad = unreadable(store, dict(foreign(store, rows)))
    publish.control(
        "#30",
        "a table that takes any value in any column",
        f"unreadable: {len(bad)}, as {bad[0]}",
        value=len(bad),
        bound="unreadable >= 1",
    )


def not_utf8(store: Store, rows: Raw) -> list[str]:
    """Write bytes that are no UTF-8 into each column of text, of a job of its own; the columns that took them."""
    texts = (sa.String, JsonText)
    columns = [column.name for column in store.jobs.c if isinstance(column.type, texts)]
    jobs = store.enqueue_many([NewJob(kind="k", max_attempts=1) for _ in columns])
    # Arguments are still JSON for SQLite: it does not look into its strings.
    value = "CAST(X'7b2261223a22ff227d' AS TEXT)"
    return [
        column for column, made in zip(columns, jobs, strict=True) if spoil(rows, made.job.id, column, value)
    ]


def test_text_that_is_no_utf8_is_shown_and_blocks_nobody(sqlite_url: str, publish: Any) -> None:
    """Other databases refuse such bytes themselves."""
    app = App(sqlite_url)
    app.init()

    @app.job(kind="k")
    def k(a: str = "") -> None: ...

    with contextlib.closing(Store(sqlite_url)) as store, raw(sqlite_url) as rows:
        let_in = not_utf8(store, rows)
        innocent = k.enqueue()
        shown = sum("\\xff" in repr(job) for job in store.list(limit=100).jobs)
        running = drain(app)
        (args,) = [job for job in store.list(limit=100).jobs if job.args == '{"a":"\\xff"}']
        assert args.state == "discarded", "a function ran with arguments that nobody gave it"
        assert running.row(innocent).state == "completed"
        left = rows.count("state = 'running'")
    app.close()
    publish(
        "#30",
        "text that is no UTF-8, written into each such column",
        f"{len(let_in)} let in by SQLite, {shown} shown; every other job was worked, left running: {left}",
        value=left,
        bound="left running = 0",
        promise=8,
    )


def test_the_drivers_own_text_stops_at_it(
    sqlite_url: str, publish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A negative control."""
    monkeypatch.setattr(sqlite, "readable", str)
    with contextlib.closing(Store(sqlite_url)) as store, raw(sqlite_url) as rows:
        store.init()
        not_utf8(store, rows)
        store.enqueue(NewJob(kind="good"))
        with pytest.raises(StoreError, match="UTF-8"):
            store.claim(100)
        claimed = rows.count("state = 'running'")
    publish.control(
        "#30",
        "text as the driver reads it",
        f"{claimed} jobs claimed",
        value=claimed,
        bound="claimed = 0",
    )
