"""PostgreSQL's plans of our statements, run and rolled back, reduced to what a bound can be put on."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

_PLACEHOLDER = re.compile(r"%\((\w+)\)[sb]")


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of a statement did to a table."""

    touched: int
    """Rows that scans of the table fetched, those thrown away by a filter included."""
    sorted: int
    """The most rows that went into a sort."""
    seq_scans: int
    milliseconds: float
    buffers: int
    nodes: tuple[str, ...]


def measure(
    connection: psycopg.Connection[Any], table: str, statement: str, values: Mapping[str, Any], mode: str
) -> Measured:
    """Run a statement with EXPLAIN (ANALYZE) and take it back.

    Args:
        connection: in autocommit.
        table: whose rows are counted.
        statement: SQL with psycopg's named placeholders.
        values: by name.
        mode: `force_custom_plan`, or `force_generic_plan`, which is what a prepared statement may end at.
    """
    names: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    text = _PLACEHOLDER.sub(numbered, statement).replace("%%", "%")
    arguments = sql.SQL(", ").join(sql.Literal(values[name]) for name in names).as_string(connection)
    types = ["double precision" if isinstance(values[name], float) else "unknown" for name in names]
    head = f"PREPARE measured({', '.join(types)})" if names else "PREPARE measured"
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL plan_cache_mode = {mode}")  # type: ignore[call-overload]
        connection.execute(f"{head} AS {text}")  # type: ignore[call-overload]
        try:
            call = f"EXECUTE measured({arguments})" if names else "EXECUTE measured"
            row = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {call}").fetchone()  # type: ignore[call-overload]
        finally:
            connection.execute("DEALLOCATE measured")
    assert row is not None
    report = row[0][0]
    nodes = list(_nodes(report["Plan"]))
    return Measured(
        touched=sum(_fetched(node) for node in nodes if node.get("Relation Name") == table),
        sorted=max((_rows_in(node) for node in nodes if "Sort" in node["Node Type"]), default=0),
        seq_scans=sum(
            node["Node Type"] == "Seq Scan" and node.get("Relation Name") == table for node in nodes
        ),
        milliseconds=report["Execution Time"],
        buffers=report["Plan"]["Shared Hit Blocks"] + report["Plan"]["Shared Read Blocks"],
        nodes=tuple(
            f"{node['Node Type']} {node.get('Index Name') or node.get('Relation Name') or ''}".strip()
            for node in nodes
        ),
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _fetched(node: dict[str, Any]) -> int:
    if node["Node Type"] in {"ModifyTable", "LockRows"}:
        return 0
    dropped = sum(
        node.get(f"Rows Removed by {cause}", 0) for cause in ("Filter", "Index Recheck", "Join Filter")
    )
    return round((node["Actual Rows"] + dropped) * node["Actual Loops"])


def _rows_in(node: dict[str, Any]) -> int:
    return round(sum(child["Actual Rows"] * child["Actual Loops"] for child in node.get("Plans", [])))
