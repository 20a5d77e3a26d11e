"""``work --health``: a few lines of HTTP that tell an orchestrator how the worker is."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from rowqueue.core.errors import ConfigurationError

if TYPE_CHECKING:
    from rowqueue.worker import Worker

_READY = "working"


class Health:
    """What a worker's events say of it.

    ``GET /health`` is 200 for as long as the worker is there, also while it waits for a database
    that is away: to restart it would only kill its handlers. ``GET /ready`` is 200 while it works,
    and 503 while it starts, waits or stops.
    """

    def __init__(self, worker: Worker) -> None:
        from rowqueue.worker import events

        self._worker = worker
        self._waits: set[str] = set()
        self._phase = "starting"
        worker.on(lambda _event: self._become(_READY), events.WorkerStarted)
        worker.on(lambda _event: self._become("stopping"), events.WorkerStopping)
        worker.on(lambda event: self._waits.add(event.doing), events.Reconnecting)
        worker.on(lambda event: self._waits.discard(event.doing), events.Reconnected)

    def _become(self, phase: str) -> None:
        self._phase = phase

    @property
    def status(self) -> str:
        """working, starting, stopping, or waiting for the database."""
        waiting = self._waits and self._phase != "stopping"
        return "waiting for the database" if waiting else self._phase

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        """The code and the body of a GET."""
        status = self.status
        options = self._worker.options
        body = {"status": status, "worker": options.worker_id, "queues": dict(options.queues)}
        match path.partition("?")[0]:
            case "/health":
                return 200, body
            case "/ready":
                return 200 if status == _READY else 503, body
            case _:
                return 404, {"error": "there are /health and /ready"}


@contextlib.contextmanager
def serving(worker: Worker, address: str) -> Iterator[str]:
    """Serve a worker's health in a thread of its own; yields the address in use.

    Args:
        worker: not running yet.
        address: ``:8081`` (every interface), ``127.0.0.1:8081`` or ``[::1]:8081``; port 0 takes a free one.

    Raises:
        ConfigurationError: not of that form, or the port is taken.
    """
    host, port = _address(address)
    health = Health(worker)

    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # a client that says nothing does not keep its thread
        server_version = "rowqueue"
        sys_version = ""

        def do_GET(self) -> None:
            code, body = health.answer(self.path)
            content = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):  # it hung up
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Probes every few seconds are no news."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = _family(host)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A probe that breaks off is no news either."""

    try:
        server = Server((host, port), Handler)
    except OSError as error:
        raise ConfigurationError(
            f"--health cannot listen on {address} ({error.strerror}): choose another port"
        ) from None
    thread = threading.Thread(target=server.serve_forever, name="rowqueue-health", daemon=True)
    thread.start()
    try:
        yield f"{address.rpartition(':')[0]}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ConfigurationError(f"--health {text!r} is no address: write :8081 or 127.0.0.1:8081")
    return host.strip("[]"), int(port)


def _family(host: str) -> Any:
    import socket

    return socket.AF_INET6 if ":" in host else socket.AF_INET
