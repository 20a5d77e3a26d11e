"""The MariaDB server that tests use: the one of ROWQUEUE_TEST_MARIADB, or one found on 127.0.0.1:3306.

Each process of the tests has databases of its own, created and dropped; nothing else on the server is touched.
"""

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pymysql
from pymysql.cursors import DictCursor
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

ENVIRONMENT = "ROWQUEUE_TEST_MARIADB"
_TIMES = re.compile(r"(-?\d+) \* INTERVAL 1 SECOND")
USUAL = "mariadb://root@127.0.0.1:3306/"
OWN = "mariadb://root@127.0.0.1:33066/"
"""What `scripts/mariadb-for-tests` starts."""


@dataclass(frozen=True, slots=True)
class MariaServer:
    """The server of this run, or the reason why there is none."""

    url: str = ""
    version: str = ""
    problem: str = ""
    asked: bool = False


def find_server(directory: Path) -> MariaServer:
    """Look for a server, once in a run; what was found is kept in the run's directory."""
    if (known := known_server(directory)) is not None:
        return known
    asked = os.environ.get(ENVIRONMENT)
    found = MariaServer(problem=f"no server at 127.0.0.1:3306, and no {ENVIRONMENT}")
    for url in [asked] if asked else [USUAL, OWN]:
        try:
            with connect(url) as connection:
                version = connection.get_server_info().removeprefix("5.5.5-")
            found = MariaServer(url, version, asked=bool(asked))
            break
        except (pymysql.err.MySQLError, ArgumentError, ValueError) as problem:
            if asked:
                found = MariaServer(problem=f"{ENVIRONMENT}: {problem}", asked=True)
    draft = directory / f"mariadb.{os.getpid()}.draft"
    draft.touch(0o600)  # the password is in it
    draft.write_text(json.dumps(asdict(found)))
    draft.rename(directory / "mariadb.json")
    return found


def known_server(directory: Path) -> MariaServer | None:
    """The server, if anybody has looked for it."""
    with contextlib.suppress(FileNotFoundError):
        return MariaServer(**json.loads((directory / "mariadb.json").read_text()))
    return None


class Executing(pymysql.connections.Connection):
    """PyMySQL's, with an `execute` of its own as the other drivers have one."""

    def execute(self, command: str) -> Any:
        cursor = self.cursor()
        cursor.execute(command)
        return cursor


def connect(url: str, **options: Any) -> Any:
    """A connection in autocommit, unless the options say otherwise, past the store."""
    parsed = make_url(url)
    place: dict[str, Any] = {
        "host": parsed.host,
        "port": parsed.port or 3306,
        "user": parsed.username,
        "password": parsed.password or "",
        "database": parsed.database,
    }
    if "unix_socket" in parsed.query:
        place["unix_socket"] = parsed.query["unix_socket"]
    return Executing(**place, **{"autocommit": True, "connect_timeout": 10, **options})


class MariaRaw:
    """What a test runs past the store, with rows as dicts."""

    def __init__(self, url: str) -> None:
        self._connection = connect(url, cursorclass=DictCursor)
        self.execute(
            "SET time_zone = '+00:00', lock_wait_timeout = 10, sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES,PIPES_AS_CONCAT')"
        )

    def execute(self, command: str) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(_TIMES.sub(r"INTERVAL \1 SECOND", command))  # PostgreSQL's way to write it
        return cursor

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def opened(url: str) -> Iterator[MariaRaw]:
    raw = MariaRaw(url)
    try:
        yield raw
    finally:
        raw.close()


@contextlib.contextmanager
def temporary_maria_database(server_url: str, purpose: str) -> Iterator[str]:
    """A database with a name that nobody else has; yields its URL, drops it afterwards."""
    name = f"rowqueue_test_{purpose}_{os.getpid()}_{secrets.token_hex(3)}"
    with opened(server_url) as raw:
        raw.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with opened(server_url) as raw:
            raw.execute(f"DROP DATABASE {name}")


def empty_maria_database(url: str) -> None:
    """Whatever a test left behind goes: its connections, its tables and views."""
    name = make_url(url).database
    with opened(url) as raw:
        others = raw.execute(
            f"SELECT id FROM information_schema.processlist WHERE db = '{name}' AND id <> connection_id()"
        )
        for row in others.fetchall():
            with contextlib.suppress(pymysql.err.MySQLError):
                raw.execute(f"KILL {row['id']}")
        raw.execute("SET foreign_key_checks = 0")
        for row in raw.execute("SHOW FULL TABLES").fetchall():
            table, kind = row.values()
            raw.execute(f"DROP {'VIEW' if kind == 'VIEW' else 'TABLE'} `{table}`")


def truncate_maria(url: str) -> None:
    """Empty the default tables, and number rows from 1 again: by DELETE, for TRUNCATE makes a new file for each."""
    with opened(url) as raw:
        tables = raw.execute(
            "SELECT table_name AS name, auto_increment AS next, table_rows AS n FROM information_schema.tables "
            "WHERE table_schema = DATABASE() AND table_name LIKE 'rowqueue\\_%' AND table_name NOT LIKE '%\\_version'"
        ).fetchall()
        raw.execute("BEGIN")
        for row in tables:
            raw.execute(f"DELETE FROM {row['name']}")
        raw.execute("COMMIT")
        for row in tables:
            if row["next"] not in {None, 1}:
                raw.execute(f"ALTER TABLE {row['name']} AUTO_INCREMENT = 1")
