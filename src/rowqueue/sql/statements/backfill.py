"""Backfill: which rows of a source have no job yet, and who makes jobs for which of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.core.errors import ConfigurationError
from rowqueue.sql.dialects import Dialect
from rowqueue.sql.locked import Chosen
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import Columns, const, param
from rowqueue.sql.types import Instant

LEDGER: Columns = {"source_key": sa.Text(), "job_id": sa.BigInteger()}


@dataclass(frozen=True, eq=False, slots=True)
class Source:
    """A SELECT of the user's whose rows become jobs, and its key."""

    rows: sa.Subquery
    key: ColumnElement[Any]

    @property
    def names(self) -> list[str]:
        """The names of a row's columns."""
        return self.rows.c.keys()

    @property
    def key_text(self) -> ColumnElement[str]:
        """The key as the ledger holds it."""
        return sa.cast(self.key, sa.Text())

    def as_key(self, name: str, dialect: Dialect) -> ColumnElement[Any]:
        """A parameter with a key as text, in the key's own type, so that an index on it is used."""
        return dialect.as_key(param(name, sa.Text()), self.key.type)


def source_of(select: Any, key: str | None) -> Source:
    """Check a SELECT of the user's.

    Args:
        select: a SQLAlchemy Select.
        key: the name of its key column; None is the first.

    Raises:
        ConfigurationError: no Select, with a LIMIT or a lock, or its key is no integer, text or UUID.
    """
    if not isinstance(select, sa.Select | sa.CompoundSelect):
        raise ConfigurationError(
            f"backfill takes a SQLAlchemy select(...), not {type(select).__name__}: select(items.c.id)"
        )
    if select._has_row_limiting_clause or select._for_update_arg is not None:  # noqa: SLF001 - it has no public name
        raise ConfigurationError(
            "the select of a backfill must have no LIMIT, OFFSET or FOR UPDATE: use the option limit=..."
        )
    rows = select.order_by(None).subquery("backfill_source")
    if key is not None and key not in rows.c:
        raise ConfigurationError(
            f"the select has no column {key!r} to be the key: there are {', '.join(rows.c.keys())}"
        )
    column = next(iter(rows.c)) if key is None else rows.c[key]
    if not isinstance(column.type, sa.Integer | sa.String | sa.Uuid):
        unknown = isinstance(column.type, sa.types.NullType)
        raise ConfigurationError(
            f"the key {column.key!r} is {'of no known type' if unknown else column.type}, but must be an integer, text "
            "or a UUID: put the key first, name it with key=..., or cast it"
        )
    return Source(rows, column)


def _unqueued(parts: Parts, source: Source) -> ColumnElement[bool]:
    """The row had no job yet.

    A scalar subquery, not NOT EXISTS: that can be planned as a hash of the whole ledger for every
    chunk, while this is a look into its primary key for each row under any statistics. In COALESCE,
    because IS NULL is taken for one row in 200: so dear that PostgreSQL compiles the plan (20 ms).
    """
    ledger = parts.tables.ledger
    entry = sa.select(sa.false()).where(
        ledger.c.destination == param("destination", sa.Text()), ledger.c.source_key == source.key_text
    )
    return sa.func.coalesce(entry.correlate(source.rows).scalar_subquery(), sa.true(), type_=sa.Boolean())


def boundary(parts: Parts, source: Source, *, beyond: bool) -> Any:
    """The first and the last of the next so many keys.

    Args:
        parts: tables and dialect.
        source: where from.
        beyond: only keys beyond the parameter ``after``, of which hardly any has a job: that is asked when the range
            is read, because a creator that loses the race for the cursor looked in vain. False looks from the
            start, for keys without a job.
    """
    where = [source.key > source.as_key("after", parts.dialect)]
    if not beyond:
        where = [source.key.is_not(None), _unqueued(parts, source)]
    found = (
        sa.select(source.key.label("key"))
        .where(*where)
        .order_by(source.key)
        .limit(param("size", sa.Integer()))
        .cte("found")
    )
    text = sa.select(sa.cast(found.c.key, sa.Text())).limit(const(1))
    first, last = text.order_by(found.c.key), text.order_by(found.c.key.desc())
    return sa.select(first.scalar_subquery(), last.scalar_subquery())


def chunk(parts: Parts, source: Source) -> Any:
    """Rows of a range without a job, each after its key as text."""
    inside = (
        source.key >= source.as_key("first", parts.dialect),
        source.key <= source.as_key("last", parts.dialect),
    )
    return (
        sa.select(source.key_text.label("backfill_key"), *source.rows.c)
        .where(*inside, _unqueued(parts, source))
        .order_by(source.key)
        .limit(param("size", sa.Integer()))
    )


def remaining(parts: Parts, source: Source) -> Any:
    """How many rows have no job yet."""
    has_none = _unqueued(parts, source)
    return sa.select(sa.func.count()).select_from(source.rows).where(source.key.is_not(None), has_none)


def begin(parts: Parts) -> Any:
    """A cursor for a destination that has none."""
    values = {"destination": param("destination", sa.Text()), "version": const(0), "begun_at": parts.now()}
    return parts.dialect.insert_new(parts.tables.cursor).values(**values)


def look(parts: Parts) -> Any:
    """Where the cursor stands, the clock, and how many ranges are out."""
    cursor, ranges = parts.tables.cursor, parts.tables.ranges
    out = sa.select(sa.func.count()).where(ranges.c.destination == cursor.c.destination).scalar_subquery()
    columns = (cursor.c.position, cursor.c.version, cursor.c.begun_at, parts.now(), out)
    return sa.select(*columns).where(cursor.c.destination == param("destination", sa.Text()))


def advance(parts: Parts) -> Any:
    """Move the cursor, if nobody else did since it was looked at: nobody waits while another looks."""
    cursor = parts.tables.cursor
    values = {
        "position": param("last", sa.Text()),
        "version": cursor.c.version + const(1),
        "begun_at": param("begun_at", Instant()),
    }
    update = sa.update(cursor).values(values)
    return update.where(
        cursor.c.destination == param("destination", sa.Text()),
        cursor.c.version == param("version", sa.BigInteger()),
    ).returning(cursor.c.version)


def add_range(parts: Parts) -> Any:
    """Lease a new range to this creator."""
    ranges = parts.tables.ranges
    values = {
        "destination": param("destination", sa.Text()),
        "first_key": param("first", sa.Text()),
        "last_key": param("last", sa.Text()),
        "lease": const(1),
        "leased_until": parts.dialect.later(param("duration", sa.Double())),
    }
    return sa.insert(ranges).values(values).returning(*_range(ranges))


def take(parts: Parts) -> Any:
    """Lease a range that was given back, or whose creator is not heard of any more."""
    ranges = parts.tables.ranges
    left = ranges.alias("left_behind")
    free = sa.or_(left.c.leased_until.is_(None), left.c.leased_until < parts.now())
    picked = (
        sa.select(left.c.id)
        .where(left.c.destination == param("destination", sa.Text()), free)
        .order_by(left.c.id)
        .limit(const(1))
    )
    locked = parts.dialect.skip_locked(picked, left)
    one: Any = Chosen(locked)
    if parts.dialect.has_returning:
        one = ranges.c.id == locked.scalar_subquery()
    values = {
        "lease": ranges.c.lease + const(1),
        "leased_until": parts.dialect.later(param("duration", sa.Double())),
    }
    return sa.update(ranges).values(values).where(one).returning(*_range(ranges))


def give_back(parts: Parts) -> Any:
    """What is left of a range, for whoever comes next."""
    ranges = parts.tables.ranges
    update = sa.update(ranges).values(first_key=param("first", sa.Text()), leased_until=sa.null())
    return update.where(_own(ranges))


def done(parts: Parts) -> Any:
    """A range that is done."""
    ranges = parts.tables.ranges
    return sa.delete(ranges).where(_own(ranges))


def record(parts: Parts) -> Any:
    """Write jobs into the ledger; what comes back is new there, the rest had a job already."""
    ledger = parts.tables.ledger
    given = parts.rows(LEDGER)
    source = (
        sa.select(param("destination", sa.Text()), given.c.source_key, given.c.job_id)
        .where(const(1) == const(1))  # SQLite takes ON CONFLICT for a join without a WHERE
        .order_by(given.c.ordinal)
    )
    insert = parts.dialect.insert_new(ledger).from_select([column.name for column in ledger.c], source)
    return insert.returning(ledger.c.job_id)


def undo(parts: Parts) -> Any:
    """Jobs of this very transaction whose source rows had one already."""
    job = parts.tables.job
    return sa.delete(job).where(parts.dialect.among(job.c.id, "keys", sa.BigInteger()))


def _range(ranges: sa.Table) -> tuple[sa.Column[Any], ...]:
    return (ranges.c.id, ranges.c.lease, ranges.c.first_key, ranges.c.last_key)


def _own(ranges: sa.Table) -> ColumnElement[bool]:
    return sa.and_(
        ranges.c.id == param("id", sa.BigInteger()), ranges.c.lease == param("lease", sa.BigInteger())
    )
