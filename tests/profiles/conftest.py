"""The systems on databases of the tests: their tables, their clients, and a look past rowqueue."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rowqueue.profiles.gqs import Gqs, init_db
from rowqueue.profiles.river import Client
from tests.profiles.gqs_table import Table
from tests.profiles.river_schema import RIVER_DDL, River
from tests.profiles.sourcegraph_bench import Bench
from tests.support.databases import url_of
from tests.support.stores import raw


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """These systems live on PostgreSQL and SQLite; what lives on MariaDB, too, says so itself."""
    return url_of(request)


@pytest.fixture
def river(postgres_database: str) -> Iterator[River]:
    other = River(postgres_database)
    other.connection.execute(RIVER_DDL)
    yield other
    other.close()


@pytest.fixture
def make_client(river: River) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def one(**options: Any) -> Client:
        made.append(Client(river.url, id="py", **options))
        return made[-1]

    yield one
    for client in made:
        client.close()


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()


@pytest.fixture
def seed(make_client: Callable[..., Client]) -> Client:
    return make_client(seed_answers=True)


@pytest.fixture
def gqs_url(database_url: str) -> str:
    init_db(database_url)
    return database_url


@pytest.fixture
def make_queue(gqs_url: str) -> Iterator[Callable[..., Gqs]]:
    made: list[Gqs] = []

    def one(**options: Any) -> Gqs:
        made.append(Gqs(gqs_url, **options))
        return made[-1]

    yield one
    for queue in made:
        queue.close()


@pytest.fixture
def queue(make_queue: Callable[..., Gqs]) -> Gqs:
    return make_queue()


@pytest.fixture
def table(gqs_url: str) -> Iterator[Table]:
    with raw(gqs_url, "jobs") as rows:
        yield Table(rows)


@pytest.fixture(params=["held"])
def shape(request: pytest.FixtureRequest) -> str:
    """How Sourcegraph's rows are worked: in a transaction, or with heartbeats."""
    return str(request.param)


@pytest.fixture
def bench(database_url: str, shape: str) -> Iterator[Bench]:
    """Sourcegraph's table."""
    if database_url.startswith("mariadb"):
        pytest.skip("Sourcegraph lives on PostgreSQL, and its tests on SQLite")
    with contextlib.ExitStack() as stack:
        yield Bench(database_url, stack, shape == "heartbeat")
