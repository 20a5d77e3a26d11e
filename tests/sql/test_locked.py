"""Assignments that MariaDB makes from left to right are written so that none reads what an earlier one wrote."""

import pytest
import sqlalchemy as sa

from rowqueue.sql.locked import ordered

TABLE = sa.Table("t", sa.MetaData(), *(sa.Column(name, sa.Integer) for name in ("a", "b", "c", "d")))


def names(values):
    return [column.name for column, _ in ordered(TABLE, values)]


def test_who_reads_a_column_comes_before_who_writes_it():
    c = TABLE.c
    assert names({c.a: c.a + 1, c.b: c.a + c.c, c.c: sa.literal(1)}) == ["b", "a", "c"]
    assert names({"a": sa.null(), "d": sa.case((c.a > 1, c.b)), "b": sa.literal(2)})[0] == "d"
    chain = names({c.a: c.b, c.b: c.c, c.c: c.d, c.d: sa.literal(0)})
    assert chain == ["a", "b", "c", "d"]


def test_a_circle_is_a_mistake_of_ours():
    with pytest.raises(AssertionError, match="columns of t read each other"):
        names({TABLE.c.a: TABLE.c.b, TABLE.c.b: TABLE.c.a})
