"""`module:name` of the command line: each way to get it wrong is one line that says which."""

from __future__ import annotations

import sys

import pytest

from rowqueue import App, ConfigurationError
from rowqueue.app.loading import load_app

GOOD = "import rowqueue\napp = rowqueue.App('sqlite:///never-opened.db')\nclass holder:\n    inner = app\nnumber = 7\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder; what was imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_finds_the_app_in_the_current_folder(folder):
    (folder / "shop_jobs.py").write_text(GOOD)
    app = load_app("shop_jobs:app")
    assert isinstance(app, App)
    assert load_app("shop_jobs:holder.inner") is app


@pytest.mark.parametrize(
    "path, source, message",
    [
        ("shop_jobs", GOOD, "'shop_jobs' is no path to an app: write module:name"),
        ("shop_jobs:", GOOD, "write module:name"),
        (":app", GOOD, "write module:name"),
        ("shop_jobs.py:app", GOOD, "there is no module 'shop_jobs.py'"),
        ("shop/jobs:app", GOOD, "write module:name"),
        ("shopjobs:app", GOOD, "there is no module 'shopjobs' in "),
        ("shop_jobs:application", GOOD, "shop_jobs has no 'application': write the name of its App"),
        ("shop_jobs:number", GOOD, "shop_jobs:number is a int, not a rowqueue.App"),
        (
            "shop_jobs:app",
            "import nothing_like_it",
            "importing shop_jobs failed: ModuleNotFoundError: No module named",
        ),
        ("shop_jobs:app", "1 / 0", "importing shop_jobs failed: ZeroDivisionError: division by zero"),
        ("shop_jobs:app", "raise SystemExit(3)", "importing shop_jobs failed: SystemExit: 3"),
        ("shop_jobs:app", "def broken(:", "importing shop_jobs failed: SyntaxError"),
    ],
)
def test_each_mistake_is_one_line(folder, path, source, message):
    (folder / "shop_jobs.py").write_text(source)
    with pytest.raises(ConfigurationError) as raised:
        load_app(path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
