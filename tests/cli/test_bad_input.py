"""Bad input: one line that says what to do, exit code 2, and nothing half-written."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from rowqueue import Store
from tests.cli.running import refused, rowqueue, rowqueue_here

SQLITE = "sqlite:///jobs.db"
MODULES = {
    "shop.py": "import rowqueue\napp = rowqueue.App('sqlite:///shop.db')\nother = 7\n",
    "broken.py": "def f(:\n",
    "needs.py": "import no_such_library\n",
    "raises.py": "raise ValueError('no')\n",
    "leaves.py": "import sys\nsys.exit(3)\n",
    "bad.py": "import rowqueue\napp = rowqueue.App('sqlite://')\n",
}
CASES = {
    "no database": (["stats"], "--database"),
    "an unknown command": (["frob"], "frob"),
    "an unknown option": (["stats", "--frob"], "--frob"),
    "no URL": (["stats", "--database", "jobs.db"], "sqlite:///jobs.db"),
    "another database": (["init", "--database", "oracle://u@h/d"], "oracle"),
    "in memory": (["init", "--database", "sqlite://"], "name a file"),
    "a bad prefix": (["init", "--database", SQLITE, "--prefix", "Jobs;"], "prefix"),
    "no such file": (["stats", "--database", SQLITE], "rowqueue init"),
    "no such folder": (["init", "--database", "sqlite:///none/jobs.db"], "cannot be opened"),
    "a folder": (["init", "--database", "sqlite:///."], "cannot be opened"),
    "no SQLite file": (["stats", "--database", "sqlite:///shop.py"], "no SQLite database"),
    "a refused connection": (
        ["stats", "--database", "postgresql://u:hunter2@127.0.0.1:1/d"],
        "port 1 failed: Connection refused",
    ),
    "no MariaDB there": (["stats", "--database", "mariadb://u:hunter2@127.0.0.1:1/d"], "Connection refused"),
    "a dialect that is not": (["schema", "--dialect", "oracle"], "sqlite"),
    "no app": (["work"], "module:name"),
    "no path to an app": (["work", "shop"], "module:name"),
    "no such module": (["work", "nosuch:app"], "nosuch"),
    "no such submodule": (["work", "shop.jobs:app"], "shop.jobs"),
    "no such name": (["work", "shop:application"], "application"),
    "not an app": (["stats", "--app", "shop:other"], "rowqueue.App"),
    "a syntax error": (["work", "broken:app"], "broken"),
    "a missing library": (["work", "needs:app"], "no_such_library"),
    "an import that raises": (["work", "raises:app"], "raises"),
    "an import that exits": (["work", "leaves:app"], "leaves"),
    "an app with a bad URL": (["work", "bad:app"], "name a file"),
    "an app and a database": (["stats", "--app", "shop:app", "--database", SQLITE], "--database"),
    "a queue without a number": (["work", "shop:app", "--queue", "mail="], "mail=20"),
    "a queue with words": (["work", "shop:app", "--queue", "mail=many"], "mail=20"),
    "a queue with nothing": (["work", "shop:app", "--queue", "mail=0"], "mail=20"),
    "a queue without a name": (["work", "shop:app", "--queue", "=3"], "mail=20"),
    "a queue twice": (["work", "shop:app", "--queue", "m=3", "--queue", "m"], "twice"),
    "no concurrency": (["work", "shop:app", "--queue", "m", "--concurrency", "0"], "concurrency"),
    "a lease that is too short": (["work", "shop:app", "--queue", "m", "--lease", "0.1"], "lease"),
    "no jobs to run": (["work", "shop:app"], "@app.job"),
    "no tables": (["work", "shop:app", "--queue", "m"], "rowqueue init"),
    "an app for the bench": (["bench", "--app", "shop:app"], "--database"),
    "no folder to index": (["demo", "--source", "none"], "--source"),
    "an app for the demo": (["demo", "--app", "shop:app"], "--database"),
    "no words to find": (["demo", "--find", " "], "--find"),
}


@pytest.mark.parametrize("arguments, says", CASES.values(), ids=CASES.keys())
def test_it_is_refused_in_one_line(tmp_path: Path, arguments: list[str], says: str):
    for name, text in MODULES.items():
        (tmp_path / name).write_text(text)
    line = refused(rowqueue_here(*arguments, cwd=tmp_path))
    assert says in line
    assert "hunter2" not in line
    assert {path.name for path in tmp_path.iterdir()} - set(MODULES) <= {
        "shop.db",
        "shop.db-wal",
        "shop.db-shm",
    }


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["stats"], "--database"),
        (["work", "leaves:app"], "leaves"),
        (["work", "shop:app", "--queue", "m", "--processes", "2"], "rowqueue init"),
    ],
)
def test_so_it_is_in_a_process_of_its_own(tmp_path: Path, arguments: list[str], says: str):
    for name, text in MODULES.items():
        (tmp_path / name).write_text(text)
    assert says in refused(rowqueue(*arguments, cwd=tmp_path))


@pytest.mark.parametrize("version, says", [(1_000, "upgrade rowqueue"), (-1, "rowqueue init")])
def test_tables_of_another_version(tmp_path: Path, database_url: str, version: int, says: str):
    store = Store(database_url)
    store.init()
    engine = sa.create_engine(store.database.url)
    with engine.begin() as connection:
        connection.execute(sa.update(store.tables.version).values(version=version))
    engine.dispose()
    store.close()
    assert says in refused(rowqueue_here("stats", "--database", database_url, cwd=tmp_path))


def test_missing_tables(tmp_path: Path, database_url: str):
    if database_url.startswith("sqlite"):
        (tmp_path / "test.db").touch()
    line = refused(rowqueue_here("stats", "--database", database_url, cwd=tmp_path))
    assert "rowqueue init" in line
