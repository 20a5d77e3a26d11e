"""pytest's plugin, in suites of their own: real processes that know of nothing but what a user would write."""

import importlib.metadata
from pathlib import Path

import pytest

import rowqueue
from tests.worker.harness import raw_connection

pytest_plugins = ["pytester"]

SUITE = """
    import pytest
    import rowqueue

    @pytest.fixture
    def app(rowqueue_app):
        return rowqueue_app(max_attempts=2)

    @pytest.mark.parametrize("number", [1, 2])
    def test_it(app, rowqueue_url, rowqueue_testing, number):
        done = []

        @app.job(kind="note")
        def note(number: int) -> None:
            done.append(number)

        jobs = rowqueue_testing(app)
        note.enqueue(number)
        jobs.assert_enqueued(note, number, count=1)
        assert [ran.job.id for ran in jobs.drain()] == [1]  # a database of its own
        assert done == [number]
        print("DATABASE", rowqueue_url)

    def test_inline(app, rowqueue_testing):
        @app.job(kind="broken")
        async def broken() -> None:
            raise LookupError("as expected")

        rowqueue_testing(app, "inline")
        with pytest.raises(LookupError):
            broken.enqueue()
"""

UNUSED = """
    import sys

    def test_of_somebody_else():
        loaded = [name for name in sys.modules if name.partition(".")[0] in {"sqlalchemy", "psycopg", "msgspec"}]
        assert loaded == []
        assert "rowqueue.testing.plugin" in sys.modules
        assert not [name for name in sys.modules if name.startswith(("rowqueue.app", "rowqueue.store"))]
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    """Runs a suite in a process, with the plugin as an installation has it."""
    monkeypatch.delenv("ROWQUEUE_TEST_DATABASE", raising=False)
    installed = {entry.name for entry in importlib.metadata.entry_points(group="pytest11")}
    plugin = "rowqueue" if "rowqueue" in installed else "rowqueue.testing.plugin"

    source = Path(rowqueue.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", str(source))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(code, *arguments):
        pytester.makepyfile(code)
        return pytester.runpytest_subprocess("-p", plugin, "-W", "error", "-s", *arguments, timeout=100)

    return run


def urls(result):
    return [line.split("DATABASE ")[1].split()[0] for line in result.outlines if "DATABASE " in line]


def test_without_a_database_each_test_has_a_file(suite):
    result = suite(SUITE)
    result.assert_outcomes(passed=3)
    files = urls(result)
    assert len(set(files)) == 2
    assert all(url.startswith("sqlite:///") for url in files)


@pytest.mark.parametrize("by", ["option", "environment"])
def test_on_postgres_each_test_has_a_schema_that_is_dropped(suite, postgres_database, monkeypatch, by):
    if by == "environment":
        monkeypatch.setenv("ROWQUEUE_TEST_DATABASE", postgres_database)
        result = suite(SUITE)
    else:
        result = suite(SUITE, "--rowqueue-database", postgres_database)
    result.assert_outcomes(passed=3)
    assert len({url for url in urls(result) if "search_path" in url}) == 2
    with raw_connection(postgres_database) as raw:
        names = [row[0] for row in raw.execute("SELECT nspname FROM pg_namespace")]
        assert [name for name in names if name.startswith("rowqueue_test")] == []
        assert raw.execute("SELECT to_regclass('rowqueue_job')").fetchone() == (None,)


def test_a_url_of_something_else_is_refused(suite):
    result = suite(SUITE, "--rowqueue-database", "mongodb://x:secret@y/z")
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["*takes a PostgreSQL URL*"])
    assert "secret@" not in "".join(line for line in result.outlines if "ConfigurationError" in line)


def test_a_suite_that_does_not_use_it_loads_nothing(suite):
    suite(UNUSED).assert_outcomes(passed=1)


def test_its_names_are_not_collected_as_tests(suite):
    result = suite(
        "from rowqueue.testing import *\nfrom rowqueue.testing.under_test import *\ndef test_one(): pass\n"
    )
    result.assert_outcomes(passed=1)
