from pathlib import Path

import pytest

SHOP = """
import os
import signal
import threading

import rowqueue

app = rowqueue.App(os.environ["SHOP_DATABASE"])
not_an_app = 7


@app.job(kind="greet")
def greet(name: str) -> None:
    print(f"hello {name}\\n", end="", flush=True)


@app.job(kind="wait")
def wait() -> None:
    print(f"waiting in {os.getpid()}\\n", end="", flush=True)
    while not os.path.exists("go"):
        threading.Event().wait(0.01)


@app.job(kind="die")
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def shop(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with `shop.py` in it, whose app uses the test's database."""
    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.setenv("SHOP_DATABASE", database_url)
    return tmp_path
