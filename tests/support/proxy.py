"""A TCP proxy in front of a server that understands just enough of its protocol to break it at the worst moment (#12).

A rule is asked for every batch that a client sends, with its SQL, and answers what to do to that connection:

- `before`: it is cut, and the server never sees the batch;
- `after`: the server runs the batch, commits and replies; the reply is dropped and the connection cut;
- `mute`: the server runs it; the reply and everything later is swallowed, and nobody hangs up;
- `half_open`: the reply still arrives, then as with `mute`.

MariaDB's end of a reply is not looked for: there only `before` and `mute` are known.
"""

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

Act = Literal["before", "after", "mute", "half_open"]
Rule = Callable[[str], Act | None]


class _Link:
    """One client's connection, and ours to the server in its place."""

    def __init__(self, proxy: "Proxy", client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._sides = (client, server)
        self._names: dict[bytes, str] = {}
        self._act: Act | None = None
        self.threads = [threading.Thread(target=way, daemon=True) for way in (self._up, self._down)]
        for thread in self.threads:
            thread.start()

    def hang_up(self) -> None:
        for side in self._sides:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.hang_up()
        for thread in self.threads:
            thread.join(10)
        for side in self._sides:
            side.close()

    def _up(self) -> None:
        client, server = self._sides
        with contextlib.suppress(OSError):
            size = _exactly(client, 4)
            server.sendall(size + _exactly(client, struct.unpack("!I", size)[0] - 4))
            batch, texts = b"", list[str]()
            while True:
                kind, message = _message(client)
                batch += message
                if text := self._text(kind, message[5:]):
                    texts.append(text)
                if kind not in b"PBDEC":  # Sync, Query, or a message that stands alone
                    self._send(batch, " ".join(texts))
                    batch, texts = b"", []
        self.hang_up()

    def _text(self, kind: bytes, body: bytes) -> str:
        """The SQL that a message is about."""
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._names[name] = text.decode()
        elif kind == b"B":
            return self._names.get(body.split(b"\0", 2)[1], "")
        elif kind == b"Q":
            return body.rstrip(b"\0").decode()
        return ""

    def _send(self, batch: bytes, text: str) -> None:
        if self._act is None and text:
            self._act = self._proxy.act_on(text)
        if self._act == "before":
            raise ConnectionError
        time.sleep(self._proxy.delay())
        self._sides[1].sendall(batch)

    def _down(self) -> None:
        client, server = self._sides
        silent = False
        with contextlib.suppress(OSError):
            while True:
                kind, message = _message(server)
                act = self._act
                if not silent and act in {None, "half_open"}:
                    time.sleep(self._proxy.delay() if kind == b"Z" else 0)
                    client.sendall(message)
                if kind == b"Z" and act == "after":
                    break
                silent = silent or act == "mute" or (kind == b"Z" and act == "half_open")
        self.hang_up()


class _MariaDBLink(_Link):
    """The same between a client of MariaDB's and its server: a statement is one packet."""

    def _up(self) -> None:
        client = self._sides[0]
        with contextlib.suppress(OSError):
            while True:
                head = _exactly(client, 4)
                body = _exactly(client, int.from_bytes(head[:3], "little"))
                asks = head[3] == 0 and body[:1] == b"\x03"
                self._send(head + body, body[1:].decode(errors="replace") if asks else "")
        self.hang_up()

    def _down(self) -> None:
        client, server = self._sides
        with contextlib.suppress(OSError):
            while found := server.recv(65536):
                if self._act is None:
                    client.sendall(found)
        self.hang_up()


class Proxy:
    """Listens on a port of its own.

    Args:
        url: the server's.

    Attributes:
        url: for clients.
        rule: what to do to a batch.
        delay: how long a batch, and how long its answer, is on the way (seconds).
        acts: how often what was done.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._link = _MariaDBLink if parts.scheme.startswith("mariadb") else _Link
        self._server = (parts.hostname or "", parts.port or (3306 if self._link is _MariaDBLink else 5432))
        self._listener = socket.create_server(("127.0.0.1", 0))
        who = parts.netloc.rpartition("@")[0]
        place = f"{who}@127.0.0.1:{self._listener.getsockname()[1]}"
        plain = parts.query if self._link is _MariaDBLink else "sslmode=disable&gssencmode=disable"
        self.url = urlunsplit(parts._replace(netloc=place, query=plain))
        self.rule: Rule = lambda _: None
        self.delay: Callable[[], float] = lambda: 0.0
        self.acts: Counter[Act] = Counter()
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def act_on(self, text: str) -> Act | None:
        """Ask the rule, one connection at a time."""
        with self._lock:
            act = self.rule(text)
            if act is not None:
                self.acts[act] += 1
            return act

    def once(self, act: Act, such: Callable[[str], bool]) -> None:
        """Do it to the next batch that is such, and to no other."""

        def rule(text: str) -> Act | None:
            if not such(text):
                return None
            self.rule = lambda _: None
            return act

        self.rule = rule

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._server)
                except OSError:  # it is down: so is the client's connection
                    client.close()
                    continue
                for side in (client, server):
                    side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._links.append(self._link(self, client, server))

    def close(self) -> None:
        """Cut all of them."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        for link in self._links:
            link.close()


@contextlib.contextmanager
def proxy(url: str) -> Iterator[Proxy]:
    """A proxy that is gone at the end of the block."""
    made = Proxy(url)
    try:
        yield made
    finally:
        made.close()


def _exactly(side: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        if not (read := side.recv(size - len(found))):
            raise ConnectionError
        found += read
    return found


def _message(side: socket.socket) -> tuple[bytes, bytes]:
    head = _exactly(side, 5)
    return head[:1], head + _exactly(side, struct.unpack("!I", head[1:])[0] - 4)
