"""Places that fail as a whole: a network behind a cable that can be pulled, and a disk that is small. Both take root."""

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.postgres import make_server_directory


class PlaceUnavailable(Exception):
    """There is no such place here, and the message says what it takes."""


@dataclass(frozen=True, slots=True)
class Cable:
    """A network namespace of its own at the end of a virtual cable.

    Attributes:
        name: of the namespace.
        address: ours, as it is reached from there.
    """

    name: str
    address: str

    @property
    def inside(self) -> tuple[str, ...]:
        """The command that runs another one there."""
        return ("ip", "netns", "exec", self.name)

    def pull(self) -> None:
        """Nothing goes through, and nobody is told."""
        _ip("link", "set", f"{self.name}a", "down")

    def plug(self) -> None:
        """As before."""
        _ip("link", "set", f"{self.name}a", "up")


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    """A namespace with a cable to it.

    Raises:
        PlaceUnavailable: we are not root, there is no `ip`, or the kernel makes none.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise PlaceUnavailable("network namespaces take root and the program ip (apt-get install iproute2)")
    name = f"rq{secrets.token_hex(3)}"
    net = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(256)}"
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as problem:
        raise PlaceUnavailable(
            f"no network namespace: {problem.stderr.strip()}; run it as root of the machine"
        ) from None
    try:
        _ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        _ip("address", "add", f"{net}.1/30", "dev", f"{name}a")
        _ip("link", "set", f"{name}a", "up")
        _ip("-netns", name, "address", "add", f"{net}.2/30", "dev", f"{name}b")
        _ip("-netns", name, "link", "set", f"{name}b", "up")
        _ip("-netns", name, "link", "set", "lo", "up")
        yield Cable(name, f"{net}.1")
    finally:
        _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A file system of little space.

    Attributes:
        path: where it is mounted.
    """

    path: Path

    @property
    def free(self) -> int:
        """Bytes that are left."""
        return shutil.disk_usage(self.path).free

    def fill(self, leave: int) -> None:
        """Take all of the space but so many bytes."""
        with (self.path / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, max(1, self.free - leave))

    def relieve(self) -> None:
        """Give it back."""
        (self.path / "ballast").unlink()


@contextlib.contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """A tmpfs that anybody may enter.

    Raises:
        PlaceUnavailable: we may not mount one.
    """
    directory = make_server_directory("rowqueue-disk-")
    try:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0711", "tmpfs", str(directory)]
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
        if done.returncode:
            raise PlaceUnavailable(
                f"a small file system takes root ({done.stderr.strip()}): run it as root, or under `unshare -Urm`"
            )
        try:
            yield SmallDisk(directory)
        finally:
            subprocess.run(["umount", "-l", str(directory)], check=True)
    finally:
        directory.rmdir()
