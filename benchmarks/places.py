"""A PostgreSQL to measure on, and an empty database for each measurement."""

import contextlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from tests.support.postgres import PrivatePostgres, make_server_directory

SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "4GB", "max_connections": 200}
"""Sizes that anybody with this much memory sets; durability (fsync, synchronous_commit) stays as PostgreSQL ships it."""


@contextlib.contextmanager
def postgres():
    """BENCH_POSTGRES, or a server of our own from the wheel: its URL."""
    if url := os.environ.get("BENCH_POSTGRES"):
        yield url
        return
    directory = make_server_directory("rowqueue-bench-")
    server = PrivatePostgres(directory, **SETTINGS)
    try:
        yield server.start().url
    finally:
        server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def empty(server):
    """An empty database on that server, or an SQLite file when it is None: its URL."""
    if server is None:
        with tempfile.TemporaryDirectory(
            prefix="rowqueue-bench-", dir=os.environ.get("BENCH_DIRECTORY")
        ) as folder:
            yield f"sqlite:///{Path(folder) / 'bench.db'}"
        return
    name = f"rowqueue_bench_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        try:
            admin.execute("CHECKPOINT")
            yield make_url(server).set(database=name).render_as_string(hide_password=False)
        finally:
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def ask(url, sql):
    """One value from a database."""
    if url.startswith("sqlite"):
        import sqlite3

        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)) as connection:
            return connection.execute(sql).fetchone()[0]
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql).fetchone()[0]
