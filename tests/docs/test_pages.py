"""Every page's code runs, in order, and prints what the page says."""

import json
import re
import shlex
from pathlib import Path

import pytest

from rowqueue.cli.group import cli
from tests.docs.blocks import blocks
from tests.docs.running import run_page

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
WITH_CODE = [page for page in PAGES if any(block.runs for block in blocks(page))]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page, tmp_path, request, monkeypatch):
    monkeypatch.delenv("ROWQUEUE_DATABASE_URL", raising=False)
    fixtures = {"postgresql": "postgres_database", "mariadb": "mariadb_database"}
    run_page(page, tmp_path, lambda server: request.getfixturevalue(fixtures[server]))


def test_pages_are_short():
    assert {page.name for page in PAGES if len(page.read_text().splitlines()) >= 400} == set()


def test_files_are_short():
    folders = [ROOT / name for name in ("src", "tests", "examples", "benchmarks", "scripts")]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    assert {str(file) for file in files if len(file.read_text().splitlines()) > 400} == set()


def test_what_is_only_shown_is_little():
    """So that nobody gets used to marking blocks instead of mending them."""
    runnable = [block for page in PAGES for block in blocks(page) if block.language in {"python", "console"}]
    shown = [block.place() for block in runnable if not block.runs]
    assert len(shown) <= len(runnable) / 5, shown


def test_each_promise_is_shown_by_tests_that_are_there():
    promises = [line for line in (ROOT / "README.md").read_text().splitlines() if "::test_" in line]
    assert len(promises) == 9
    for file, name in re.findall(r"`([\w/]+\.py)::(\w+)`", "".join(promises)):
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), (file, name)


def test_every_page_is_in_the_navigation():
    """The builder warns of what is named and missing, not of what is there and not named."""
    named = (ROOT / "mkdocs.yml").read_text()
    decisions = (ROOT / "docs/adr/README.md").read_text()
    pages = [page.relative_to(ROOT / "docs") for page in PAGES if page.is_relative_to(ROOT / "docs")]
    lost = [page for page in pages if f" {page}" not in named and f"]({page.name})" not in decisions]
    assert lost == []


def test_files_that_pages_name_are_there():
    named = re.compile(r"`((?:tests|examples|scripts|src|docs)/[\w./-]*\w)`")
    missing = {
        (page.name, path)
        for page in PAGES
        for path in named.findall(page.read_text())
        if not (ROOT / path).exists()
    }
    assert missing == set()


def test_commands_in_files_that_are_only_shown_are_ones_that_there_are():
    """Unit files, compose files and manifests: every option in them exists, with such a value."""
    found = 0
    for block in (block for page in PAGES for block in blocks(page) if not block.runs):
        lists = [json.loads(text) for text in re.findall(r'\["rowqueue", .*\]', block.code)]
        lines = [
            shlex.split(text)
            for text in re.findall(r"^ExecStart=\S*(rowqueue .*)$", block.code, re.MULTILINE)
        ]
        for _, name, *arguments in lists + lines:
            command = cli.get_command(cli.make_context("rowqueue", [name]), name)
            assert command is not None, block.place()
            command.make_context(name, arguments)
            found += 1
    assert found == 4
