"""A store on each database, sync and async, under one way of calling: `store`; more of them: `make_store`."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from rowqueue.store.store import Store
from tests.support.databases import temporary_database
from tests.support.mariadb import MariaServer, temporary_maria_database, truncate_maria
from tests.support.pgbouncer import ADDRESS, through
from tests.support.stores import Raw, fast_directory, open_store, raw, truncate


@pytest.fixture(scope="session")
def sqlite_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = Path(
        tempfile.mkdtemp(prefix="rowqueue-test-", dir=fast_directory(tmp_path_factory.getbasetemp()))
    )
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def _sqlite_template(sqlite_directory: Path) -> Path:
    path = sqlite_directory / "template.db"
    with contextlib.closing(Store(f"sqlite:///{path}")) as store:
        store.init()
    return path


@pytest.fixture
def sqlite_tables(sqlite_directory: Path, _sqlite_template: Path) -> Iterator[str]:
    """The URL of a SQLite file with the tables, empty."""
    with tempfile.TemporaryDirectory(dir=sqlite_directory) as directory:
        yield f"sqlite:///{shutil.copy(_sqlite_template, Path(directory) / 'jobs.db')}"


@pytest.fixture(scope="session")
def _postgres_with_tables(postgres_url: str) -> Iterator[str]:
    with temporary_database(postgres_url, "store") as url:
        with contextlib.closing(Store(url)) as store:
            store.init()
        yield url


@pytest.fixture
def postgres_tables(_postgres_with_tables: str) -> str:
    """The URL of a PostgreSQL database with the tables, empty."""
    truncate(_postgres_with_tables)
    return _postgres_with_tables


@pytest.fixture(scope="session")
def _mariadb_with_tables(mariadb_server: MariaServer) -> Iterator[str]:
    with temporary_maria_database(mariadb_server.url, "store") as url:
        with contextlib.closing(Store(url)) as store:
            store.init()
        yield url


@pytest.fixture
def mariadb_tables(_mariadb_with_tables: str) -> str:
    """The URL of a MariaDB database with the tables, empty."""
    truncate_maria(_mariadb_with_tables)
    return _mariadb_with_tables


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def tables_url(request: pytest.FixtureRequest) -> str:
    """A database with the tables, each in turn."""
    url: str = request.getfixturevalue(f"{request.param}_tables")
    return url


@pytest.fixture(params=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "async")


@pytest_asyncio.fixture
async def make_store(tables_url: str, asynchronous: bool) -> AsyncIterator[Callable[..., Any]]:
    """Makes stores on the database of this turn, with options."""
    stores: list[Any] = []

    def make(url: str = tables_url, **options: Any) -> Any:
        if ADDRESS in os.environ and url == tables_url and url.startswith("postgresql"):
            url, options = through(url), {"prepared": False, **options}
        stores.append(open_store(url, asynchronous=asynchronous, **options))
        return stores[-1]

    yield make
    for store in stores:
        await store.close()


@pytest.fixture
def store(make_store: Callable[..., Any]) -> Any:
    return make_store()


@pytest.fixture
def rows(tables_url: str) -> Iterator[Raw]:
    """The rows of this turn's database, past the store."""
    with raw(tables_url) as connection:
        yield connection
