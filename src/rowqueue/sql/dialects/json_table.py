"""MariaDB's way to take rows and lists as parameters: JSON_TABLE, and lists that are written out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import types
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from rowqueue.sql.terms import Columns

_COLLATION = "utf8mb4_nopad_bin"
COLLATION = {
    "mariadb": _COLLATION,
    "mysql": "/*M! utf8mb4_nopad_bin */ /*!80017 utf8mb4_0900_bin */",  # the URL does not tell which server it is
}
"""By SQLAlchemy's dialect: text is equal where it is the same, trailing spaces and case included."""

_TEXT_LIMIT = 16_000
_PART = 1_000_000
"""Characters of text that go in one parameter: written out with escapes they may take eight bytes each, and a
server takes 16 MiB unless it is told otherwise."""


class GivenRows:
    """Rows that go as one parameter; some of them can be picked again."""

    __slots__ = ("_columns",)

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self._columns = columns

    def parts(self) -> Iterator[GivenRows]:
        """The same rows in parts that a server takes at once."""
        rows = zip(*self._columns.values(), strict=True)
        sizes = [sum(len(value) for value in row if isinstance(value, str)) for row in rows]
        if sum(sizes) <= _PART:
            yield self
            return
        begin, size = 0, 0
        for index, more in enumerate(sizes):
            if size + more > _PART and index > begin:
                yield self.only(range(begin + 1, index + 1))
                begin, size = index, 0
            size += more
        yield self.only(range(begin + 1, len(sizes) + 1))

    def only(self, ordinals: Sequence[int]) -> GivenRows:
        """The rows of these numbers, counted from 1."""
        picked = {name: [values[i - 1] for i in ordinals] for name, values in self._columns.items()}
        return GivenRows(picked)

    def text(self) -> str:
        """The rows as JSON, a list of lists."""
        rows = list(zip(*self._columns.values(), strict=True))
        return json.dumps(rows, ensure_ascii=False, allow_nan=False, default=_value)


def _value(value: object) -> Any:
    match value:
        case datetime():
            plain = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
            return plain.isoformat(" ", "microseconds")
        case bytes() | bytearray():
            return value.hex()
        case date() | UUID():
            return str(value)
        case _:
            raise TypeError(f"{type(value).__name__} cannot be a parameter row")


class _Rows(types.TypeDecorator[Any]):
    impl = types.Text
    cache_ok = True
    is_rows = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return value.text() if isinstance(value, GivenRows) else value


class Listed(types.TypeDecorator[Any]):
    """A list of values, or of tuples of them, for the right side of IN; ``Statement.render`` writes it out.

    Args:
        of: the type of a value, or of each value of a tuple.
    """

    impl = types.NullType
    cache_ok = False
    is_list = True

    def __init__(self, *of: types.TypeEngine[Any]) -> None:
        super().__init__()
        self._of = of

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        """Turn each value into what the driver takes; an empty list becomes one that nothing is in."""
        each = [type_.dialect_impl(dialect).bind_processor(dialect) or _same for type_ in self._of]
        if len(each) == 1:
            return [each[0](item) for item in value] or [None]
        made = [tuple(process(part) for process, part in zip(each, item, strict=True)) for item in value]
        return made or [(None,) * len(each)]


def _same(value: Any) -> Any:
    return value


class _JsonTable(FunctionElement[Any]):
    inherit_cache = False
    name = "json_table"

    def __init__(self, given: Any, columns: Columns, *, lists: bool = True) -> None:
        self.given_columns = columns
        self.lists = lists
        super().__init__(given)


@compiles(_JsonTable)
def _json_table(element: _JsonTable, compiler: Any, **options: Any) -> str:
    parameter = ", ".join(compiler.process(clause, **options) for clause in element.clauses)
    quote = compiler.preparer.quote
    columns = [
        f"{quote(name)} {_column_type(type_, compiler)} PATH '${f'[{index}]' if element.lists else ''}'"
        for index, (name, type_) in enumerate(element.given_columns.items())
    ]
    return f"JSON_TABLE({parameter}, '$[*]' COLUMNS (ordinal FOR ORDINALITY, {', '.join(columns)}))"


def _column_type(type_: types.TypeEngine[Any], compiler: Any) -> str:
    match type_:
        case sa.Boolean():
            return "TINYINT"
        case sa.Integer():
            return "BIGINT UNSIGNED" if getattr(type_, "unsigned", False) else "BIGINT"
        case sa.Float():
            return "DOUBLE"
        case sa.Numeric():
            return str(compiler.dialect.type_compiler_instance.process(type_))
        case sa.DateTime() | types.TypeDecorator(impl=sa.BigInteger()):
            return "DATETIME(6)"
        case sa.Date():
            return "DATE"
    length = getattr(type_, "length", None)
    size = f"VARCHAR({length})" if length and length <= _TEXT_LIMIT else "LONGTEXT"
    if _is_binary(type_):
        return f"VARCHAR({2 * (length or 1_000)}) CHARACTER SET ascii"
    if isinstance(type_, sa.Uuid):
        size = "CHAR(36)" if type_.native_uuid else "CHAR(32)"
    # As the column that it is compared with, or the comparison could not use that one's index.
    collation = getattr(type_, "collation", None) or COLLATION.get(compiler.dialect.name, _COLLATION)
    charset = "utf8mb4" if collation.startswith("/") else collation.partition("_")[0]
    return f"{size} CHARACTER SET {charset} COLLATE {collation}"


def _is_binary(type_: types.TypeEngine[Any]) -> bool:
    return isinstance(type_, types._Binary)  # noqa: SLF001 - the base of BINARY, VARBINARY and BLOB


def json_rows(name: str, columns: Columns) -> sa.FromClause:
    """A table made of the parameter of that name; ``ordinal`` numbers its rows from 1."""
    given = sa.bindparam(name, None, type_=_Rows())
    shape = [sa.column(column, type_) for column, type_ in columns.items()]
    binary = [column for column, type_ in columns.items() if _is_binary(type_)]
    table = _JsonTable(given, columns).table_valued("ordinal", *shape, name=f"{name}_hex" if binary else name)
    if not binary:
        return table
    read = [
        sa.func.unhex(table.c[column], type_=type_).label(column) if column in binary else table.c[column]
        for column, type_ in columns.items()
    ]
    return sa.select(table.c.ordinal, *read).subquery(name)


def json_members(text: Any) -> sa.FromClause:
    """The members of a JSON list of text, each as a row with the column ``value``."""
    columns = {"value": sa.String(_TEXT_LIMIT)}
    return _JsonTable(text, columns, lists=False).table_valued("ordinal", "value", name="each_member")
