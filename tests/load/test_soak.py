"""Memory, connections, descriptors, dead rows and file sizes level off (reliability #33).

Five minutes by `pytest --long`, hours by `make soak HOURS=12`, and without either a few seconds that show only that the
crew keeps up.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.load.levels import level
from tests.load.soak import Course, Plan, soak
from tests.support.postgres import PrivatePostgres

HOURS = float(os.environ.get("ROWQUEUE_SOAK_HOURS", "0"))

ALLOWED = {
    "memory of workers (MiB)": 4.0,  # of a supervisor, two workers and two children
    "memory of producer (MiB)": 1.0,
    "descriptors of workers": 0.5,
    "descriptors of producer": 0.5,
    "threads of workers": 0.5,
    "threads of producer": 0.5,
    "connections": 0.5,
    "dead rows": 500.0,  # half of the threshold at which our tables are vacuumed
    "size of the tables (MiB)": 0.5,
    "size of the file (MiB)": 0.3,
    "size of its WAL (MiB)": 2.0,
}
"""What a measurement may certainly grow by in the time that is judged."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'soak.db'}"
        return
    server: PrivatePostgres = request.getfixturevalue("private_postgres")
    with psycopg.connect(server.url, autocommit=True) as connection:  # a minute is long in five
        connection.execute("ALTER SYSTEM SET autovacuum_naptime = '5s'")
        connection.execute("SELECT pg_reload_conf()")
    yield server.url


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_everything_levels_off(url: str, tmp_path: Path, long: bool, publish):
    seconds = HOURS * 3600 or (300 if long else 5)
    course = soak(url, Plan(seconds, rate=100), tmp_path)
    assert (course.exit_code, course.left) == (0, 0), (tmp_path / "said.log").read_text()
    publish(
        "#33",
        "a soak: workers are fed evenly by jobs of every sort",
        f"{seconds / 60:.0f} min, {course.enqueued:,} jobs at 100 a second, unfinished a minute later: {course.left}",
        value=course.left,
        bound="unfinished = 0",
    )
    if long:
        for name, growth in _growths(course).items():
            publish(
                "#33",
                f"a soak: {name}",
                growth[0],
                value=growth[1],
                bound=f"certain growth <= {ALLOWED[name]}",
            )


@pytest.mark.long
@pytest.mark.timeout(0)
def test_control_what_leaks_does_not_level_off(url: str, tmp_path: Path, publish):
    """The same judge over handlers that keep memory and open files, and final jobs that nobody prunes."""
    course = soak(url, Plan(60, rate=100, kinds=("leaking", "quick"), keep=None), tmp_path)
    size = "size of the file (MiB)" if url.startswith("sqlite") else "size of the tables (MiB)"
    for name in ("memory of workers (MiB)", "descriptors of workers", size):
        growth = _growths(course)[name]
        publish.control(
            "#33",
            f"a soak: {name}",
            f"leaks: {growth[0]}",
            value=growth[1],
            bound=f"certain growth > {ALLOWED[name]}",
        )


def _growths(course: Course) -> dict[str, tuple[str, float]]:
    found = {name: level(samples) for name, samples in course.series.items()}
    return {
        name: (f"{each.first:,.1f} → {each.last:,.1f}: {each.growth:+.2f} ± {each.noise:.2f}", each.certain)
        for name, each in found.items()
    }
