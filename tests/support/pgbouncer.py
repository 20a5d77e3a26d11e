"""PgBouncer itself in front of a PostgreSQL server, in transaction mode: Debian's package is 1.18, which keeps no prepared statements."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from tests.support.postgres import make_server_directory, server_user
from tests.support.waiting import wait_until

ADDRESS = "ROWQUEUE_TEST_PGBOUNCER"
"""The address of a PgBouncer (127.0.0.1:6432) through which the store's suite reaches PostgreSQL."""

_BOUND_EXEC = Path(__file__).with_name("bound_exec.py")
_SETTINGS = """
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 500
ignore_startup_parameters = extra_float_digits, options
unix_socket_dir =
"""


def missing_program() -> str | None:
    """What is missing, and how it is installed."""
    return None if _program() else "PgBouncer is not installed: apt-get install pgbouncer"


def _program() -> str | None:
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


def through(url: str, address: str | None = None) -> str:
    """The URL of the same database behind a PgBouncer (that of the environment unless said otherwise)."""
    parts = urlsplit(url)
    place = address or os.environ[ADDRESS]
    return parts._replace(netloc=f"{parts.username}@{place}", query="sslmode=disable").geturl()


@contextlib.contextmanager
def pgbouncer(url: str) -> Iterator[str]:
    """Run one in front of a server; yields its address."""
    parts = urlsplit(url)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = free.getsockname()[1]
    directory = make_server_directory("rowqueue-pgbouncer-")
    settings = directory / "pgbouncer.ini"
    settings.touch(0o600)  # the password is in it
    settings.write_text(
        _SETTINGS.format(
            host=parts.hostname, port=parts.port, user=parts.username, password=parts.password or "", own=own
        )
    )
    if (user := server_user()) is not None:
        os.chown(settings, pwd.getpwnam(user).pw_uid, -1)
    command = [
        sys.executable,
        "-I",
        "-S",
        str(_BOUND_EXEC),
        str(os.getpid()),
        str(int(signal.SIGTERM)),
        user or "",
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, str(_program()), str(settings)], stdout=log, stderr=log, start_new_session=True
        )
    try:
        address = f"127.0.0.1:{own}"
        wait_until(lambda: _answers(through(url, address)), "PgBouncer to answer")
        yield address
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(directory, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
