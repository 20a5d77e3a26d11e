"""``rowqueue doctor``: what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from rowqueue.cli.options import json_option
from rowqueue.cli.target import TargetOptions, target_options
from rowqueue.core.errors import ConfigurationError, StoreError
from rowqueue.core.values import Finding

if TYPE_CHECKING:
    from rowqueue.store import Store


@click.command("doctor")
@target_options
@click.option(
    "--table", metavar="NAME", help="Look at a table of yours instead, which app.table(NAME, ...) named."
)
@click.option("--integrity", is_flag=True, help="SQLite: read the whole file for damage, too.")
@json_option
def command(target: TargetOptions, table: str | None, integrity: bool, as_json: bool) -> int:
    """Look at the tables, the database under them, the workers and what waits for them.

    The exit code is 0 when all is well, 1 when something is wrong (each finding says what to do),
    and 2 for bad input.
    """
    from rowqueue.cli.output import show_json

    store = target.store() if table is None else _table(target, table)
    try:
        findings = _look(store, mapped=table is not None, integrity=integrity)
    finally:
        store.close()
    wrong = sum(not finding.ok for finding in findings)
    if as_json:
        show_json({"ok": not wrong, "findings": findings})
    else:
        _show(findings, wrong)
    return 1 if wrong else 0


def _look(store: Store, *, mapped: bool, integrity: bool) -> list[Finding]:
    from rowqueue.operations.health import quick_check
    from rowqueue.store.health import integrity as judge

    sqlite = store.database.name == "sqlite"
    if integrity and not sqlite:
        raise ConfigurationError("--integrity is for SQLite files: PostgreSQL has amcheck")
    try:
        findings = list(store.check() if mapped else store.doctor())
        if integrity:
            findings.append(judge(store.run(quick_check())))
    except StoreError as error:  # a database that is away, or a damaged file, is what a health check is for
        return [
            Finding("database", ok=False, message=str(error), remedy="see that it runs and can be reached")
        ]
    return findings


def _table(target: TargetOptions, name: str) -> Store:
    if not target.app:
        raise ConfigurationError("--table needs the app that names it: give --app module:name, too")
    tables = target.load().tables
    if name not in tables:
        known = ", ".join(sorted(tables)) or "none: call app.table(name, JobTable(...))"
        raise ConfigurationError(f"the app has no table {name!r}; it has {known}")
    return tables[name]


def _show(findings: Sequence[Finding], wrong: int) -> None:
    from rowqueue.cli.output import Table, count, show

    rows = [
        ("ok" if finding.ok else "WRONG", finding.check, finding.message, finding.remedy or None)
        for finding in sorted(findings, key=lambda finding: finding.ok)
    ]
    show(Table(("", "check", "found", "what to do"), rows))
    print(f"{count(wrong, 'thing')} to see to" if wrong else "all is well")
