import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rowqueue
from tests.support.databases import url_of

FOLDER = Path(__file__).parents[2] / "examples"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    """An example is about rowqueue, and shows nothing of a database."""
    return url_of(request)


@pytest.fixture
def run(tmp_path):
    """Runs an example as a user does; returns its lines."""

    def run(name, url=None):
        environment = os.environ | {"PYTHONPATH": str(Path(rowqueue.__file__).parents[1])}
        environment.pop("DATABASE_URL", None)
        if url is not None:
            environment["DATABASE_URL"] = url
        done = subprocess.run(
            [sys.executable, "-W", "error", FOLDER / f"{name}.py"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Imports an example on a database of the test's."""

    def load(name, url):
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.chdir(tmp_path)
        spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load
