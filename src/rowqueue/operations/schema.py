"""init: create the tables, or bring older ones up to this version; and the check at start."""

from __future__ import annotations

from rowqueue.core.errors import DatabaseBusy, SchemaMissing, SchemaTooNew, SchemaTooOld
from rowqueue.operations.base import Access, Operation, Steps, unlocking
from rowqueue.sql.compiled import Call
from rowqueue.sql.migrations import CURRENT
from rowqueue.sql.statements.catalog import Statements


def init() -> Operation[int]:
    """Create or upgrade, one process at a time; returns the version that is there now.

    Raises:
        SchemaTooNew: a newer rowqueue was here.
    """

    def steps(s: Statements) -> Steps[int]:
        if (lock := s.migration_lock()) is not None:
            held = yield lock
            if held[0][0] == 0:
                raise DatabaseBusy(
                    "another process has been migrating these tables for a minute: wait for it"
                )
        return (yield from unlocking(migrate(s), s.unlock("migrate")))

    def migrate(s: Statements) -> Steps[int]:
        found = yield from _version(s)
        if found > CURRENT:
            raise SchemaTooNew(_too_new(found))
        for statement in s.ddl(since=found):
            yield Call(statement, {})
        if found < CURRENT:
            yield s.call("schema_record", version=CURRENT)
        for table in s.layout.beside:
            there = yield s.call("schema_present", table=table.name, schema=table.schema)
            if not there[0][0]:
                for statement in s.create(table):
                    yield Call(statement, {})
        return CURRENT

    return Operation(steps, Access.TRANSACTION)


def check() -> Operation[int]:
    """Whether this rowqueue fits the tables.

    Raises:
        SchemaMissing: there are none.
        SchemaTooOld: they must be upgraded first.
        SchemaTooNew: this rowqueue must be upgraded first.
    """

    def steps(s: Statements) -> Steps[int]:
        found = yield from _version(s)
        if found == 0:
            name = s.parts.tables.job.fullname
            raise SchemaMissing(
                f"there is no table {name} in this database: run 'rowqueue init' (or app.init())"
            )
        if found < CURRENT:
            raise SchemaTooOld(
                f"the tables are at version {found}, this rowqueue needs {CURRENT}: run 'rowqueue init'"
            )
        if found > CURRENT:
            raise SchemaTooNew(_too_new(found))
        return found

    return Operation(steps, Access.READ)


def _too_new(found: int) -> str:
    return f"the tables are at version {found}, this rowqueue knows up to {CURRENT}: upgrade rowqueue here"


def _version(s: Statements) -> Steps[int]:
    table = s.parts.tables.version
    rows = yield s.call("schema_present", table=table.name, schema=table.schema)
    if not rows[0][0]:
        return 0
    rows = yield s.call("schema_version")
    return int(rows[0][0] or 0)
