"""The demo's own tables, in the same database as the jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.schema import CreateIndex, CreateTable

# Without stemming: in names, "decode" and "decoder" are two words.
_SEARCH_TEXT = " || ".join(
    f"setweight(to_tsvector('simple', {column}), '{weight}')"
    for column, weight in (("own", "A"), ("words", "B"), ("docstring", "C"))
)


@dataclass(frozen=True, slots=True)
class Tables:
    """What the demo knows beside its jobs.

    Attributes:
        item: the files; ``search_job`` is the job that a file got for the destination ``search``, and
            ``symbols`` is written with its completion: how many symbols the file has.
        symbol: modules, classes and functions. Nothing here forbids a second copy of a file's
            symbols: that there is none is the work of the fence, and ``check`` looks.
        stale: attempts that were stopped because their lease was lost, each once or twice.
    """

    metadata: sa.MetaData
    item: sa.Table
    symbol: sa.Table
    stale: sa.Table

    @property
    def index_name(self) -> str:
        """SQLite's full-text index over ``symbol``."""
        return f"{self.symbol.name}_text"


def tables(prefix: str, schema: str | None, dialect: str) -> Tables:
    """Describe the tables.

    Args:
        prefix: rowqueue's table prefix; "demo_" is put after it.
        schema: the database schema; None is the connection's own.
        dialect: sqlite, postgresql or mariadb.
    """
    metadata = sa.MetaData(schema=schema)
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    item = sa.Table(
        f"{prefix}demo_item",
        metadata,
        sa.Column("id", key, sa.Identity(), primary_key=True),
        sa.Column("path", _path(), nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("search_job", sa.BigInteger, unique=True),
        sa.Column("symbols", sa.Integer),
    )
    symbol = sa.Table(
        f"{prefix}demo_symbol",
        metadata,
        sa.Column("id", key, sa.Identity(), primary_key=True),
        sa.Column("item_id", sa.BigInteger, nullable=False, index=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("line", sa.Integer, nullable=False),
        sa.Column("own", sa.Text, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("docstring", sa.Text, nullable=False),
    )
    if dialect == "mariadb":
        for name, columns in (("own", ("own",)), ("text", ("own", "words", "docstring"))):
            prefix_: dict[str, Any] = {"mariadb_prefix": "FULLTEXT", "mysql_prefix": "FULLTEXT"}
            sa.Index(f"{symbol.name}_{name}", *(symbol.c[column] for column in columns), **prefix_)
    if dialect == "postgresql":
        text = sa.Column("text", postgresql.TSVECTOR, sa.Computed(_SEARCH_TEXT, persisted=True))
        symbol.append_column(text)
        sa.Index(f"{symbol.name}_text", text, postgresql_using="gin")
    stale = sa.Table(
        f"{prefix}demo_stale",
        metadata,
        sa.Column("id", key, sa.Identity(), primary_key=True),
        sa.Column("job_id", sa.BigInteger, nullable=False),
        sa.Column("lease", sa.BigInteger, nullable=False),
    )
    return Tables(metadata, item, symbol, stale)


def _path() -> sa.types.TypeEngine[str]:
    exact = sa.String(700, collation="utf8mb4_bin")  # as long as an index of MariaDB's may be
    return sa.Text().with_variant(exact, "mariadb", "mysql")


def create(engine: Engine, tables: Tables) -> None:
    """Create what is missing, in one transaction, one process at a time."""
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            lock = sa.func.pg_advisory_xact_lock(sa.func.hashtext(tables.item.fullname))
            connection.execute(sa.select(lock))
        if connection.dialect.name in {"mariadb", "mysql"}:  # whose DDL is no transaction
            _create_if_missing(connection, tables)
            return
        tables.metadata.create_all(connection)
        if connection.dialect.name == "sqlite":
            _create_fts(connection, tables)


def _create_if_missing(connection: Connection, tables: Tables) -> None:
    for table in tables.metadata.sorted_tables:
        connection.execute(CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            connection.execute(CreateIndex(index, if_not_exists=True))


def _create_fts(connection: Connection, tables: Tables) -> None:
    """FTS5 over ``symbol``; a trigger fills it, so that a symbol and its words commit together."""
    index, symbol = tables.index_name, tables.symbol.name
    connection.exec_driver_sql(
        f"CREATE VIRTUAL TABLE IF NOT EXISTS {index} USING fts5"
        f"(own, words, docstring, content='{symbol}', content_rowid='id')"
    )
    connection.exec_driver_sql(
        f"CREATE TRIGGER IF NOT EXISTS {index}_add AFTER INSERT ON {symbol} BEGIN"
        f" INSERT INTO {index} (rowid, own, words, docstring)"
        " VALUES (new.id, new.own, new.words, new.docstring); END"
    )
