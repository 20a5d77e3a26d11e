"""pytest's plugin: an app on a temporary database, and the harness.

Every suite of an environment with rowqueue in it imports this file, so it imports nothing but pytest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from rowqueue.app import App
    from rowqueue.testing.under_test import Harness, Mode

VARIABLE = "ROWQUEUE_TEST_DATABASE"


class NewApp(Protocol):
    """``rowqueue_app``."""

    def __call__(self, **options: Any) -> App:
        """Make an app."""
        ...


class NewHarness(Protocol):
    """``rowqueue_testing``."""

    def __call__(self, app: App, mode: Mode = "drain", *, raises: bool = True) -> Harness:
        """Put an app under test."""
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --rowqueue-database."""
    parser.getgroup("rowqueue").addoption(
        "--rowqueue-database",
        metavar="URL",
        default=None,
        help="PostgreSQL for the rowqueue fixtures, each test in a schema of its own that is dropped"
        f" (default: the environment's {VARIABLE}, else a temporary SQLite file)",
    )


@pytest.fixture
def rowqueue_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database for this test alone: a SQLite file, or a schema of the PostgreSQL that was given."""
    given: str | None = request.config.getoption("--rowqueue-database") or os.environ.get(VARIABLE)
    if given is None:
        yield f"sqlite:///{tmp_path / 'rowqueue.db'}"
        return
    from rowqueue.testing.postgres import temporary_schema

    with temporary_schema(given) as url:
        yield url


@pytest.fixture
def rowqueue_app(rowqueue_url: str) -> Iterator[NewApp]:
    """Makes apps on ``rowqueue_url``, with their tables; takes the options of ``rowqueue.App``."""
    import asyncio

    from rowqueue.app import App

    with ExitStack() as opened:

        def new_app(**options: Any) -> App:
            app = App(rowqueue_url, **options)
            opened.callback(lambda: asyncio.run(app.aclose()))
            app.init()
            return app

        yield new_app


@pytest.fixture
def rowqueue_testing() -> Iterator[NewHarness]:
    """Puts any app of yours under test until the test ends: ``jobs = rowqueue_testing(app, "inline")``."""
    from rowqueue.testing.under_test import harness

    with ExitStack() as begun:

        def start(app: App, mode: Mode = "drain", *, raises: bool = True) -> Harness:
            return begun.enter_context(harness(app, mode, raises=raises))

        yield start
