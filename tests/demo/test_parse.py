"""What the demo makes of a file."""

from pathlib import Path

import pytest

from rowqueue.demo.items import find_files
from rowqueue.demo.parse import Symbol, module_name, parse_file

TEXT = '''
"""About it.

More."""
class Outer:
    class Inner:
        "Nul \\0 and \\ud800 cannot be stored."
        def method(self): ...
if True:
    try:
        def hidden(): ...
    except ImportError:
        pass
match 1:
    case 1:
        async def matched(): ...
'''


def test_symbols(tmp_path: Path):
    file = tmp_path / "a.py"
    file.write_text(TEXT)
    found = parse_file(str(file), "pkg/__init__.py")
    assert found[0] == Symbol("module", "pkg", 1, "About it.\n\nMore.")
    assert {(symbol.kind, symbol.name) for symbol in found[1:]} == {
        ("class", "pkg.Outer"),
        ("class", "pkg.Outer.Inner"),
        ("function", "pkg.Outer.Inner.method"),
        ("function", "pkg.hidden"),
        ("function", "pkg.matched"),
    }
    (inner,) = [symbol for symbol in found if symbol.name.endswith("Inner")]
    assert (inner.line, inner.docstring) == (6, "Nul  and ? cannot be stored.")


@pytest.mark.parametrize(
    "name, module",
    [
        ("json/decoder.py", "json.decoder"),
        ("json/__init__.py", "json"),
        ("__init__.py", "__init__"),
        ("a.py", "a"),
    ],
)
def test_module_names(name: str, module: str):
    assert module_name(name) == module


def test_words():
    symbol = Symbol("class", "json.decoder.JSONDecodeError", 1, "")
    assert symbol.own.split() == ["JSONDecodeError", "JSON", "Decode", "Error"]
    assert {"json", "decoder", "JSON", "Decode"} <= set(symbol.words.split())


def test_the_standard_library_without_site_packages():
    names = {file.name for file in find_files(None)}
    assert {"json/decoder.py", "demo/broken/older.py.txt", "demo/broken/unclosed.py.txt"} <= names
    assert not any("site-packages" in name for name in names)


def test_the_broken_files_are_broken():
    for file in find_files(None)[:2]:
        with pytest.raises(SyntaxError):
            parse_file(file.path, file.name)
