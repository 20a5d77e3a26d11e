"""Users' code in tests/typing must mean the same to pyright's strict mode as to mypy --strict, which `make lint` runs on it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "typing"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_pyright_accepts_the_good_and_refuses_the_bad(tmp_path):
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    settings = {
        "include": [os.path.relpath(FOLDER, tmp_path)],
        "extraPaths": [os.path.relpath(ROOT / "src", tmp_path)],
        "pythonVersion": "3.11",
        "typeCheckingMode": "strict",
        "reportMissingTypeStubs": False,  # asyncpg has none
        "enableTypeIgnoreComments": False,  # mypy's marks are not pyright's
        "reportUnnecessaryTypeIgnoreComment": True,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    done = run("pyright", "--project", str(tmp_path), "--pythonpath", sys.executable, "--outputjson")
    answer = json.loads(done.stdout)
    faults = [
        f"{Path(fault['file']).name}:{fault['range']['start']['line'] + 1}: {fault['message']}"
        for fault in answer["generalDiagnostics"]
    ]
    assert faults == []
    assert answer["summary"]["filesAnalyzed"] >= len(list(FOLDER.glob("*.py")))
