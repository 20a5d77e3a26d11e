"""Two PostgreSQL servers under Patroni, with an etcd of their own: who is the primary is Patroni's business."""

import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.support.postgres import _BOUND_EXEC, _free_port, server_user
from tests.support.waiting import wait_until

TTL = 5
"""Seconds after which a primary that is not heard of any more has lost its place."""

PROGRAMS = ("patroni", "etcd")
PLACES = f"{os.environ.get('PATH', '')}:/usr/bin:/usr/sbin"


def missing() -> str:
    """What is not installed; nothing where all is."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=PLACES) is None]
    return f"no {' and no '.join(absent)}: apt install patroni etcd-server" if absent else ""


class Cluster:
    """The servers `one` and `two`; in JSON, which YAML is.

    Args:
        directory: that the servers' user reaches.
        binaries: of PostgreSQL.
        synchronous: the primary waits for its standby.
    """

    def __init__(self, directory: Path, binaries: Path, *, synchronous: bool) -> None:
        self.directory, self._binaries, self._synchronous = directory, binaries, synchronous
        self._password = secrets.token_hex(12)
        self._etcd, self._peer = _free_port(), _free_port()
        self.ports = {"one": _free_port(), "two": _free_port()}
        self._rest = {name: _free_port() for name in self.ports}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        (self.directory / "etcd").mkdir(mode=0o700)
        self._own(self.directory / "etcd")
        client = f"http://127.0.0.1:{self._etcd}"
        self._spawn(
            "etcd",
            *("--data-dir", str(self.directory / "etcd"), "--name", "only"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", f"http://127.0.0.1:{self._peer}"),
            *("--initial-advertise-peer-urls", f"http://127.0.0.1:{self._peer}"),
            *("--initial-cluster", f"only=http://127.0.0.1:{self._peer}"),
        )
        for name in self.ports:
            self._start(name)
            wait_until(lambda name=name: self.role(name), f"server {name}", 120)  # type: ignore[misc]
        wait_until(self._follows, "a standby that follows", 60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in [*self._running]:
            self.kill(name)

    def role(self, name: str) -> str:
        """`master`, `replica`, or nothing while it does not work."""
        return str(self._asked(name).get("role", "")) if self._asked(name).get("state") == "running" else ""

    def primary(self) -> str:
        """Who is the primary now; nothing when nobody is."""
        return next((name for name in self.ports if self.role(name) in {"master", "primary"}), "")

    def url(self, *names: str) -> str:
        """The URL of servers; of several, that of whichever takes writes."""
        hosts = ",".join(f"127.0.0.1:{self.ports[name]}" for name in names)
        which = "?target_session_attrs=read-write" if len(names) > 1 else ""
        return f"postgresql://postgres:{self._password}@{hosts}/postgres{which}"

    def kill(self, name: str) -> None:
        """SIGKILL to Patroni and its server, as a machine that is gone."""
        process = self._running.pop(name)
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            if (
                file := self.directory / name / "postmaster.pid"
            ).exists():  # Patroni's server is not its child
                postmaster = psutil.Process(int(file.read_text().splitlines()[0]))
                family += [postmaster, *postmaster.children(recursive=True)]
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        process.wait(60)

    def sender(self, name: str) -> psutil.Process:
        """The process that sends the primary's WAL to its standby."""
        pid = int((self.directory / name / "postmaster.pid").read_text().splitlines()[0])
        children = psutil.Process(pid).children()
        return next(child for child in children if "walsender" in " ".join(child.cmdline()))

    def log_tail(self) -> str:
        """What was said last."""
        return "\n".join(file.read_text(errors="replace")[-800:] for file in self.directory.glob("*.log"))

    def _follows(self) -> bool:
        name = self.primary()
        state = "sync_standby" if self._synchronous else "replica"
        members = self._asked(name, "cluster").get("members", []) if name else []
        return any(
            member["role"] == state and member["state"] in {"running", "streaming"} for member in members
        )

    def _asked(self, name: str, what: str = "patroni") -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._rest[name]}/{what}", timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except OSError:
            return {}

    def _start(self, name: str) -> None:
        data = self.directory / name
        data.mkdir(mode=0o700)
        self._own(data)
        role = {"username": "postgres", "password": self._password}
        settings = {
            "scope": "cluster",
            "name": name,
            "restapi": {
                "listen": f"127.0.0.1:{self._rest[name]}",
                "connect_address": f"127.0.0.1:{self._rest[name]}",
            },
            "etcd3": {"host": f"127.0.0.1:{self._etcd}"},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": 1,
                    "retry_timeout": 2,
                    "maximum_lag_on_failover": 1 << 30,
                    "synchronous_mode": self._synchronous,
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"auth": "scram-sha-256"}],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.ports[name]}",
                "connect_address": f"127.0.0.1:{self.ports[name]}",
                "data_dir": str(data),
                "bin_dir": str(self._binaries),
                "pgpass": str(data) + ".pgpass",
                "authentication": {"superuser": role, "replication": role},
                "parameters": {"unix_socket_directories": "", "max_connections": 200},
                "pg_hba": [
                    "host all all 127.0.0.1/32 scram-sha-256",
                    "host replication all 127.0.0.1/32 scram-sha-256",
                ],
            },
        }
        file = self.directory / f"{name}.yml"
        file.touch(0o600)
        file.write_text(json.dumps(settings))
        self._own(file)
        self._spawn("patroni", str(file), called=name)

    def _own(self, path: Path) -> None:
        if (user := server_user()) is not None:
            account = pwd.getpwnam(user)
            os.chown(path, account.pw_uid, account.pw_gid)

    def _spawn(self, program: str, *arguments: str, called: str = "") -> None:
        found = shutil.which(program, path=PLACES)
        assert found is not None
        command = [sys.executable, "-I", "-S", str(_BOUND_EXEC), str(os.getpid()), str(int(signal.SIGTERM))]
        with (self.directory / f"{called or program}.log").open("ab") as log:
            self._running[called or program] = subprocess.Popen(
                [*command, server_user() or "", found, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={"PATH": PLACES, "LC_ALL": "C", "TZ": "UTC", "HOME": str(self.directory)},
                process_group=0,
            )
