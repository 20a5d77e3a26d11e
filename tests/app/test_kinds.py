"""What jobs are called, and how they are found again by that."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest

import rowqueue
from rowqueue import App, ConfigurationError, UnknownKind

SCRIPT = """
import rowqueue
app = rowqueue.App("sqlite:///never-opened.db")
@app.job
def send(user: int) -> None: ...
class Group:
    @app.job
    @staticmethod
    def inner() -> None: ...
print(*app.jobs)
"""


@pytest.fixture
def app() -> App:
    return App("sqlite:///never-opened.db")


def module_level(user: int) -> None: ...


def test_a_kind_is_module_and_function(app):
    assert app.job(module_level).kind == f"{__name__}.module_level"


def test_given_kinds_and_aliases_find_the_same_job(app):
    job = app.job(kind="mail.send", aliases=["mail.deliver", "post"])(module_level)
    assert (job.kind, job.aliases) == ("mail.send", ("mail.deliver", "post"))
    for name in ("mail.send", "mail.deliver", "post"):
        assert app.jobs[name] is app.registry.get(name) is job
    assert set(app.jobs) == {"mail.send", "mail.deliver", "post"}
    with pytest.raises(TypeError):
        app.jobs["other"] = job


@pytest.mark.parametrize(
    "first, second",
    [
        ({"kind": "a"}, {"kind": "a"}),
        ({"kind": "a", "aliases": ["b"]}, {"kind": "b"}),
        ({"kind": "a"}, {"kind": "b", "aliases": ["c", "a"]}),
    ],
    ids=str,
)
def test_a_name_that_is_taken_is_refused_and_nothing_is_registered(app, first, second):
    app.job(**first)(module_level)
    before = dict(app.jobs)
    with pytest.raises(
        ConfigurationError, match=r"is taken by tests\.app\.test_kinds\.module_level: give .* another"
    ):
        app.job(**second)(lambda: None)
    assert dict(app.jobs) == before


def test_functions_without_a_lasting_name_need_a_kind(app):
    def local() -> None: ...

    for function in (local, lambda: None, functools.partial(module_level, 1)):
        with pytest.raises(ConfigurationError, match=r"give kind='\.\.\.'"):
            app.job(function)
        assert app.job(kind=str(id(function)))(function).kind in app.jobs


def test_an_unknown_kind_is_an_error_and_imports_nothing(app):
    before = set(sys.modules)
    with pytest.raises(UnknownKind, match=r"no job of kind 'wave\.open'.*aliases"):
        app.registry.get("wave.open")
    assert set(sys.modules) == before


def output(*command: str, cwd: Path) -> list[str]:
    done = subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


def test_a_script_has_the_kinds_of_the_module_that_workers_import(tmp_path):
    (tmp_path / "shop.py").write_text(SCRIPT)
    imported = output("-c", "import shop", cwd=tmp_path)
    assert imported == ["shop.send", "shop.Group.inner"]
    assert output("shop.py", cwd=tmp_path) == imported
    assert output("-m", "shop", cwd=tmp_path) == imported
    assert output(str(tmp_path / "shop.py"), cwd=Path("/")) == imported


def test_a_script_in_a_package_has_the_packages_kinds(tmp_path):
    package = tmp_path / "company" / "shop"
    package.mkdir(parents=True)
    (tmp_path / "company" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "jobs.py").write_text(SCRIPT)
    imported = output("-c", "import company.shop.jobs", cwd=tmp_path)
    assert imported == ["company.shop.jobs.send", "company.shop.jobs.Group.inner"]
    assert output("company/shop/jobs.py", cwd=tmp_path) == imported
    assert output("-m", "company.shop.jobs", cwd=tmp_path) == imported


def test_a_module_in_a_folder_without_init_is_known_by_its_path(tmp_path):
    (tmp_path / "company").mkdir()
    (tmp_path / "company" / "jobs.py").write_text(SCRIPT)
    assert output("-m", "company.jobs", cwd=tmp_path) == ["company.jobs.send", "company.jobs.Group.inner"]


def test_an_interactive_session_needs_a_kind(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "send was defined interactively, no worker could import it: give kind='...'" in done.stderr


def test_what_a_job_says_of_itself(app: App):
    @app.job(kind="sync", retry=rowqueue.RetryPolicy.constant(1))
    def sync(context: rowqueue.Context, user: int) -> str:
        """Send it."""
        return f"{context.attempt} {user}"

    @app.job(kind="async")
    async def asynchronous() -> None: ...

    @app.job(kind="wrapped")
    @functools.wraps(asynchronous.function)
    def wrapped():
        return asynchronous()

    @app.job(kind="process", process=True)
    def process() -> None: ...

    assert (sync.is_async, sync.takes_context, sync.process) == (False, True, False)
    assert sync.retry is not None
    assert (asynchronous.is_async, wrapped.is_async, process.process) == (True, True, True)
    assert asynchronous.retry is None
    assert (sync.__doc__, sync.__name__, repr(sync)) == ("Send it.", "sync", "<job sync>")
    assert sync(7) == "1 7"  # a direct call makes up its context
    with pytest.raises(ConfigurationError, match="complete_in needs a worker"):
        app.job(kind="completes")(lambda: None)
        rowqueue.app.context.direct("kind", "queue").complete_in(None)


def test_functions_that_cannot_be_jobs(app):
    def generator():
        yield 1

    async def coroutine() -> None: ...

    with pytest.raises(ConfigurationError, match="mail is a generator"):
        app.job(kind="mail")(generator)
    with pytest.raises(ConfigurationError, match="process=True is for def"):
        app.job(kind="mail", process=True)(coroutine)
    with pytest.raises(ConfigurationError, match="decorates functions, not int"):
        app.job(kind="mail")(7)
