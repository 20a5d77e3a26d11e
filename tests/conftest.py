"""The databases that tests ask for by name: `sqlite_url`, `postgres_database`, `mariadb_database`, or
`database_url` for each in turn."""

import contextlib
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.bound_exec import die_with_parent
from tests.support.databases import empty_database, temporary_database, url_of
from tests.support.figures import Publisher, append, commit, merged, read
from tests.support.mariadb import (
    MariaServer,
    empty_maria_database,
    find_server,
    known_server,
    temporary_maria_database,
)
from tests.support.postgres import PostgresUnavailable, PrivatePostgres, binaries_version
from tests.support.session import ENVIRONMENT, Server, Session

_SESSION = pytest.StashKey[Session]()
_PUBLISHER = pytest.StashKey[Publisher]()

ALL = os.environ.get("ROWQUEUE_TEST_EVERYTHING") == "1"
"""Everything on every database: a third more time."""

APSW = os.environ.get("ROWQUEUE_TEST_SQLITE") == "apsw"
"""Stores on SQLite are on the one that the installed apsw brings."""

LONG_TIMEOUT = 3600
"""Seconds that a test may take with `--long`; without, it is 120, or what the test says."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("reliability")
    group.addoption("--long", action="store_true", help="the long form of tests that have one")
    group.addoption("--reliability", action="store_true", help="only tests that publish figures")
    group.addoption("--figures", type=Path, metavar="FILE", help="add the published figures to this file")


def pytest_configure(config: pytest.Config) -> None:
    if APSW:
        from tests.support import apsw_store

        apsw_store.install()
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is None:
        config.stash[_SESSION] = session = Session.own()
        config.add_cleanup(session.close)
    else:
        die_with_parent(
            signal.SIGKILL
        )  # xdist's workers would finish their tests, servers and all, for nobody
        config.stash[_SESSION] = Session(Path(worker_input["rowqueue_session"]))


# Started in the background of a shell, or by nohup, it ignores these, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)  # not ignored by what is started, and still by the tests


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # xdist: what a worker is told
    node.workerinput["rowqueue_session"] = str(node.config.stash[_SESSION].directory)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    _summarize_figures(terminalreporter, config)
    server = config.stash[_SESSION].known()
    terminalreporter.section("databases")
    terminalreporter.line(_sqlite())
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


def _sqlite() -> str:
    if APSW:
        import apsw

        return f"SQLite {apsw.sqlitelibversion()} (apsw)"
    return f"SQLite {sqlite3.sqlite_version}"


def _summarize_figures(terminalreporter: Any, config: pytest.Config) -> None:
    rows = list(read(_figures(config)))
    if rows and not hasattr(config, "workerinput"):
        terminalreporter.section("figures")
        for row in merged(rows):
            terminalreporter.line(str(row), red=not row.holds, yellow=row.sort == "not run")
        if file := config.option.figures:
            at = commit()
            append(file, [replace(row, commit=at) for row in rows])


def _figures(config: pytest.Config) -> Path:
    return config.stash[_SESSION].directory / "figures.jsonl"


@pytest.fixture
def long(pytestconfig: pytest.Config) -> bool:
    """Whether the long form of a test is asked for: more jobs, more kills, more minutes."""
    return bool(pytestconfig.option.long)


@pytest.fixture
def publish(request: pytest.FixtureRequest) -> Publisher:
    """By this a reliability test reports what it measured: see `tests/support/figures.py`."""
    return _publisher(request.node)


def _publisher(item: pytest.Item) -> Publisher:
    if (known := item.stash.get(_PUBLISHER, None)) is None:
        config = item.config
        command = f"pytest{' --long' if config.option.long else ''} '{item.nodeid}'"
        known = item.stash[_PUBLISHER] = Publisher(
            _figures(config),
            item.nodeid,
            command,
            lambda: _database_of(item, config.stash[_SESSION]),
            str(config.getoption("--hypothesis-seed", None) or ""),
        )
    return known


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _publishes(item) and not report.passed:
        why = (
            report.longrepr[2]
            if isinstance(report.longrepr, tuple)
            else str(call.excinfo and call.excinfo.value)
        )
        first = (
            why.strip().splitlines()[0] if why.strip() else type(call.excinfo and call.excinfo.value).__name__
        )
        _publisher(item).ended("not run" if report.skipped else "failed", first, name=item.nodeid)
    return report


def _publishes(item: pytest.Item) -> bool:
    return "publish" in getattr(item, "fixturenames", ())


def _database_of(item: pytest.Item, session: Session) -> str:
    """Which database a test runs on: its parameter says so, or the fixtures that it asks for."""
    callspec = getattr(item, "callspec", None)
    asked = " ".join([*map(str, callspec.params.values() if callspec else ()), *item.fixturenames])  # type: ignore[attr-defined]
    if "sqlite" in asked:
        return _sqlite()
    if "postgres" in asked:
        server = session.known()
        return f"PostgreSQL {server.version}" if server else binaries_version(session.binaries())
    if "mariadb" in asked:
        known = known_server(session.directory)
        return f"MariaDB {known.version.partition('-')[0] if known else ''}".strip()
    return ""


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
    left_out = [item for item in items if _is_left_out(item) or _is_of_another_run(item, config)]
    if config.option.long:
        for item in items:
            own = item.get_closest_marker("timeout")
            if own is None or own.args != (0,):  # which says that it takes as long as it was asked to
                item.add_marker(pytest.mark.timeout(LONG_TIMEOUT), append=False)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]


def _is_of_another_run(item: pytest.Item, config: pytest.Config) -> bool:
    if item.get_closest_marker("long") and not config.option.long:
        return True
    return config.option.reliability and not _publishes(item)


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
def new_private_postgres(pytestconfig: pytest.Config) -> Iterator[Callable[..., PrivatePostgres]]:
    """Starts servers with settings of their own for this test alone, to stop, restart and kill (a second each).

    Called with `follow=server` it starts a standby of that one.
    """
    session = pytestconfig.stash[_SESSION]
    with contextlib.ExitStack() as servers:

        def start(
            *, follow: PrivatePostgres | None = None, directory: Path | None = None, **settings: str | int
        ) -> PrivatePostgres:
            try:
                place = directory or session.directory_for("private")
                servers.callback(shutil.rmtree, place, ignore_errors=True)
                if follow is None:
                    made = PrivatePostgres(place, session.binaries(), **settings)
                else:
                    made = follow.standby(place, **settings)
                servers.callback(made.stop, "immediate")
                return made.start()
            except PostgresUnavailable as problem:
                pytest.skip(f"no PostgreSQL: {problem}")

        yield start


@pytest.fixture
def private_postgres(new_private_postgres: Callable[..., PrivatePostgres]) -> PrivatePostgres:
    """One with the settings that PostgreSQL has."""
    return new_private_postgres()
