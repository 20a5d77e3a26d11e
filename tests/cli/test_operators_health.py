"""`work --health`: what an orchestrator hears of a worker that starts, works, waits and stops."""

import json
import signal
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from rowqueue import App, Store
from rowqueue.cli.health import serving
from rowqueue.core.errors import ConfigurationError
from rowqueue.worker import Worker, events
from tests.cli.running import refused, rowqueue_here, running
from tests.support.waiting import wait_until

SHOP = """
import os
import rowqueue

app = rowqueue.App(os.environ["SHOP_DATABASE"])

@app.job(kind="greet", queue="mail")
def greet(name: str) -> None: ...
"""


def get(address: str, path: str) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.fixture
def worker(database_url: str):
    app = App(database_url)
    app.init()

    @app.job(queue="mail", kind="k")
    def k() -> None: ...

    yield Worker(app, worker_id="w1", poll=0.05)
    app.close()


def test_a_worker_from_start_to_stop(worker: Worker):
    with serving(worker, "127.0.0.1:0") as address:
        body = {"status": "starting", "worker": "w1", "queues": dict(worker.options.queues)}
        assert get(address, "/health") == (200, body)
        assert get(address, "/ready") == (503, body)
        thread = threading.Thread(target=worker.run)
        thread.start()
        wait_until(lambda: get(address, "/ready?x=1")[0] == 200, "the worker to work")
        assert get(address, "/health")[1]["status"] == "working"
        worker.stop()
        thread.join(30)
        assert get(address, "/ready")[1]["status"] == "stopping"
        assert get(address, "/")[0] == 404
    with pytest.raises(OSError):
        get(address, "/health")


def test_a_database_that_is_away_makes_it_unready_and_not_unhealthy(worker: Worker):
    with serving(worker, "127.0.0.1:0") as address:
        worker.events.emit(events.WorkerStarted, "w1", {})
        for doing in ("claiming", "finishing"):
            worker.events.emit(events.Reconnecting, doing, "gone", 1, 0.1)
        worker.events.emit(events.Reconnected, "claiming", 1)
        code, body = get(address, "/ready")
        assert (code, body["status"]) == (503, "waiting for the database")
        assert get(address, "/health")[0] == 200
        worker.events.emit(events.Reconnected, "finishing", 1)
        assert get(address, "/ready")[0] == 200


def test_a_client_that_says_nothing_keeps_nobody_waiting(worker: Worker):
    with serving(worker, "127.0.0.1:0") as address:
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as silent:
            assert get(address, "/health")[0] == 200
            silent.sendall(b"\x00\xff\r\n\r\n")
            assert get(address, "/health")[0] == 200


@pytest.mark.parametrize("address", ["8081", ":", ":x", ":70000", "no.such.host.invalid:1", ""])
def test_an_address_that_is_none(worker: Worker, address: str):
    with pytest.raises(ConfigurationError, match="--health"), serving(worker, address):
        pass


def test_a_port_that_is_taken(worker: Worker):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigurationError, match="choose another port"),
        serving(worker, f"127.0.0.1:{taken.getsockname()[1]}"),
    ):
        pass


def test_the_command(tmp_path: Path, database_url: str):
    (tmp_path / "shop.py").write_text(SHOP)
    store = Store(database_url)
    store.init()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    arguments = ["work", "shop:app", "--health", f"127.0.0.1:{port}"]

    def ready() -> bool:
        try:
            return get(f"127.0.0.1:{port}", "/ready")[0] == 200
        except OSError:
            return False

    with running(*arguments, cwd=tmp_path, SHOP_DATABASE=database_url) as process:
        wait_until(ready, "the worker to be ready", timeout=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    store.close()
    both = [*arguments, "--processes", "2"]
    assert "--processes" in refused(rowqueue_here(*both, cwd=tmp_path, SHOP_DATABASE=database_url))
