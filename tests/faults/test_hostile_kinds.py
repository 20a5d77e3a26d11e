"""1,000 kinds that name what is not a job: nothing is imported or called, and the jobs are left alone (promise 9)."""

import contextlib
import importlib
import itertools
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest

from rowqueue import App
from rowqueue.core.values import NewJob
from tests.worker.harness import drain

TARGETS = [
    "os.system",
    "posix.system",
    "builtins.exec",
    "builtins.eval",
    "builtins.__import__",
    "subprocess.Popen",
    "subprocess.call",
    "importlib.import_module",
    "pickle.loads",
    "marshal.loads",
    "ctypes.CDLL",
    "colorsys.rgb_to_hsv",
    "antigravity.webbrowser",
    "code.interact",
    "shop.send.__globals__",
    "shop.send.__class__.__mro__",
    "shop.send.__call__",
    "__main__.send",
    "shop.__init__",
    "shop",
    "sys.modules",
]
DECOYS = [
    lambda kind: kind,
    lambda kind: f"{kind}()",
    lambda kind: f"{kind} ",
    lambda kind: f" {kind}",
    lambda kind: f".{kind}",
    lambda kind: f"{kind}.",
    lambda kind: f"{kind}:run",
    lambda kind: kind.replace(".", ":", 1),
    lambda kind: kind.replace(".", "/", 1),
    lambda kind: kind.replace(".", "..", 1),
    lambda kind: f"../{kind}",
    lambda kind: f"file:///{kind}",
    lambda kind: kind.upper(),
    lambda kind: kind.title(),
    lambda kind: kind.replace("o", "о"),  # noqa: RUF001 - Cyrillic
    lambda kind: kind.replace("s", "ѕ"),  # noqa: RUF001 - Cyrillic
    lambda kind: kind.replace("e", "e\u0301"),
    lambda kind: "".join(chr(ord(letter) + 0xFEE0) if letter.isalpha() else letter for letter in kind),
    lambda kind: f"{kind}\u200b",
    lambda kind: f"\u202e{kind}",
    lambda kind: f"{kind}\n",
    lambda kind: f"{kind}%s",
    lambda kind: f"{{{kind}}}",
    lambda kind: f"'; DROP TABLE rowqueue_job; -- {kind}",
    lambda kind: f"__import__('{kind}')",
    lambda kind: f"cos\nsystem\n(S'{kind}'\ntR.",
    lambda kind: f"!!python/object/apply:{kind}",
    lambda kind: f"shop.send.{kind}",
    lambda kind: f"shop.send|{kind}",
    lambda kind: f"shop.send\u2024{kind}",
    lambda kind: kind * 3,
    lambda kind: f"lambda: {kind}",
    lambda kind: f"@{kind}",
    lambda kind: f"${{{kind}}}",
    lambda kind: f"`{kind}`",
    lambda kind: f"%({kind})s",
    lambda kind: f"{kind}.__reduce__",
    lambda kind: f"{kind}?x=1",
    lambda kind: f"{kind}#x",
    lambda kind: f"{kind}\\..\\x",
    lambda kind: f"~{kind}",
    lambda kind: f"-{kind}",
    lambda kind: f"--app={kind}",
    lambda kind: f"{kind};{kind}",
    lambda kind: f"*{kind}",
    lambda kind: f"[{kind}]",
    lambda kind: f"b'{kind}'",
    lambda kind: f"{kind}=",
]
KINDS = list(dict.fromkeys(decoy(target) for target, decoy in itertools.product(TARGETS, DECOYS)))[:1000]
CALLS = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "ctypes.dlopen",
    "pickle.find_class",
}


class Finder:
    """Notes which modules are looked for; the audit event of an import is not told of `importlib.import_module`."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen
        self._modules = {target.partition(".")[0] for target in TARGETS} - {"__main__"}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in self._modules:
            self._seen.append(f"import {name}")


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """What is imported or started that a hostile kind names."""
    seen: list[str] = []
    active = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if active and event in CALLS:
            seen.append(f"{event} {arguments[:1]}")

    sys.addaudithook(hook)  # it cannot be taken away again
    finder: Any = Finder(seen)
    sys.meta_path.insert(0, finder)
    try:
        yield seen
    finally:
        sys.meta_path.remove(finder)
        active = False


@pytest.mark.every_database
def test_hostile_kinds_are_left_alone(database_url: str, publish: Any) -> None:
    app = App(database_url)
    app.init()
    calls = []

    @app.job(kind="shop.send")
    def send() -> None:
        calls.append(1)

    send.enqueue()
    drain(app)
    kinds = [kind for kind in KINDS if unicodedata.normalize("NFKC", kind) != "shop.send"]
    app.store.enqueue_many([NewJob(kind=kind, args={"command": "touch /tmp/x"}) for kind in kinds])
    sys.modules.pop("colorsys", None)
    with watched() as seen:
        drain(app)
    states = [(job.state, job.attempt, job.snoozes) for job in app.store.list(limit=2000).jobs]
    left_alone = states.count(("scheduled", 0, 1))
    app.close()
    assert calls == [1]
    publish(
        "#30",
        "hostile kinds: dotted paths, dunders, look-alikes, pickles",
        f"{len(kinds)} kinds, {left_alone} left alone (snoozed, no attempt charged); imports and calls: {seen[:3]}",
        value=len(seen) + len(kinds) - left_alone,
        bound="violations = 0",
        promise=9,
    )
    assert len(kinds) >= 990


def test_a_worker_that_imports_what_a_row_names_is_seen(publish: Any) -> None:
    """A negative control: what other libraries do with a kind."""
    sys.modules.pop("colorsys", None)
    with watched() as seen:
        importlib.import_module("colorsys.rgb_to_hsv".rpartition(".")[0])
        vars(importlib.import_module("os"))["system"]("true")
    publish.control(
        "#30",
        "a dotted path that is imported, and one that is called",
        f"{seen}",
        value=len(seen),
        bound="imports and calls >= 2",
        promise=9,
    )
