"""Messages between a worker and its children: a line of JSON each, over a socket pair."""

from __future__ import annotations

import json
import select
import socket
import threading
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]


class Wire:
    """One end; any thread may send, one thread receives.

    Args:
        end: a connected stream socket, which is the wire's from then on.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def send(self, message: Message) -> None:
        """Send it, for as long as the other end takes.

        Raises:
            OSError: there is no other end any more.
        """
        with self._sending:
            self._socket.sendall(_encoded(message))

    def send_at_once(self, message: Message) -> bool:
        """Send a short message only if that needs no waiting; False when it was not sent."""
        if not self._sending.acquire(blocking=False):
            return False
        try:
            data = _encoded(message)
            return self._socket.send(data, socket.MSG_DONTWAIT) == len(data)
        except OSError:
            return False
        finally:
            self._sending.release()

    def receive(self, timeout: float | None = None) -> Message | None:
        """The next message; None when the other end is gone, or says what is no message.

        Args:
            timeout: the longest wait for the next bytes (seconds).

        Raises:
            TimeoutError: nothing came.
        """
        parts = [self._rest]
        while b"\n" not in parts[-1]:
            if timeout is not None and not self._poll.poll(timeout * 1000):
                self._rest = b"".join(parts)
                raise TimeoutError
            try:
                parts.append(self._socket.recv(1 << 18))
            except OSError:
                return None
            if not parts[-1]:
                return None
        line, _, self._rest = b"".join(parts).partition(b"\n")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):  # a handler wrote there, and nobody knows where the next begins
            return None
        return message if isinstance(message, dict) else None

    def close(self) -> None:
        """Close this end; the other end notices."""
        self._socket.close()


def _encoded(message: Message) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
