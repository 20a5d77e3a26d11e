"""Tables that SQLite keeps to their types: STRICT, with the five names of types that it knows.

Without it a column holds whatever another program writes into it, as the text "soon" where a moment is to be, and
one such row would stop every claim that comes to it.
"""

from __future__ import annotations

import copy
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteTypeCompiler


def strict(dialect: sa.Dialect) -> sa.Dialect:
    """The dialect, for the DDL of STRICT tables."""
    made = copy.copy(dialect)
    made.type_compiler_instance = _Types(made)
    return made


class _Types(SQLiteTypeCompiler):
    def visit_VARCHAR(self, type_: Any, **_: Any) -> str:  # noqa: ARG002, N802 - SQLAlchemy's way
        return "TEXT"

    def visit_BIGINT(self, type_: Any, **_: Any) -> str:  # noqa: ARG002, N802
        return "INTEGER"

    visit_SMALLINT = visit_BOOLEAN = visit_BIGINT  # noqa: N815

    def visit_DOUBLE(self, type_: Any, **_: Any) -> str:  # noqa: ARG002, N802
        return "REAL"
