"""`work --table`: tables of the user's from the command line."""

import sqlite3
from pathlib import Path

import pytest

from rowqueue import App
from tests.cli.running import rowqueue, rowqueue_here

MODULE = """
import rowqueue

app = rowqueue.App("sqlite:///jobs.db")
for name in ("uploads", "mails"):
    app.table(name, rowqueue.JobTable(name), retry=rowqueue.RetryPolicy.constant(0))

@app.job(kind="plain")
def plain(): print("plain\\n", end="")

@app.job(table="uploads")
def upload(record): print(f"upload {record['id']}\\n", end="")

@app.job(table="mails")
def mail(record): print(f"mail {record['id']}\\n", end="")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tables.py").write_text(MODULE)
    app = App(f"sqlite:///{tmp_path / 'jobs.db'}")
    app.init()
    app.job(kind="plain")(lambda: None)
    app.jobs["plain"].enqueue()
    app.close()
    connection = sqlite3.connect(tmp_path / "jobs.db")
    for name in ("uploads", "mails"):
        connection.execute(
            f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, state TEXT DEFAULT 'available', "
            "lease INTEGER DEFAULT 0, leased_until INTEGER)"
        )
        connection.executemany(f"INSERT INTO {name} (id) VALUES (?)", [(1,), (2,)])
    connection.commit()
    connection.close()
    return tmp_path


@pytest.mark.parametrize(
    "options, said",
    [
        ("", {"plain", "upload 1", "upload 2", "mail 1", "mail 2"}),
        ("--table uploads=1", {"upload 1", "upload 2"}),
        ("--table uploads --table mails=2 --processes 2", {"upload 1", "upload 2", "mail 1", "mail 2"}),
        ("--queue default", {"plain"}),
        ("--queue default --table mails", {"plain", "mail 1", "mail 2"}),
    ],
)
def test_only_what_is_named_is_worked(folder: Path, options: str, said: set[str]) -> None:
    result = rowqueue("work", "tables:app", "--drain", "--poll", "0.1", *options.split(), cwd=folder)
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.splitlines()) == said


@pytest.mark.parametrize(
    "options, says",
    [
        ("--table nothing", "the table 'nothing' has no handler"),
        ("--table uploads=0", "--table 'uploads=0' is not NAME or NAME=N"),
        ("--table uploads --table uploads=2", "--table uploads is given twice"),
    ],
)
def test_a_wrong_table_is_refused(folder: Path, options: str, says: str) -> None:
    result = rowqueue_here("work", "tables:app", *options.split(), cwd=folder)
    assert result.returncode == 2
    assert says in result.stderr
