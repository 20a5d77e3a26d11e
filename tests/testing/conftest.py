import asyncio
from collections.abc import Iterator

import pytest

from rowqueue import App, RetryPolicy
from tests.support.databases import url_of


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The harness is Python: two databases show that it is right."""
    return url_of(request)


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    """An app with its tables, once on each database."""
    app = App(database_url, retry=RetryPolicy.constant(60), max_attempts=3)
    app.init()
    yield app
    asyncio.run(app.aclose())
