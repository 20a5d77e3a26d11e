"""The fixtures give what they promise: real databases, empty, that can be stopped, restarted and killed."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine, inspect, text

from tests.reliability import document
from tests.support.figures import read, within
from tests.support.postgres import PrivatePostgres
from tests.support.session import ROOT
from tests.support.waiting import wait_until


def durability(connection: psycopg.Connection) -> tuple[str, ...] | None:
    query = "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes')"
    return connection.execute(query).fetchone()


def test_postgres_url_is_a_real_server(postgres_url):
    with psycopg.connect(postgres_url) as connection:
        version = connection.execute("SELECT version()").fetchone()
        assert version is not None
        assert version[0].startswith("PostgreSQL ")
        assert connection.info.server_version >= 150000


def test_sqlite_url_is_a_file_that_does_not_exist_yet(sqlite_url, tmp_path):
    assert list(tmp_path.iterdir()) == []
    engine = create_engine(sqlite_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT sqlite_version()")).scalar() == sqlite3.sqlite_version
    engine.dispose()


@pytest.mark.parametrize("turn", [1, 2])
def test_database_url_is_empty_at_each_turn(database_url, turn):
    engine = create_engine(database_url)
    assert inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE thing (id integer PRIMARY KEY, name text)"))
        connection.execute(text("INSERT INTO thing VALUES (:turn, 'x')"), {"turn": turn})
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM thing")).scalar() == turn
    engine.dispose()


@pytest.mark.parametrize("turn", [1, 2])
def test_postgres_database_forgets_schemas_settings_and_connections(postgres_database, turn):
    connection = psycopg.connect(postgres_database, autocommit=True)
    connection.execute('CREATE SCHEMA "other one"')
    connection.execute('CREATE TABLE "other one".thing (id integer)')
    name = connection.info.dbname
    assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)
    assert connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    ).fetchone() == (1,)
    connection.execute(sql.SQL("ALTER DATABASE {} SET statement_timeout = '9s'").format(sql.Identifier(name)))
    leaked.append(connection)  # still open, and so still alive, when the next turn begins
    while len(leaked) > 1:
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            leaked[0].execute("SELECT 1")
        leaked.pop(0).close()


leaked: list[psycopg.Connection] = []


@pytest.fixture(scope="module", autouse=True)
def close_leaked():
    yield
    while leaked:
        leaked.pop().close()


def test_new_postgres_database_makes_different_ones(
    postgres_database: str, new_postgres_database: Callable[[], str]
) -> None:
    urls = {postgres_database, new_postgres_database(), new_postgres_database()}
    names = set()
    for url in urls:
        with psycopg.connect(url) as connection:
            names.add(connection.info.dbname)
    assert len(names) == 3


def test_private_postgres_restarts_with_its_data_after_stop_and_kill(
    private_postgres: PrivatePostgres,
) -> None:
    url = private_postgres.url
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (how text)")
    ways: dict[str, Callable[[], None]] = {
        "fast": lambda: private_postgres.stop("fast"),
        "immediate": lambda: private_postgres.stop("immediate"),
        "kill": private_postgres.kill,
    }
    for how, stop in ways.items():
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO kept VALUES (%s)", [how])
            connection.commit()
            stop()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        assert not private_postgres.running
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(url)
        private_postgres.start()
        assert private_postgres.url == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT array_agg(how) FROM kept").fetchone() == (
            ["fast", "immediate", "kill"],
        )
        assert durability(connection) == ("on", "on", "on")
    assert "pgbench (PostgreSQL)" in private_postgres.run("pgbench", "--version").stdout


def test_wait_until_returns_the_answer_or_says_what_it_waited_for():
    answers = iter([0, "", 7])
    assert wait_until(lambda: next(answers), "a number") == 7
    with pytest.raises(TimeoutError, match=r"waited 0\.01 s for nothing"):
        wait_until(lambda: False, "nothing", timeout=0.01)


def test_figures_are_published_from_every_process_and_a_broken_one_fails(tmp_path):
    file = tmp_path / "figures.jsonl"
    found = subprocess.run(
        [
            *[sys.executable, "-m", "pytest", "-n", "2", "--reliability", "--long", "--figures", str(file)],
            "tests/support/publishing.py",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1, found.stdout + found.stderr
    written = list(read(file))
    rows = {(row.number, row.sort): row for row in written}
    assert len(written) == len(rows)  # once, by whoever started the processes
    assert {key: (row.value, row.bound, row.holds) for key, row in rows.items()} == {
        ("#1", "figure"): (3, "= 3", True),
        ("#1", "control"): (2, "lost >= 1", True),
        ("#2", "figure"): (1, "lost = 0", False),
        ("#3", "not run"): (None, "", False),
        ("#4", "figure"): (1, ">= 1", True),
        ("", "failed"): (None, "", False),
    }
    good = rows["#1", "figure"]
    assert (good.promise, good.seed, good.control) == (1, "7", "2 of 3")
    assert f"SQLite {sqlite3.sqlite_version}" in good.versions
    assert good.command == "pytest --long 'tests/support/publishing.py::test_good[sqlite]'"
    assert rows["", "failed"].figure == "a fault of its own"
    for row in rows.values():
        assert str(row) in found.stdout
    page = document(written)
    assert "**2 broken or failed**" in page
    assert "| 3 of 3 | = 3 | 2 of 3 | 7 |" in page
    assert "**lost = 0: broken, 1**" in page
    assert "**#3** a network: there is none; install one" in page
    assert "2 failed, 2 passed, 1 skipped" in found.stdout  # and not what publishes nothing


@pytest.mark.parametrize(
    "value, bound, holds",
    [(0, "lost = 0", True), (1, "lost = 0", False), (2.5, "p99 <= 2.5 s", True), (3, "more than > 3", False)],
)
def test_a_bound_is_read_as_it_is_written(value, bound, holds):
    assert within(value, bound) is holds
    with pytest.raises(ValueError, match="is no bound"):
        within(value, "none at all")
