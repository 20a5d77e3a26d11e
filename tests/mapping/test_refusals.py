"""A mapping that does not fit is refused when the store opens, in words that name the remedy."""

import dataclasses

import pytest
import sqlalchemy as sa

from rowqueue.core.errors import ConfigurationError, FeatureMissing
from rowqueue.core.policies import RetryPolicy
from rowqueue.sql.mapping import Column, JobTable
from rowqueue.store.store import Store
from tests.mapping.shapes import Shape, made

AT_ONCE = RetryPolicy.constant(0)


@pytest.mark.parametrize(
    "table, message",
    [
        (JobTable("nowhere"), "no table or view 'nowhere'"),
        (JobTable("uploads", view="nowhere"), "no table or view 'nowhere'"),
        (JobTable("uploads", key="nothing"), "no column 'nothing'"),
        (JobTable("uploads", key="note"), "not unique"),
        (JobTable("uploads", columns={"failures": "fails"}), "no column 'fails'.*there are"),
        (JobTable("uploads", columns={"scheduled_at": Column("scheduled_at", "weeks")}), "weeks"),
        (JobTable("canary", key="value"), "not unique"),
    ],
)
def test_what_is_not_there_is_named(database_url, table, message):
    with made(database_url, Shape()) as there:
        before = there.rows()
        with pytest.raises(ConfigurationError, match=message):
            Store(there.engine, table)
        assert there.is_untouched()
        assert there.rows() == before


WORDS = {"available": "queued", "running": "busy", "completed": "done", "discarded": "bad"}


@pytest.mark.parametrize("kind", ["check", "enum"])
def test_a_word_that_the_column_refuses_is_refused_when_the_store_opens(database_url, kind):
    with made(database_url, Shape()) as there:
        name = there.engine.dialect.name
        if kind == "enum" and name == "sqlite":
            pytest.skip("SQLite has no enums")
        type_ = (
            "varchar(20)"
            if kind == "check"
            else "word"
            if name == "postgresql"
            else "ENUM ('queued', 'busy', 'it''s 100%')"
        )
        check = ", CHECK (state IN ('queued', 'busy', 'it''s 100%'))" if kind == "check" else ""
        with there.engine.begin() as connection:
            if type_ == "word":
                there.run(connection, "CREATE TYPE word AS ENUM ('queued', 'busy', 'it''s 100%')")
            there.run(
                connection,
                f"CREATE TABLE strict (id integer PRIMARY KEY, size integer CHECK (size > 0), state {type_}, "
                f"lease bigint NOT NULL DEFAULT 0, leased_until bigint{check})",
            )
            there.run(connection, "INSERT INTO strict (id, size, state) VALUES (1, 1, 'queued')")
        try:
            with pytest.raises(
                ConfigurationError, match=r"'state' of strict does not take 'bad', 'done'.*change its"
            ):
                Store(there.engine, JobTable("strict", states=WORDS), retry=AT_ONCE)
            fits = WORDS | {"completed": "it's 100%", "discarded": "it's 100%"}
            Store(there.engine, JobTable("strict", states=fits), retry=AT_ONCE).close()
        finally:
            with there.engine.begin() as connection:
                there.run(connection, "DROP TABLE strict")
                if type_ == "word":
                    there.run(connection, "DROP TYPE word")
        assert there.is_untouched()


def test_a_view_that_cannot_be_locked_is_refused(database_url):
    with made(database_url, Shape(view=True)) as there:
        before = there.rows()
        with pytest.raises(ConfigurationError, match=r"is a view.*view=\.\.\..*read_only=True"):
            Store(there.engine, JobTable(there.view))
        assert there.is_untouched()
        assert there.rows() == before


def test_misspelt_names_are_refused_before_any_database():
    with pytest.raises(ConfigurationError, match=r"sheduled_at.*scheduled_at"):
        JobTable("uploads", columns={"sheduled_at": "x"})
    with pytest.raises(ConfigurationError, match="cancelled"):
        JobTable("uploads", states={"available": "a", "running": "r", "canceled": "c"})
    with pytest.raises(ConfigurationError, match="available"):
        JobTable("uploads", states={"running": "r"})


def test_a_delay_without_a_due_column_is_refused(database_url):
    with made(database_url, Shape(optional=frozenset())) as there, pytest.raises(FeatureMissing, match="due"):
        Store(there.engine, there.mapping(), retry=RetryPolicy.constant(5))


def test_a_record_that_wants_more_than_the_row_has_is_refused(database_url):
    @dataclasses.dataclass
    class Upload:
        id: int
        size: int

    with made(database_url, Shape()) as there, pytest.raises(ConfigurationError, match="Upload wants size"):
        Store(there.engine, dataclasses.replace(there.mapping(), record=Upload))


def test_a_where_that_is_no_condition_is_refused(database_url):
    with made(database_url, Shape()) as there:
        with pytest.raises(ConfigurationError, match="SQLAlchemy condition"):
            there.store.claim(1, where=lambda t: "1 = 1; DROP TABLE canary")
        hostile = "'; DROP TABLE canary; --"
        assert there.store.claim(1, where=lambda t: t.c.note == hostile) == []
        assert there.is_untouched()


def test_check_names_the_index_that_the_claim_lacks(database_url):
    with made(database_url, Shape()) as there:
        (lacking,) = [finding for finding in there.store.check() if finding.check == "index"]
        assert not lacking.ok
        with there.engine.begin() as connection:
            connection.exec_driver_sql(lacking.remedy)
        (found,) = [finding for finding in there.store.check() if finding.check == "index"]
        assert found.ok
        (plan,) = [finding.message for finding in there.store.check() if finding.check == "plan"]
        assert "uploads_ready" in plan


def test_a_read_only_view_is_worked_through_a_sidecar(database_url):
    """Nothing of the source is written; new rows are picked up, rows that are gone become cancelled."""
    with made(database_url, Shape(key="composite", view=True), rows=5) as there:
        mapping = JobTable(there.view, key=there.shape.keys, read_only=True, where=lambda t: t.c.number < 100)
        store = Store(there.engine, mapping, retry=AT_ONCE)
        try:
            store.init()
            before = there.rows()
            first, second = store.claim(2)
            assert first.record["note"] == "note 0"
            assert store.complete(first)
            assert store.fail(second, "once")
            assert there.rows() == before
            with there.engine.begin() as connection:
                table = there.table
                connection.execute(sa.delete(table).where(table.c.number == 4))
                connection.execute(table.insert(), [there._row(50), there._row(200)])
            done = store.refresh()
            assert (done.added, done.cancelled) == (1, 1)
            assert {claim.key[1] for claim in store.claim(10)} == {1, 2, 3, 50}
        finally:
            store.close()
            for table in store._statements.layout.beside:
                table.drop(there.engine)
