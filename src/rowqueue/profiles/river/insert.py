"""Insert: jobs that a River client, in Go or here, will work."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from rowqueue.core import names, payload
from rowqueue.core.errors import ConfigurationError, UniqueConflict
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.profiles.river import reading
from rowqueue.profiles.river.rows import (
    UNIQUE_REQUIRED,
    UNIQUE_STATES,
    JobInsertResult,
    JobRow,
    JobState,
    bits_of,
)
from rowqueue.profiles.river.statements import in_mask
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.terms import param
from rowqueue.sql.types import Instant

_QUEUE = re.compile(r"[a-z0-9]+([_|-][a-z0-9]+)*\Z")
_TAG = re.compile(r"\w[\w-]+\w\Z", re.ASCII)
_ROUNDS = 20
_GIVEN: Mapping[str, Any] = {
    "args": sa.Text(),
    "kind": sa.Text(),
    "max_attempts": sa.SmallInteger(),
    "metadata": sa.Text(),
    "priority": sa.SmallInteger(),
    "queue": sa.Text(),
    "scheduled_at": Instant(),
    "state": sa.Text(),
    "tags": sa.Text(),
    "unique_key": postgresql.BYTEA(),
    "unique_states": sa.Text(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertOpts:
    """How a job is inserted.

    Args:
        max_attempts: total runs; None takes the client's (25).
        metadata: a JSON object; keys that start with ``river:`` are River's own.
        pending: park it: never worked, until somebody moves it; wins over ``scheduled_at``.
        priority: 1 (first) to 4.
        queue: lower-case letters and digits, parted by ``_``, ``|`` or ``-``; at most 64.
        scheduled_at: not before this aware datetime.
        tags: words of at least 3 characters.
        unique_key: a digest that no other job may have, in the states of ``unique_states``.
        unique_states: must hold available, pending, running and scheduled; None is River's default, every state
            but cancelled and discarded.
    """

    max_attempts: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    pending: bool = False
    priority: int = 1
    queue: str = "default"
    scheduled_at: datetime | None = None
    tags: Sequence[str] = ()
    unique_key: bytes | None = None
    unique_states: frozenset[JobState] | None = None


@dataclass(frozen=True, slots=True)
class InsertManyParams:
    """One job of ``insert_many``: its kind, its arguments, its options."""

    kind: str
    args: Any = field(default_factory=dict, repr=False)
    opts: InsertOpts = field(default_factory=InsertOpts)


def insert_many(
    params: Sequence[InsertManyParams], max_attempts: int, notify: bool
) -> Operation[list[JobInsertResult]]:
    """Insert jobs, all or none; a taken unique key answers with the row that holds it.

    Raises:
        ConfigurationError: an option is wrong, or there is no job; nothing was written.
    """
    if not params:
        raise ConfigurationError("insert_many() needs at least one job")
    prepared = [_prepare(each, max_attempts) for each in params]
    return Operation(lambda s: _insert(s, prepared, notify), Access.TRANSACTION)


def _insert(s: Statements, prepared: list[dict[str, Any]], notify: bool) -> Steps[list[JobInsertResult]]:
    ids: dict[int, int] = {}
    held: dict[int, JobRow] = {}
    left = list(range(len(prepared)))
    for _ in range(_ROUNDS):
        columns = {name: [prepared[index][name] for index in left] for name in _GIVEN}
        insert = s.compile("river_insert", _statement(s.parts))
        made = yield insert.call(s.dialect.pack_rows("given", columns))
        plain = iter(sorted(id_ for id_, key in made if key is None))
        keyed = {bytes(key): id_ for id_, key in made if key is not None}
        for index in left:
            key = prepared[index]["unique_key"]
            id_ = next(plain) if key is None else keyed.pop(key, None)
            if id_ is not None:
                ids[index] = id_
        left = [index for index in left if index not in ids]
        if not left:
            break
        holders = yield from _holders(s, [prepared[index]["unique_key"] for index in left])
        held |= {
            index: row for index in left if (row := holders.get(prepared[index]["unique_key"])) is not None
        }
        left = [index for index in left if index not in held]
        if not left:
            break
    else:
        raise UniqueConflict(f"a unique key was taken and freed {_ROUNDS} times in a row: insert it again")
    rows = yield from reading.rows_by_id(s, list(ids.values()))
    if notify:
        ready = {rows[id_].queue for id_ in ids.values() if rows[id_].state is JobState.AVAILABLE}
        for queue in sorted(ready):
            yield from reading.notify(s, "river_insert", {"queue": queue})
    return [
        JobInsertResult(rows[ids[index]])
        if index in ids
        else JobInsertResult(held[index], unique_skipped_as_duplicate=True)
        for index in range(len(prepared))
    ]


def _statement(parts: Parts) -> Any:
    table, given = parts.layout.base, parts.rows(_GIVEN)
    words = sa.func.json_array_elements_text(sa.cast(given.c.tags, sa.JSON())).table_valued("value")
    tags = sa.func.array(sa.select(words.c.value).scalar_subquery())
    columns: dict[str, Any] = {name: given.c[name] for name in _GIVEN} | {
        name: sa.cast(given.c[name], table.c[name].type)
        for name in ("args", "metadata", "state", "unique_states")
    }
    columns |= {
        "scheduled_at": sa.func.coalesce(given.c.scheduled_at, parts.now()),
        "created_at": parts.now(),
        "tags": sa.cast(tags, table.c.tags.type),
    }
    source = sa.select(*columns.values()).order_by(given.c.ordinal)
    insert = parts.dialect.insert_new(table).from_select(list(columns), source, include_defaults=False)
    return insert.returning(table.c.id, table.c.unique_key)


def _holders(s: Statements, keys: Sequence[bytes]) -> Steps[dict[bytes, JobRow]]:
    def where(table: Any) -> Any:
        among = table.c.unique_key == sa.any_(param("keys", postgresql.ARRAY(postgresql.BYTEA())))
        return sa.and_(among, in_mask(table.schema, table))

    rows = yield from reading.rows_where(s, where, {"keys": list(keys)})
    return {row.unique_key: row for row in rows if row.unique_key is not None}


def _prepare(params: InsertManyParams, max_attempts: int) -> dict[str, Any]:
    opts, kind = params.opts, names.text(params.kind, "kind", limit=127)
    state = JobState.AVAILABLE if opts.scheduled_at is None else JobState.SCHEDULED
    attempts = max_attempts if opts.max_attempts is None else opts.max_attempts
    return {
        "args": payload.encode(params.args, f"the arguments of {kind}"),
        "kind": kind,
        "max_attempts": names.whole(attempts, "max_attempts", 1, 32_767),
        "metadata": payload.encode(_metadata(opts.metadata), f"the metadata of {kind}"),
        "priority": names.whole(opts.priority, "priority", 1, 4),
        "queue": queue_name(opts.queue),
        "scheduled_at": None
        if opts.scheduled_at is None
        else names.instant(opts.scheduled_at, "scheduled_at"),
        "state": (JobState.PENDING if opts.pending else state).value,
        "tags": json.dumps([_tag(tag) for tag in opts.tags]),
        "unique_key": None if opts.unique_key is None else bytes(opts.unique_key),
        "unique_states": _mask(opts),
    }


def queue_name(value: object) -> str:
    """A queue's name, as River allows it."""
    name = names.text(value, "queue", limit=64)
    if not _QUEUE.match(name):
        raise ConfigurationError(
            f"the queue {name!r} must be lower-case letters and digits, parted by '_', '|' or '-'"
        )
    return name


def _tag(value: object) -> str:
    tag = names.text(value, "a tag", limit=255)
    if not _TAG.match(tag):
        raise ConfigurationError(f"the tag {tag!r} must be 3 or more letters, digits, '_' and '-' inside")
    return tag


def _metadata(value: Mapping[str, Any]) -> dict[str, Any]:
    metadata = dict(value)
    ours = [key for key in metadata if key.startswith(("river:", "rowqueue:"))]
    if ours:
        raise ConfigurationError(f"metadata has the reserved keys {', '.join(ours)}: name them differently")
    return metadata


def _mask(opts: InsertOpts) -> str | None:
    if opts.unique_key is None:
        if opts.unique_states is not None:
            raise ConfigurationError("unique_states without a unique_key does nothing: give both")
        return None
    states = UNIQUE_STATES if opts.unique_states is None else frozenset(map(JobState, opts.unique_states))
    missing = UNIQUE_REQUIRED - states
    if missing:
        raise ConfigurationError(f"unique_states lacks {', '.join(sorted(missing))}, which River requires")
    return bits_of(states)
