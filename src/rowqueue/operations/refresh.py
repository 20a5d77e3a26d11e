"""refresh: keep the sidecar of a source that may not be written in step with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rowqueue.core.errors import FeatureMissing
from rowqueue.core.values import Key
from rowqueue.operations.base import Access, Operation, Steps, unlocking
from rowqueue.operations.decode import key_of
from rowqueue.sql.statements import refresh as sql
from rowqueue.sql.statements.catalog import Statements

CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What one chunk of a refresh did.

    Attributes:
        added: rows that are new in the sidecar.
        cancelled: waiting rows whose source row is gone.
        after: where the next chunk begins; None: this was the last.
        held: somebody else is refreshing, so nothing was done.
    """

    added: int = 0
    cancelled: int = 0
    after: Key | None = None
    held: bool = False


def refresh(after: Key | None) -> Operation[Refreshed]:
    """One chunk by key, one process at a time.

    Args:
        after: the last key of the chunk before; None begins.

    Raises:
        FeatureMissing: the store's table is written itself, so there is nothing to refresh.
    """
    return Operation(lambda s: _refresh(s, after), Access.TRANSACTION)


def _refresh(s: Statements, after: Key | None) -> Steps[Refreshed]:
    if not s.layout.read_only:
        raise FeatureMissing(f"{s.layout.base.fullname} is written itself: there is no sidecar to refresh")
    if (lock := s.try_lock()) is not None:
        held = yield lock
        if not held[0][0]:
            return Refreshed(held=True)
    return (yield from unlocking(_chunk(s, after), s.unlock("refresh")))


def _chunk(s: Statements, after: Key | None) -> Steps[Refreshed]:
    cancelled: list[Any] = []
    if after is None:
        cancelled = yield s.call("refresh_cancel", limit=CHUNK)
    statement = s.compile("refresh", sql.chunk(s.parts, after=after is not None))
    values = {} if after is None else s.key_values(after)
    rows = yield statement.call({**values, "limit": CHUNK})
    keys = [key_of(row, s.layout) for row in rows]
    added = (yield s.call_rows("refresh_add", "given", s.key_columns(keys))) if keys else []
    return Refreshed(len(added), len(cancelled), keys[-1] if len(keys) == CHUNK else None)
