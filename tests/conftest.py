"""The databases that tests ask for by name: `sqlite_url`, `postgres_database`, `mariadb_database`, or
`database_url` for each in turn."""

import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bound_exec import die_with_parent
from tests.support.databases import empty_database, temporary_database, url_of
from tests.support.mariadb import (
    MariaServer,
    empty_maria_database,
    find_server,
    known_server,
    temporary_maria_database,
)
from tests.support.postgres import PostgresUnavailable, PrivatePostgres
from tests.support.session import ENVIRONMENT, Server, Session

_SESSION = pytest.StashKey[Session]()

ALL = os.environ.get("ROWQUEUE_TEST_EVERYTHING") == "1"
"""Everything on every database: a third more time."""


def pytest_configure(config: pytest.Config) -> None:
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is None:
        config.stash[_SESSION] = session = Session.own()
        config.add_cleanup(session.close)
    else:
        die_with_parent(
            signal.SIGKILL
        )  # xdist's workers would finish their tests, servers and all, for nobody
        config.stash[_SESSION] = Session(Path(worker_input["rowqueue_session"]))


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell, which ignores Ctrl-C, and so would every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # xdist: what a worker is told
    node.workerinput["rowqueue_session"] = str(node.config.stash[_SESSION].directory)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    server = config.stash[_SESSION].known()
    terminalreporter.section("databases")
    terminalreporter.line(f"SQLite {sqlite3.sqlite_version}")
    if server is None:
        terminalreporter.line("PostgreSQL: no test asked for it")
    elif server.problem:
        terminalreporter.line(f"PostgreSQL: NOT RUN: {server.problem}", red=True)
    else:
        origin = "private server of this run" if server.private else f"the server of {ENVIRONMENT}"
        terminalreporter.line(f"PostgreSQL {server.version} ({origin})")
    mariadb = known_server(config.stash[_SESSION].directory)
    if mariadb is None:
        terminalreporter.line("MariaDB: no test asked for it")
    elif mariadb.problem:
        terminalreporter.line(f"MariaDB: NOT RUN: {mariadb.problem}", red=True)
    else:
        terminalreporter.line(f"MariaDB {mariadb.version}")


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> Server:
    server = pytestconfig.stash[_SESSION].server()
    if server.problem and not server.private:
        pytest.fail(server.problem)  # somebody asked for that very server
    if server.problem:
        pytest.skip(f"no PostgreSQL: {server.problem}")
    return server


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Server) -> str:
    """The server's own database: for what concerns the server. Tables belong into `postgres_database`."""
    return postgres_server.url


@pytest.fixture(scope="session")
def _postgres_worker_database(postgres_url: str) -> Iterator[str]:
    with temporary_database(postgres_url, "main") as url:
        yield url


@pytest.fixture
def postgres_database(_postgres_worker_database: str) -> str:
    """The URL of an empty database that no other test uses at the same time."""
    empty_database(_postgres_worker_database)
    return _postgres_worker_database


@pytest.fixture
def new_postgres_database(postgres_url: str) -> Iterator[Callable[[], str]]:
    """Makes one more empty database at each call (70 ms), for tests that need two."""
    with contextlib.ExitStack() as databases:
        yield lambda: databases.enter_context(temporary_database(postgres_url, "more"))


@pytest.fixture(scope="session")
def mariadb_server(pytestconfig: pytest.Config) -> MariaServer:
    session = pytestconfig.stash[_SESSION]
    with session.lock():
        server = find_server(session.directory)
    if server.problem and server.asked:
        pytest.fail(server.problem)  # somebody asked for that very server
    if server.problem:
        pytest.skip(f"no MariaDB: {server.problem}")
    return server


@pytest.fixture(scope="session")
def _mariadb_worker_database(mariadb_server: MariaServer) -> Iterator[str]:
    with temporary_maria_database(mariadb_server.url, "main") as url:
        yield url


@pytest.fixture
def mariadb_database(_mariadb_worker_database: str) -> str:
    """The URL of an empty database that no other test uses at the same time."""
    empty_maria_database(_mariadb_worker_database)
    return _mariadb_worker_database


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if _is_left_out(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]


def _is_left_out(item: pytest.Item) -> bool:
    """It is about what stands above the store, and would run on a third database without being marked so."""
    if (
        ALL
        or item.path.parent.name in {"store", "mapping", "sql"}
        or getattr(item, "callspec", None) is None
        or item.get_closest_marker("every_database")
    ):
        return False
    chosen = any("database_url" in mark.args[0] for mark in item.iter_markers("parametrize"))
    return bool(item.callspec.params.get("database_url") == "mariadb" and not chosen)  # type: ignore[attr-defined]


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The test runs once on each database; on MariaDB where it is marked `every_database`.

    The store's suites, which show that a database does what is asked of it, run on all three by `tables_url`; what
    stands above the store does not know which it is.
    """
    return url_of(request)


@pytest.fixture
def private_postgres(pytestconfig: pytest.Config) -> Iterator[PrivatePostgres]:
    """A started server for this test alone (one second), to stop, restart and kill."""
    try:
        binaries = pytestconfig.stash[_SESSION].binaries()
        directory = pytestconfig.stash[_SESSION].directory_for("private")
        try:
            with PrivatePostgres(directory, binaries) as postgres:
                yield postgres
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    except PostgresUnavailable as problem:
        pytest.skip(f"no PostgreSQL: {problem}")
