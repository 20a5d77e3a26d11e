"""A pooler in front of PostgreSQL, as PgBouncer is one: clients borrow its few connections to the server.

In transaction mode a client gives its connection back at the end of each transaction, and the next
transaction may get another one, where the statements that it prepared are unknown. No TLS, no
cancelling, and each connection to the server is opened with the first client's own start-up.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

_FAKE_PID = 7


def _exactly(side: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        read = side.recv(size - len(found))
        if not read:
            raise ConnectionError
        found += read
    return found


def _message(side: socket.socket) -> tuple[bytes, bytes]:
    head = _exactly(side, 5)
    return head[:1], head + _exactly(side, struct.unpack("!I", head[1:])[0] - 4)


class Pooler:
    """Args: the server's URL; whether clients keep their connection for the session."""

    def __init__(self, url: str, *, session: bool) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._session = session
        self._idle: list[socket.socket] = []  # last in, first out, as PgBouncer does
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        credentials = f"{parts.username}:{parts.password}@" if parts.password else f"{parts.username}@"
        port = self._listener.getsockname()[1]
        self.url = urlunsplit(
            parts._replace(netloc=f"{credentials}127.0.0.1:{port}", query="sslmode=disable")
        )
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        server = None
        with contextlib.suppress(OSError):
            size = _exactly(client, 4)
            start = size + _exactly(client, struct.unpack("!I", size)[0] - 4)
            server = socket.create_connection(self._server)
            self._sockets.append(server)
            server.sendall(start)
            self._until_ready(client, server, logging_in=True)
            if not self._session:
                server = self._give_back(server)
            while True:
                batch = self._until_sync(client)
                if batch is None:
                    break
                server = server or self._take()
                server.sendall(batch)
                if self._until_ready(client, server) == b"I" and not self._session:
                    server = self._give_back(server)
        client.close()

    def _until_sync(self, client: socket.socket) -> bytes | None:
        batch = b""
        while True:
            kind, message = _message(client)
            if kind == b"X":
                return None
            batch += message
            if kind in b"SQ":
                return batch

    def _until_ready(self, client: socket.socket, server: socket.socket, logging_in: bool = False) -> bytes:
        while True:
            kind, message = _message(server)
            if kind == b"K":
                message = message[:5] + struct.pack("!I", _FAKE_PID) + message[9:]
            client.sendall(message)
            if kind == b"Z":
                return message[5:]
            if logging_in and kind == b"R" and message[5:9] in {b"\0\0\0\x0a", b"\0\0\0\x0b", b"\0\0\0\x05"}:
                server.sendall(_message(client)[1])

    def _take(self) -> socket.socket:
        with self._lock:
            return self._idle.pop()

    def _give_back(self, server: socket.socket) -> None:
        with self._lock:
            self._idle.append(server)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for side in self._sockets:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()
        for thread in self._threads:
            thread.join(10)


@contextlib.contextmanager
def pooler(url: str, *, session: bool = False) -> Iterator[str]:
    """Run a pooler in front of a database; yields its URL."""
    running = Pooler(url, session=session)
    try:
        yield running.url
    finally:
        running.close()
