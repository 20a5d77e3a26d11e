"""Whether the tests would notice (reliability #37): each guard is left out once, and some test must fail."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.inner import run
from tests.support.mutations import MUTATIONS, Mutation
from tests.support.session import ROOT


def copied(folder: Path, name: str) -> Path:
    place = folder / name / "rowqueue"
    shutil.copytree(ROOT / "src" / "rowqueue", place, ignore=shutil.ignore_patterns("__pycache__"))
    return place


def survives(mutation: Mutation, folder: Path) -> bool:
    package = copied(folder, mutation.says)
    mutation.apply(package)
    return run(mutation.tests, "--hypothesis-seed=1", source=package.parent)[1] == 0


def test_each_change_fits_the_code(tmp_path: Path) -> None:
    for number, mutation in enumerate(MUTATIONS):
        file = tmp_path / str(number) / mutation.file
        file.parent.mkdir(parents=True)
        shutil.copy(ROOT / "src" / "rowqueue" / mutation.file, file)
        mutation.apply(tmp_path / str(number))
        compile(file.read_text(), mutation.file, "exec")


@pytest.mark.long
def test_a_guard_that_is_left_out_is_noticed(tmp_path: Path, publish: Any) -> None:
    survivors = [mutation.says for mutation in MUTATIONS if survives(mutation, tmp_path)]
    every = {test for mutation in MUTATIONS for test in mutation.tests}
    passed, failed = run(sorted(every), "--hypothesis-seed=1", source=copied(tmp_path, "untouched").parent)
    publish(
        "#37",
        "guards left out and numbers off by one, in the core and in the statements that claim, end and rescue",
        f"{len(MUTATIONS)} changes, {len(MUTATIONS) - len(survivors)} noticed by the tests on SQLite; survived: {survivors}",
        value=len(survivors),
        bound="survived = 0",
        control=f"nothing changed: {passed} tests pass, {failed} fail",
    )
    assert not failed
