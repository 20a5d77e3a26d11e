"""Small words that everything in this layer uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

Columns: TypeAlias = Mapping[str, sa.types.TypeEngine[Any]]
Expression: TypeAlias = Callable[[Any], Any]


def const(value: Any, type_: Any = None) -> ColumnElement[Any]:
    """A value that is written into the SQL text, quoted by its type.

    The planner matches a partial index only against constants, never against a parameter of a
    prepared statement; so states and other words of ours are constants, and nothing else is.
    """
    return sa.literal(value, type_, literal_execute=True)


def param(name: str, type_: Any) -> sa.BindParameter[Any]:
    """A value that is bound at each call."""
    return sa.bindparam(name, None, type_=type_)


def same(value: Any) -> Any:
    """The value itself."""
    return value


@dataclass(frozen=True, slots=True)
class Codec:
    """How a column's value is read as ours, and ours written as its own; both build SQL."""

    read: Expression = same
    write: Expression = same
    append: Callable[[Any, Any, Any], Any] | None = None
    """For ``errors``: from the column, the new entry and its fragment (JSON text) to the column's new value."""
    into: Callable[[Any, Any, Mapping[str, Any]], Any] | None = None
    """For a column that holds several of ours (a JSON object): from its value so far, ours, and all that the same
    UPDATE writes by our names, to its new value; an UPDATE may set a column only once."""
