import asyncio
from collections.abc import Iterator

import pytest

from rowqueue import App, RetryPolicy


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    """An app with its tables, once on each database; failed jobs run again at once."""
    app = App(database_url, retry=RetryPolicy.constant(0))
    app.init()
    yield app
    asyncio.run(app.aclose())
