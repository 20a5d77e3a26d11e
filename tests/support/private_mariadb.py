"""A MariaDB server of a test's own, to be killed and started again: in a directory that goes with it."""

import contextlib
import getpass
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any, Self

import pymysql

from tests.support.mariadb import connect
from tests.support.waiting import wait_until

PROGRAMS = ("mariadbd", "mariadb-install-db")


def missing_program() -> str | None:
    """The first program that a server needs and that is not installed."""
    return next((name for name in PROGRAMS if _which(name) is None), None)


def _which(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin")


class PrivateMariaDB:
    """One server, started; killed and gone at the end.

    Args:
        directory: where its data and its socket are; short, because a socket's path is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"mariadb://root@127.0.0.1:{self._port}/test"
        self._process: subprocess.Popen[Any] | None = None
        install = _which("mariadb-install-db")
        assert install is not None
        subprocess.run(
            [
                install,
                "--no-defaults",
                f"--datadir={directory}/data",
                f"--user={getpass.getuser()}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            check=True,
            capture_output=True,
        )

    def __enter__(self) -> Self:
        self.start()
        with contextlib.closing(connect(self.url.removesuffix("test"))) as raw:
            raw.query("CREATE DATABASE IF NOT EXISTS test")
        return self

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = _which("mariadbd")
        assert program is not None
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    "--no-defaults",
                    f"--datadir={self._directory}/data",
                    f"--socket={self._directory}/s",
                    f"--port={self._port}",
                    "--bind-address=127.0.0.1",
                    f"--user={getpass.getuser()}",
                    "--innodb-buffer-pool-size=64M",
                    "--skip-name-resolve",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, "the server", timeout=60)

    def _answers(self) -> bool:
        try:
            connect(self.url.removesuffix("test")).close()
        except pymysql.err.MySQLError:
            return False
        return True

    def kill(self) -> None:
        """As a power cut would: no farewell, no flush of its own."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def __exit__(self, *_: object) -> None:
        self.kill()
