"""The runner itself: what is broken is said with page and line, and what is only shown is left alone."""

import re
import textwrap

import pytest

from tests.docs.blocks import BadPage, blocks
from tests.docs.running import Broken, run_page


@pytest.fixture
def run(tmp_path):
    def run(text):
        page = tmp_path / "page.md"
        page.write_text(textwrap.dedent(text).lstrip())
        folder = tmp_path / "folder"
        folder.mkdir()
        run_page(page, folder, lambda server: pytest.fail(f"it names no {server}"))

    return run


def test_blocks_share_a_namespace_and_output_is_compared(run):
    run("""
        ```python
        import asyncio

        number = 7
        ```

        ```python
        await asyncio.sleep(0)
        print(number, "and more")
        ```

        ```output
        7 and ...
        ```
    """)


def test_files_are_imported_and_commands_run(run, capfd):
    run("""
        ```python title="shop.py"
        import rowqueue

        app = rowqueue.App("sqlite:///jobs.db")


        @app.job
        def greet(name: str) -> None:
            print(f"hello {name}")
        ```

        ```console
        $ rowqueue init --app shop:app
        the tables rowqueue_* in sqlite:///jobs.db are at version ...
        $ rowqueue enqueue shop.greet '{"name": "Ada"}' \\
            --app shop:app
        enqueued job 1: shop.greet in default, available
        $ rowqueue work shop:app
        ...hello Ada
        ...
        $ rowqueue enqueue shop.gret --app shop:app    # exit code 2
        error: the app has no job 'shop.gret'; it has: shop.greet
        ```

        <!-- test
        from shop import app
        assert app.store.get(1).state == "completed"
        -->
    """)


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("Hello\n```python\nx = 1\nx.y\n```\n", 4, "AttributeError"),
        ("```python\nx = 1\n\nx = = 2\n```\n", 4, "SyntaxError"),
        ("```python\n\n\ndef f():\n    1 / 0\n```\n\n```python\nf()\n```\n", 5, "ZeroDivisionError"),
        ("```python title='a.py'\n```\n", 1, None),
        ('Hello\n```python title="a.py"\nx = 1\n1 / 0\n```\n', 4, "ZeroDivisionError"),
        ("```python\nprint(1)\n```\n```output\n2\n```\n", 5, "it prints something else:\n1"),
        ("```console\n$ rowqueue queues list\n```\n", 2, "exit code 2, not 0:\nerror: which database"),
        ("```console\n$ python -c 'print(1)'\n2\n```\n", 2, "it prints something else:\n1"),
        ("```console\n$ rm -r folder\n```\n", 2, "rm is none of"),
        ("<!-- test\nassert 1 > 2\n-->\n", 2, "AssertionError"),
    ],
)
def test_what_is_broken_is_said_with_page_and_line(run, text, line, words):
    if words is None:
        run(text)
        return
    with pytest.raises(Broken, match=rf"page\.md:{line}: {re.escape(words)}"):
        run(text)


@pytest.mark.parametrize(
    "text, words",
    [
        ("Hello\n```python\nx = 1\n", "page.md:2: nothing closes"),
        ("```bash\nls\n```\n", "page.md:1: nobody knows what to do with 'bash'"),
        ("```console\nls\n```\n", "page.md:2: no line begins with '$ '"),
        ("<!-- test\nx = 1\n", "page.md:1: nothing closes"),
    ],
)
def test_what_cannot_be_read_is_refused(run, text, words):
    with pytest.raises(BadPage, match=re.escape(words)):
        run(text)


def test_what_is_marked_is_not_run_and_only_that(run, tmp_path):
    text = "<!-- not run: it is an example -->\n\n```python\n1 / 0\n```\n\nBut:\n\n```python\nx = 1\n```\n"
    run(text)
    assert [block.why for block in blocks(tmp_path / "page.md")] == ["it is an example", ""]
