"""Every parser of text from outside: taken, or refused in words, and never another error (reliability #30)."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowqueue.core.errors import ConfigurationError
from rowqueue.store.database import Database
from tests.faults.parsers import PARSERS, tried
from tests.support.session import ROOT

WORDS = [
    "sqlite:///jobs.db",
    "sqlite:///file:x?mode=ro&uri=true",
    "sqlite:///jobs.db?x=1",
    "postgresql://u:p@h:1,h2:2/d?x=1",
    "postgresql://u@/d?host=a,b&port=1",
    "postgresql://h:99999999/d",
    "postgresql://[::1/d",
    "mysql://h:port/d",
    "mail=20",
    "a=²",
    "5min",
    "1e400",
    "-1s",
    "٣",
    "2026-01-31T12:00+01:00",
    "0001-01-01T00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    '{"a": 1}',
    '{"a":NaN}',
    '{"a":"\\ud800"}',
    '[{"at":"x"}]',
    '{"a":' + "1" * 5000 + "}",
    "[" * 3000,
    "a.b:c",
    "..:x",
    *':/@?=,%[]{}"\\\0\ud8001eTZ+-.',
]
TEXTS = st.text(max_size=30) | st.lists(st.sampled_from(WORDS), max_size=6).map("".join)


@pytest.mark.parametrize("name", PARSERS)
def test_text_of_any_kind_is_taken_or_refused_in_words(name: str, long: bool, publish: Any) -> None:
    parser = PARSERS[name]
    count = taken = 0

    @settings(max_examples=20_000 if long else 30, deadline=None, database=None)
    @given(TEXTS)
    def fuzz(text: str) -> None:
        nonlocal count, taken
        count += 1
        taken += tried(parser, text)

    for word in WORDS:
        taken += tried(parser, word)
    fuzz()
    publish(
        "#30",
        "parsers of text from outside, by Hypothesis",
        f"{name}: {count + len(WORDS):,} texts, {taken:,} taken, the others refused in words",
        value=0,
        bound="other errors = 0",
        cases=1,
    )


def test_a_parser_with_a_fault_is_caught(publish: Any) -> None:
    """A negative control."""
    with pytest.raises(ValueError, match="Expecting"):
        for word in WORDS:
            tried(json.loads, word)
    publish.control("#30", "a parser that lets json's own error out", "caught", value=1, bound="caught >= 1")


@pytest.mark.parametrize("url", ["postgresql://u@/d?host=a,b&port=1", "postgresql://u@/d?host=a&port=x"])
def test_hosts_and_ports_that_do_not_fit_are_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match="database URL"):
        Database(url)


@pytest.mark.long
def test_atheris_finds_no_other_error(tmp_path: Path, publish: Any) -> None:
    if importlib.util.find_spec("atheris") is None:
        publish.cannot_run("#30", "atheris", "atheris is not installed: pip install 'rowqueue[fuzz]'")
    seconds = 300
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, word in enumerate(WORDS):
        (corpus / str(number)).write_bytes(word.encode("utf-8", "replace"))
    command = [
        sys.executable,
        "-m",
        "tests.faults.fuzz",
        f"-max_total_time={seconds}",
        "-seed=30",
        str(corpus),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=3 * seconds, errors="replace"
    )
    (runs,) = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("Done ")] or ["0"]
    publish(
        "#30",
        "all parsers by atheris, guided by coverage",
        f"{int(runs):,} inputs in {seconds} s; {done.stderr[-300:] if done.returncode else 'no other error'}",
        value=done.returncode,
        bound="exit code = 0",
        seed=30,
    )
