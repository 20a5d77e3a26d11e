"""All statements by name, compiled when first used and kept for the life of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import sqlalchemy as sa

from rowqueue.core.quick import maker
from rowqueue.sql.compiled import Call, Statement
from rowqueue.sql.dialects import Dialect
from rowqueue.sql.layout import Layout, default_layout
from rowqueue.sql.locked import Locked
from rowqueue.sql.migrations import create, ddl
from rowqueue.sql.statements import (
    backfill,
    claim,
    enqueue,
    finish,
    held,
    operate,
    reading,
    refresh,
    sidecar,
    upkeep,
    wake,
)
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.tables import Tables

Builder: TypeAlias = Callable[[Parts], Any]
_make_call = maker(Call)

BUILDERS: Mapping[str, Builder] = {
    "enqueue": enqueue.enqueue,
    "enqueue_plain": enqueue.enqueue_plain,
    "enqueue_many": enqueue.enqueue_many,
    "enqueue_alike": partial(enqueue.enqueue_many, alike=True),
    "enqueue_holders": enqueue.holders,
    "promote_due": upkeep.promote_due,
    "promote": operate.promote,
    "next_due": upkeep.next_due,
    "look": wake.look,
    "claim": claim.claim,
    "claim_kinds": partial(claim.claim, kinds=True),
    "claim_ready_queues": claim.ready_queues,
    "extend": finish.extend,
    "hold": held.hold,
    "complete": finish.complete,
    "fail": finish.fail,
    "snooze": finish.snooze,
    "release": finish.release,
    "skip": finish.skip,
    "skip_by_key": operate.skip_by_key,
    "cancel": finish.cancel,
    "cancel_by_key": operate.cancel_by_key,
    "discard": finish.discard,
    "discard_by_key": operate.discard_by_key,
    "rescue": upkeep.rescue,
    "retry": operate.retry,
    "retry_rival": reading.rival,
    "prune": upkeep.prune,
    "delete": operate.delete,
    "delete_log": operate.delete_log,
    "progress": finish.progress,
    "add_log": finish.add_log,
    "update_log": finish.update_log,
    "log": reading.log,
    "standing": reading.standing,
    "get": reading.get,
    "list": partial(reading.page, chosen=reading.Filter(after=True)),
    "stats": reading.counts,
    "stats_unclaimable": reading.unclaimable,
    "queues": reading.queues,
    "pause": operate.pause,
    "pause_add": operate.add_queue,
    "resume": operate.resume,
    "unclaimable": operate.count_unclaimable,
    "unclaimable_add": operate.add_unclaimable,
    "unclaimable_forget": operate.forget_kinds,
    "heartbeat": operate.heartbeat,
    "heartbeat_add": operate.add_worker,
    "heartbeat_forget": operate.forget_worker,
    "heartbeat_prune": operate.forget_silent_workers,
    "workers": reading.workers,
    "schema_present": reading.present,
    "schema_version": reading.version,
    "schema_record": reading.record_version,
    "backfill_begin": backfill.begin,
    "backfill_take": backfill.take,
    "backfill_look": backfill.look,
    "backfill_advance": backfill.advance,
    "backfill_add": backfill.add_range,
    "backfill_record": backfill.record,
    "backfill_undo": backfill.undo,
    "backfill_give_back": backfill.give_back,
    "backfill_done": backfill.done,
}


MAPPED: Mapping[str, Builder] = {
    "claim_records": claim.records,
    "claim_queue": partial(claim.claim, queue=True),
    "claim_kinds_queue": partial(claim.claim, kinds=True, queue=True),
    "lease_take": sidecar.take,
    "lease_drop": sidecar.drop,
    "lease_extend": sidecar.extend,
    "lease_expire": sidecar.expire,
    "hold_lease": held.hold_lease,
    "rescue_dropped": upkeep.rescue_dropped,
    "rescue_foreign": upkeep.rescue_foreign,
    "refresh_add": refresh.add,
    "refresh_cancel": refresh.cancel_gone,
}
"""What only tables of the user's need."""

NOTIFYING: Mapping[str, Builder] = {
    "tell": wake.tell,
    "wake": wake.wake,
    "idle": wake.say_idle,
    "idle_forget": wake.forget_idle,
    "idle_prune": wake.forget_silent_idle,
}
"""What only a database needs that can wake its workers."""

_MORE = {**MAPPED, **NOTIFYING}


class Statements:
    """The statements of one store for one driver.

    Args:
        tables: the tables they are about.
        dialect: what differs by database.
        driver: SQLAlchemy's dialect of the driver that will run them.
        layout: the job table; None is the default one.
        shared: what stores over tables of the same names have compiled; none where there is a layout.
    """

    def __init__(
        self,
        tables: Tables,
        dialect: Dialect,
        driver: sa.Dialect,
        layout: Layout | None = None,
        shared: dict[str, Statement] | None = None,
    ) -> None:
        self.layout = layout or default_layout(tables.job)
        self.parts = Parts(self.layout, tables, dialect)
        self.dialect = dialect
        self.driver = driver
        self._compiled: dict[str, Statement] = {}
        self._shared = {} if shared is None else shared

    def __getitem__(self, name: str) -> Statement:
        found = self._compiled.get(name)
        if found is None:
            found = self._shared.get(name)
            if found is None:
                build = self.layout.statements.get(name) or BUILDERS.get(name) or _MORE[name]
                found = self._shared[name] = self.compile(name, build(self.parts))
            self._compiled[name] = found
        return found

    @property
    def can_wake(self) -> bool:
        """Workers can be told of new jobs; those of a table of the user's cannot: other programs insert there."""
        return self.dialect.notifies and not self.layout.mapped

    def names(self) -> list[str]:
        """The statements over the default table."""
        return [*BUILDERS, *(NOTIFYING if self.dialect.notifies else ())]

    def compile(self, name: str, clause: Any) -> Statement:
        """Compile a statement of the caller's own, which is not kept."""
        answers = isinstance(clause, sa.Update | sa.Delete) and bool(clause.exported_columns)
        if not answers or self.dialect.has_returning:
            return Statement(name, clause, self.driver)
        table: Any = clause.table
        ours = table is self.layout.base
        key = [table.c[column] for column in self.layout.key] if ours else list(table.primary_key)
        return Locked(name, clause, key, self.driver, self.dialect)

    def pack_keys(self, keys: Sequence[Any]) -> dict[str, Any]:
        """The parameter ``keys``: a list, or rows where a key has several columns."""
        names = list(self.layout.key_columns)
        if len(names) == 1:
            return {"keys": self.dialect.pack_list(list(keys))}
        return self.dialect.pack_keys("keys", self.layout.key_columns, keys)

    def key_values(self, key: Any) -> dict[str, Any]:
        """The parameters of one key."""
        names = list(self.layout.key_columns)
        return {names[0]: key} if len(names) == 1 else dict(zip(names, key, strict=True))

    def fence_values(self, fence: Sequence[Any]) -> dict[str, Any]:
        """The parameters of one fence."""
        return dict(zip(self.layout.fence_columns, fence, strict=True))

    def key_columns(self, keys: Sequence[Any]) -> dict[str, list[Any]]:
        """Keys as columns of parameter rows."""
        return self.claim_columns(keys, [()] * len(keys))

    def claim_columns(self, keys: Sequence[Any], fences: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
        """Keys and fences as columns of parameter rows."""
        names = list(self.layout.key_columns)
        if len(names) == 1:
            columns: dict[str, list[Any]] = {names[0]: list(keys)}
        else:
            columns = {name: [key[index] for key in keys] for index, name in enumerate(names)}
        for index, name in enumerate(self.layout.fence_columns if fences and fences[0] else ()):
            columns[name] = [fence[index] for fence in fences]
        return columns

    def plain(self, sql: str) -> Statement:
        """A statement without parameters and without an answer, such as a savepoint."""
        return self._compiled.get(sql) or self._compiled.setdefault(sql, self.compile_text(sql))

    def compile_text(self, sql: str) -> Statement:
        """The same, which is not kept."""
        return Statement(sql, sa.text(sql.replace(":", "\\:")), self.driver)

    def ddl(self, since: int) -> list[Statement]:
        """What brings the tables from a version to the current one."""
        return [self.plain(text) for text in ddl(self.parts.tables, self.driver, since=since)]

    def create(self, table: sa.Table) -> list[Statement]:
        """What creates one table."""
        return [self.plain(text) for text in create(table, self.driver)]

    def try_lock(self) -> Call | None:
        """What lets one process at a time refresh, answering whether it is this one; None: it always is."""
        sql = self.dialect.try_lock(self.layout.base.fullname)
        return None if sql is None else Call(self.compile("refresh_lock", sql), {})

    def unlock(self, purpose: str) -> Call | None:
        """What gives back the lock that was taken to ``refresh`` or to ``migrate``, where the transaction does not."""
        table = self.layout.base if purpose == "refresh" else self.parts.tables.job
        sql = self.dialect.unlock(purpose, table.fullname)
        return None if sql is None else Call(self.compile("unlock", sql), {})

    def migration_lock(self) -> Call | None:
        """What keeps two processes from migrating at once, where the transaction alone does not."""
        sql = self.dialect.migration_lock(self.parts.tables.job.fullname)
        return None if sql is None else Call(self.compile("schema_lock", sql), {})

    def call(self, name: str, /, **values: Any) -> Call:
        """A statement with its values."""
        return _make_call(self[name], values)

    def call_rows(self, name: str, rows: str, columns: Mapping[str, list[Any]], /, **values: Any) -> Call:
        """A statement over rows of parameters, with its other values."""
        return _make_call(self[name], {**self.dialect.pack_rows(rows, columns), **values})
