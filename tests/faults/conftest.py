"""What the tests of faults stand on."""

from collections.abc import Iterator

import pytest

from tests.support.databases import temporary_database


@pytest.fixture
def fresh_postgres(postgres_url: str) -> Iterator[str]:
    """An empty PostgreSQL database, dropped afterwards with whoever is still in it."""
    with temporary_database(postgres_url, "faults") as url:
        yield url
