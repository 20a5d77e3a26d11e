"""``rowqueue schema``: the SQL, for a DBA, a migration tool or the curious."""

from __future__ import annotations

import os

import click

from rowqueue.cli.target import DATABASE_VARIABLE, TargetOptions, target_options


@click.command("schema")
@target_options
@click.option(
    "--dialect",
    type=click.Choice(["sqlite", "postgresql", "mariadb"]),
    help="Whose SQL (default: the database's).",
)
@click.option("--statements", is_flag=True, help="Print every statement that rowqueue sends instead.")
def command(target: TargetOptions, dialect: str | None, statements: bool) -> None:
    """Print the SQL that creates the tables; no database is asked.

    Without --dialect and without a database it is that of SQLite.
    """
    from rowqueue.store import Store

    if target.app or target.database or (dialect is None and os.environ.get(DATABASE_VARIABLE)):
        store = target.store(create=True)
    else:  # any URL will do: nothing connects to it
        store = Store("sqlite:///none.db", prefix=target.prefix or "rowqueue_", schema=target.schema)
    if statements:
        for name, sql in store.statements(dialect):
            print(f"-- {name}\n{sql};\n")
    else:
        print(store.ddl(dialect), end="")
