"""UPDATE and DELETE that answer with rows, on a database without RETURNING: lock, write by key, read.

The statements are built once, as everywhere. What is here takes one apart by rules that hold for
all of them: the rows that its WHERE clause finds are locked first, in the order of their keys, so
that nothing can change between the three steps; then they are written by their keys; then what
RETURNING would have answered is read.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ColumnElement

from rowqueue.sql.compiled import Call, Row, Rows, Statement
from rowqueue.sql.dialects.protocol import Dialect
from rowqueue.sql.terms import Columns, param

_ROUNDS = 20
_GIVEN = " AS given SET "


class Chosen(ColumnElement[bool]):
    """In a WHERE clause: the row is one of those that a SELECT of keys finds, and locks.

    Args:
        picked: the SELECT.
        again: where given, ``picked`` only looks, and this is tested again under the lock: a SELECT that
            sorts or joins would lock every row that it reads, in every table, until the transaction ends.
    """

    inherit_cache = False
    __visit_name__ = "rowqueue_chosen"

    def __init__(self, picked: sa.Select[Any], again: sa.Select[Any] | None = None) -> None:
        self.type = sa.Boolean()
        self.picked = picked
        self.again = again


class Locked(Statement):
    """One UPDATE or DELETE in its three steps.

    Args:
        name: its verb.
        clause: the statement as it would be where RETURNING works.
        key: the columns of the table that name a row.
        driver: SQLAlchemy's dialect of the driver that will run it.
        dialect: our words for the database.
    """

    __slots__ = ("_again", "_columns", "_deletes", "_dialect", "_lock", "_read", "_width", "_write")

    def __init__(
        self, name: str, clause: Any, key: Sequence[sa.Column[Any]], driver: sa.Dialect, dialect: Dialect
    ) -> None:
        self.name = name
        self._width = len(key)
        columns: Columns = {f"key_{index}": column.type for index, column in enumerate(key)}
        self._columns = columns
        self._dialect = dialect
        table: sa.Table = clause.table
        criteria: tuple[Any, ...] = clause._where_criteria  # noqa: SLF001 - it has no public name
        chosen = next((one for one in criteria if isinstance(one, Chosen)), None)
        listed = _listed(dialect, key, "locked", columns)
        given = None if chosen is not None else _given(table, key, criteria)
        hint = _by_primary_key(table, key)

        def compiled(clause: Any) -> Statement:
            return Statement(name, clause, driver)

        self._again: Statement | None = None
        if chosen is None:
            self._lock = compiled(_locking(table, key, criteria, given, hint))
        elif chosen.again is None:
            self._lock = compiled(chosen.picked)
        else:
            wanted, passed = param("wanted", sa.Integer()), param("passed", sa.Integer())
            self._lock = compiled(chosen.picked.limit(wanted).offset(passed))
            again = chosen.again.where(_listed(dialect, _alias_key(chosen.again), "looked", columns))
            self._again = compiled(again.with_for_update(skip_locked=True))
        answer = list(clause.exported_columns) if clause._returning else []  # noqa: SLF001
        self._given = None if given is None else str(given.name)
        self._deletes = isinstance(clause, sa.Delete)
        read = hinted(sa.select(*answer).where(listed), table, hint) if answer else None
        self._read = None if read is None else compiled(read)
        write: Any
        if self._deletes:
            write = sa.delete(table).where(listed)
        else:
            values = ordered(table, clause._values or {})  # noqa: SLF001
            where = criteria if given is not None else (listed,)
            write = sa.update(table).ordered_values(*values).where(*where)
            if given is None and hint:
                write = write.with_hint(hint, dialect_name=driver.name)
        self._write = compiled(write)
        if given is not None and not self._deletes:
            self._write.sql = _given_first(self._write.sql, table, driver, hint)
        last = (self._read, self._write) if self._deletes else (self._write, self._read)
        texts = [step.sql for step in (self._lock, self._again, *last) if step is not None]
        self.sql = ";\n".join(texts)
        self.locks, self.returns = True, bool(answer)

    @property
    def first(self) -> Statement:
        """The step that chooses the rows: the one whose plan matters."""
        return self._lock

    @property
    def several(self) -> bool:
        """Always."""
        return True

    def steps(self, values: Mapping[str, Any]) -> Generator[Call, Rows, Rows]:
        """What is sent, one after the other, inside one transaction; the rows that RETURNING would give."""
        if self._given is None:
            return (yield from self._once(values))
        rows: Rows = []
        for part in values[self._given].parts():
            rows += yield from self._once({**values, self._given: part})
        return rows

    def _once(self, values: Mapping[str, Any]) -> Generator[Call, Rows, Rows]:
        if self._again is None:
            found = yield self._lock.call(values)
        else:
            found = yield from self._look(self._again, values)
        if not found:
            return []
        locked = self._keys("locked", found)
        if self._given is not None:
            values = {**values, self._given: values[self._given].only([row[self._width] for row in found])}
        rows: Rows = []
        if self._deletes and self._read is not None:
            rows = yield self._read.call({**values, **locked})
        yield self._write.call({**values, **locked})
        if not self._deletes and self._read is not None:
            rows = yield self._read.call({**values, **locked})
        return rows

    def _look(self, again: Statement, values: Mapping[str, Any]) -> Generator[Call, Rows, Rows]:
        """Look at candidates in order, and lock those that are still right and that nobody else has locked."""
        limit, passed, found = int(values["limit"]), 0, list[Row]()
        for turn in range(_ROUNDS):
            wanted = limit - len(found) if not turn else max(16, 2 * (limit - len(found)))
            seen = yield self._lock.call({**values, "wanted": wanted, "passed": passed})
            while (left := limit - len(found)) and seen:
                found += yield again.call({**values, **self._keys("looked", seen[:left])})
                seen, passed = seen[left:], passed + len(seen[:left])
                wanted -= left
            if not left or wanted > 0:
                break
        return found

    def _keys(self, name: str, rows: Rows) -> dict[str, Any]:
        if self._width == 1:
            return {name: self._dialect.pack_list([row[0] for row in rows])}
        return self._dialect.pack_keys(name, self._columns, [row[: self._width] for row in rows])


def hinted(select: Any, table: Any, hint: str) -> Any:
    """The SELECT with an index hint, which other databases do not get to see."""
    return select.with_hint(table, hint, "mariadb").with_hint(table, hint, "mysql") if hint else select


def _by_primary_key(table: sa.Table, key: Sequence[Any]) -> str:
    """A small table would be read whole otherwise, and a row that somebody else has locked waited for."""
    primary = [column.name for column in table.primary_key]
    return "FORCE INDEX (PRIMARY)" if primary == [column.name for column in key] else ""


def _listed(dialect: Dialect, key: Sequence[Any], name: str, columns: Columns) -> ColumnElement[bool]:
    if len(key) == 1:
        return dialect.among(key[0], name, columns["key_0"])
    return dialect.among_keys(key, name, columns)


def _alias_key(select: sa.Select[Any]) -> list[Any]:
    return list(select.selected_columns)


def _given(table: sa.Table, key: Sequence[Any], criteria: Sequence[Any]) -> Any:
    """The rows of parameters that the WHERE clause joins, if it does."""
    froms = [one for one in sa.select(*key).where(*criteria).get_final_froms() if one is not table]
    assert len(froms) <= 1, froms
    return froms[0] if froms else None


def _locking(
    table: sa.Table, key: Sequence[Any], criteria: Sequence[Any], given: Any, hint: str
) -> sa.Select[Any]:
    columns = [*key] if given is None else [*key, given.c.ordinal]
    select: Any = sa.select(*columns).where(*criteria)
    if given is None:  # else they come in the order of the given rows, which is that of their keys
        select = select.order_by(*key)
    else:
        select = select.select_from(given).select_from(table).prefix_with("STRAIGHT_JOIN")
    return hinted(select, table, hint).with_for_update()  # type: ignore[no-any-return]


def _given_first(sql: str, table: sa.Table, driver: sa.Dialect, hint: str) -> str:
    """Join from the given rows to the table: a small table would be read whole and locked otherwise."""
    target = driver.identifier_preparer.format_table(table)
    head = f"UPDATE {target}, "
    given, found, rest = sql.partition(_GIVEN)
    assert given.startswith(head) and found, sql  # noqa: PT018 - one text
    return f"UPDATE {given.removeprefix(head)} AS given STRAIGHT_JOIN {target} {hint} SET {rest}"


def ordered(table: sa.Table, values: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Assignments in an order in which none reads a column that an earlier one has written.

    MariaDB and MySQL make them from left to right, each with what the ones before it have written.
    """
    left = {table.c[getattr(column, "key", column)]: value for column, value in values.items()}
    reads = {column: _columns_of(table, value) - {column} for column, value in left.items()}
    while left:
        free = [column for column in left if not any(column in reads[other] for other in left)]
        if not free:
            raise AssertionError(f"columns of {table} read each other: {', '.join(c.name for c in left)}")
        for column in free:
            yield column, left.pop(column)


def _columns_of(table: sa.Table, value: Any) -> set[Any]:
    if not hasattr(value, "get_children"):
        return set()
    return {part for part in visitors.iterate(value) if getattr(part, "table", None) is table}
