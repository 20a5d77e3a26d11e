"""One PostgreSQL for a whole run of pytest, started by the first test of any xdist worker that asks for one.

The process that the user started owns a directory and holds the lock `alive` in it for as long as it lives. A worker
that needs the server starts a *keeper*: a process that starts the server, tells how to reach it, and then waits for
that lock, which it gets when pytest ends, however it ends. Then it stops the server and removes the directory. The
server dies with the keeper in turn, so nothing is left behind whichever of them is killed.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import psycopg
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from tests.support.postgres import PostgresUnavailable, PrivatePostgres, find_binaries, make_server_directory

ENVIRONMENT = "ROWQUEUE_TEST_POSTGRES"
ROOT = Path(__file__).resolve().parents[2]


# Nobody crashes this server or looks for what it kept: servers of one test (`private_postgres`) are as PostgreSQL ships.
_QUICK = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class Server:
    """The server of this run, or the reason why there is none."""

    url: str = ""
    version: str = ""
    problem: str = ""
    private: bool = True


class Session:
    """What the owner and the workers of one run share: a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._alive: IO[str] | None = None

    @classmethod
    def own(cls) -> "Session":
        session = cls(make_server_directory("rowqueue-test-"))
        session._alive = (session.directory / "alive").open("w")
        # POSIX record locks belong to the process: a child that a test forks does not keep the run alive.
        fcntl.lockf(session._alive, fcntl.LOCK_EX)
        return session

    def close(self) -> None:
        """Let the keeper go, and return when it has cleaned up."""
        assert self._alive is not None
        self._alive.close()
        if (keeper := self.directory / "keeper").exists():
            with contextlib.suppress(FileNotFoundError), keeper.open("w") as lock:
                fcntl.lockf(lock, fcntl.LOCK_EX)
        shutil.rmtree(self.directory, ignore_errors=True)

    def known(self) -> Server | None:
        """The server, if anybody has asked for it."""
        with contextlib.suppress(FileNotFoundError):
            return Server(**json.loads((self.directory / "server.json").read_text()))
        return None

    def server(self) -> Server:
        with self.lock():
            if (server := self.known()) is None:
                server = self._connect() if os.environ.get(ENVIRONMENT) else self._keep()
                self._publish(server)
        return server

    def binaries(self) -> Path:
        with self.lock():
            return find_binaries(self.directory)

    def directory_for(self, purpose: str) -> Path:
        """A directory for one more server; it goes when the run ends, at the latest."""
        return make_server_directory(f"{purpose}-", self.directory)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        with (self.directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _publish(self, server: Server) -> None:
        draft = self.directory / "server.draft"
        draft.touch(0o600)  # the password is in it
        draft.write_text(json.dumps(asdict(server)))
        draft.rename(self.directory / "server.json")

    def _connect(self) -> Server:
        url = os.environ[ENVIRONMENT]
        try:
            return Server(url=url, version=_version(url), private=False)
        except (psycopg.Error, ArgumentError, ValueError) as problem:  # the tests fail with it
            return Server(problem=f"{ENVIRONMENT}: {problem}".strip(), private=False)

    def _keep(self) -> Server:
        keeper = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self.directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        assert keeper.stdout is not None
        with keeper.stdout:
            answer = keeper.stdout.readline()
        keeper.returncode = 0  # it outlives this process on purpose: no ResourceWarning about that
        return Server(**json.loads(answer)) if answer else Server(problem="the keeper of the server died")


def plain_url(url: str, database: str | None = None) -> str:
    """The URL as psycopg wants it, without a SQLAlchemy driver name; of another database when asked."""
    parsed = make_url(url).set(drivername="postgresql")
    if database is not None:
        parsed = parsed.set(database=database)
    return parsed.render_as_string(hide_password=False)


def _version(url: str) -> str:
    with psycopg.connect(plain_url(url), connect_timeout=10) as connection:
        number = connection.info.server_version
    return f"{number // 10000}.{number % 10000}"


def _keep_until_the_owner_is_gone(directory: Path) -> None:
    session = Session(directory)
    with (directory / "keeper").open("w") as keeper:
        fcntl.lockf(keeper, fcntl.LOCK_EX)
        try:
            with PrivatePostgres(directory, find_binaries(directory), **_QUICK) as postgres:
                server = Server(url=postgres.url, version=_version(postgres.url))
                print(json.dumps(asdict(server)), flush=True)
                with (session.directory / "alive").open("r+") as alive:
                    fcntl.lockf(alive, fcntl.LOCK_EX)
        except PostgresUnavailable as problem:
            print(json.dumps(asdict(Server(problem=str(problem)))), flush=True)
            return
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    _keep_until_the_owner_is_gone(Path(sys.argv[1]))
