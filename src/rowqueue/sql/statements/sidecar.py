"""The lease sidecar: lease and expiry of rows whose own table has no room for them.

Every claim raises the lease here, in the transaction that takes the row; every finish first holds
its lease here, under a row lock, and then writes the row. So a worker whose lease was raised by a
later claim is refused, though its row may be running again.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from rowqueue.sql.locked import Chosen
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.terms import const, param
from rowqueue.sql.types import Instant


def lease_table(name: str, base: sa.Table, key: tuple[str, ...], prefix: str, schema: str | None) -> sa.Table:
    """The sidecar of a table: its key, typed as there, a lease and an expiry."""
    metadata = sa.MetaData(schema=schema)
    columns = [
        sa.Column(column, base.c[column].type, primary_key=True, autoincrement=False) for column in key
    ]
    table = sa.Table(
        f"{prefix}lease_{name}",
        metadata,
        *columns,
        sa.Column("lease", sa.BigInteger, nullable=False),
        sa.Column("leased_until", Instant),
    )
    held = table.c.leased_until.is_not(None)
    sa.Index(f"{prefix}lease_{name}_until", table.c.leased_until, postgresql_where=held, sqlite_where=held)
    return table


def _sidecar(parts: Parts) -> sa.Table:
    assert parts.layout.sidecar is not None
    return parts.layout.sidecar


def _keys(parts: Parts, table: Any) -> list[Any]:
    return [table.c[name] for name in parts.layout.key]


def _matches(parts: Parts, table: Any, given: Any) -> list[Any]:
    named = zip(_keys(parts, table), parts.layout.key_columns, strict=True)
    return [column == given.c[name] for column, name in named]


def take(parts: Parts) -> Any:
    """A claim was made: raise the lease of each row, or begin it."""
    table = _sidecar(parts)
    given = parts.rows(parts.layout.key_columns)
    until = parts.dialect.later(param("duration", sa.Double()))
    source: Any = sa.select(*(given.c[name] for name in parts.layout.key_columns), const(1), until)
    source = source.where(const(1) == const(1))  # SQLite takes ON CONFLICT for a join without a WHERE
    insert = parts.dialect.upsert(
        table,
        [*parts.layout.key, "lease", "leased_until"],
        source,
        keys=list(parts.layout.key),
        changes=lambda new: {"lease": table.c.lease + const(1), "leased_until": new.leased_until},
    )
    return insert.returning(*_keys(parts, table), table.c.lease)


def drop(parts: Parts) -> Any:
    """A finish begins: hold the leases that are still the claims' own, and end them."""
    table = _sidecar(parts)
    given = parts.rows({**parts.layout.key_columns, "lease": sa.BigInteger()})
    fence = (
        *_matches(parts, table, given),
        table.c.lease == given.c.lease,
        table.c.leased_until.is_not(None),
    )
    return sa.update(table).values(leased_until=sa.null()).where(*fence).returning(*_keys(parts, table))


def extend(parts: Parts) -> Any:
    """Renew leases, passing over those that their own handler has locked."""
    table = _sidecar(parts)
    held = table.alias("held")
    given = parts.rows({**parts.layout.key_columns, "lease": sa.BigInteger()})
    mine: Any = (
        sa.select(*_keys(parts, held))
        .select_from(sa.join(held, given, sa.and_(*_matches(parts, held, given))))
        .where(held.c.lease == given.c.lease, held.c.leased_until.is_not(None))
        .order_by(*_keys(parts, held))
    )
    until = parts.dialect.later(param("duration", sa.Double()))
    update = sa.update(table).values(leased_until=until).where(_one_of(parts, table, held, mine, weak=True))
    return update.returning(*_keys(parts, table))


def expire(parts: Parts) -> Any:
    """Raise the leases that have run out, oldest first; locked ones are alive."""
    table = _sidecar(parts)
    left = table.alias("left_behind")
    picked: Any = (
        sa.select(*_keys(parts, left))
        .where(left.c.leased_until < parts.now())
        .order_by(left.c.leased_until)
        .limit(parts.limit())
    )
    update = sa.update(table).values(lease=table.c.lease + const(1), leased_until=sa.null())
    return update.where(_one_of(parts, table, left, picked)).returning(*_keys(parts, table))


def _one_of(parts: Parts, table: sa.Table, alias: Any, picked: sa.Select[Any], *, weak: bool = False) -> Any:
    if not parts.dialect.has_returning:
        return Chosen(parts.dialect.skip_locked(picked, alias, weak=weak))
    if not parts.dialect.has_lateral:
        key = _keys(parts, table)
        return key[0].in_(picked) if len(key) == 1 else sa.tuple_(*key).in_(picked)
    place: sa.Select[Any] = picked.with_only_columns(
        sa.literal_column(f"{alias.name}.ctid"), maintain_column_froms=True
    )
    locked = parts.dialect.skip_locked(place, alias, weak=weak)
    return sa.literal_column("ctid") == sa.any_(sa.func.array(locked.scalar_subquery()))
