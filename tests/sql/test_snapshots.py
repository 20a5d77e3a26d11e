"""The text of every statement, as it is sent: a change shows up in review. ROWQUEUE_UPDATE_SNAPSHOTS=1 writes them anew."""

import contextlib
import os
from pathlib import Path

import pytest

from rowqueue.store.store import Store

SNAPSHOTS = Path(__file__).with_name("snapshots")


@pytest.mark.parametrize("dialect", ["mariadb", "postgresql", "sqlite"])
def test_statements_are_as_committed(dialect: str, tmp_path: Path) -> None:
    with contextlib.closing(Store(f"sqlite:///{tmp_path}/none.db")) as store:
        parts = [f"-- {name}\n{_tidy(sql)};\n" for name, sql in store.statements(dialect)]
        text = f"-- the tables\n{_tidy(store.ddl(dialect))}\n\n" + "\n".join(parts)
    committed = SNAPSHOTS / f"{dialect}.sql"
    if os.environ.get("ROWQUEUE_UPDATE_SNAPSHOTS"):
        committed.write_text(text)
    assert committed.read_text() == text, (
        "the SQL changed: look at its plans (tests/sql/test_*_plans.py), then run with ROWQUEUE_UPDATE_SNAPSHOTS=1"
    )
    assert not (tmp_path / "none.db").exists()


def _tidy(sql: str) -> str:
    return "\n".join(line.rstrip() for line in sql.strip().splitlines())


@pytest.mark.parametrize("dialect", ["mariadb", "postgresql", "sqlite"])
def test_words_of_ours_are_constants_and_values_are_parameters(dialect: str, tmp_path: Path) -> None:
    """A parameter for a state would keep a prepared statement from the partial indexes."""
    with contextlib.closing(Store(f"sqlite:///{tmp_path}/none.db")) as store:
        statements = dict(store.statements(dialect))
    for name in ("claim", "complete", "extend", "promote_due", "rescue"):
        assert "'running'" in statements[name] or "'available'" in statements[name]
        for word in ("param_", "literal_", "state_1"):
            assert word not in statements[name]
