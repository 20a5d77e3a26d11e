"""``claim="held"`` on tables of users': the row is worked in the transaction that has it locked."""

from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from rowqueue import App, ConfigurationError, Context, RetryPolicy, Skip
from rowqueue.worker import events
from tests.mapping.shapes import Shape, made
from tests.worker.harness import Running, drain
from tests.worker.held_jobs import Effects
from tests.worker.uploads import Upload, Uploads

INSERT = sa.text("INSERT INTO effect VALUES (:n)")

SHAPES = {
    "lease": Shape(),
    "heartbeat": Shape(fence="attempted_at", expiry="heartbeat_at", key="composite"),
    "sidecar": Shape(fence="none", expiry="none", key="text", optional=frozenset()),
    "view": Shape(view=True, key="uuid", retryable="errored"),
}


@pytest.mark.parametrize("fails", [False, True])
def test_a_row_and_its_work_commit_together(
    app: App, uploads: Uploads, effects: Effects, way: str, fails: bool
) -> None:
    def work(context: Context, upload: Upload) -> None:
        context.connection.execute(INSERT, {"n": upload.size})
        if fails:
            raise ValueError("no")

    async def work_async(context: Context, upload: Upload) -> None:
        await context.connection.execute(INSERT, {"n": upload.size})
        if fails:
            raise ValueError("no")

    app.job(table="uploads", claim="held", retry=RetryPolicy.constant(0))(
        work if way == "def" else work_async
    )
    uploads.add(10, 20)
    drain(app)
    assert effects() == ([] if fails else [10, 20])
    assert uploads.column("state") == ["bad" if fails else "done"] * 2
    assert uploads.column("failures") == [3 if fails else 0] * 2


@pytest.mark.parametrize("name", SHAPES)
def test_a_store_of_any_shape_is_worked_held(database_url: str, effects: Effects, name: str) -> None:
    seen: Counter[str] = Counter()

    def work(context: Context, record: dict[str, Any]) -> None:
        seen[record["note"]] += 1
        context.connection.execute(INSERT, {"n": 1})

    with made(database_url, SHAPES[name], rows=12) as there:
        running = Running(there.store, handler=work, claim="held", drain=True, concurrency=3)  # type: ignore[arg-type]
        running._run()
        assert running.exit_code == 0
        assert {row["state"] for row in there.rows().values()} == {"completed"}
        assert (len(seen), set(seen.values()), effects()) == (12, {1}, [1] * 12)
        assert there.is_untouched()


def test_an_ending_that_the_table_has_no_word_for_is_the_nearest_one(
    app: App, uploads: Uploads, effects: Effects
) -> None:
    @app.job(table="uploads", claim="held")
    def work(context: Context, upload: Upload) -> None:
        context.connection.execute(INSERT, {"n": 1})
        raise Skip("no need")

    uploads.add(1)
    running = drain(app)
    assert (uploads.column("state"), effects()) == (["bad"], [])
    assert "no need: " in uploads.column("message")[0]
    assert running.worker.counts[events.Skipped] == 1


def test_a_process_of_its_own_is_refused(app: App, uploads: Uploads) -> None:
    for options in ({"process": True}, {"process": True, "claim": "held"}):
        with pytest.raises(ConfigurationError, match="run in the worker's own process"):
            app.job(table="uploads", **options)  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="must be 'leased' or 'held'"):
        app.job(table="uploads", claim="hold")(lambda record: None)  # type: ignore[call-overload]
