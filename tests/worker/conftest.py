import asyncio
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from rowqueue import App, RetryPolicy
from tests.worker.held_jobs import Effects, effects_in
from tests.worker.uploads import Uploads


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    """An app with its tables, once on each database; failed jobs run again at once."""
    app = App(database_url, retry=RetryPolicy.constant(0))
    app.init()
    yield app
    asyncio.run(app.aclose())


@pytest.fixture(params=["def", "async def"])
def way(request: pytest.FixtureRequest) -> str:
    """Two ways to write a handler."""
    return str(request.param)


@pytest.fixture
def effects(database_url: str) -> Effects:
    """A table of the user's own in the same database, and what is in it."""
    return effects_in(database_url)


@pytest.fixture
def uploads(app: App, database_url: str) -> Iterator[Uploads]:
    """A table of the user's."""
    made = Uploads(app, database_url)
    yield made
    made.store.close()
    made.engine.dispose()


@pytest.fixture
def yard(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module with the jobs, fresh, on the test's database."""
    monkeypatch.setenv("YARD_DATABASE", database_url)
    monkeypatch.setenv("YARD_FOLDER", str(tmp_path))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    module = importlib.import_module("yard")
    module.app.init()
    yield module
    module.app.close()
    del sys.modules["yard"]
