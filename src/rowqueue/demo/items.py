"""The files that are to be indexed: found, recorded, and given a job each."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from rowqueue.core.errors import ConfigurationError
from rowqueue.demo.jobs import Demo
from rowqueue.sql.dialects import dialect_of

_CHUNK = 250
"""Rows for each transaction: a kill in the middle costs one chunk, which the next run makes again."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file: where it is, and its path below the source folder."""

    path: str
    name: str


def find_files(source: Path | None) -> list[SourceFile]:
    """The demo's own two broken files, and all ``.py`` files of a folder.

    Args:
        source: the folder; None is the running Python's standard library, without site-packages.

    Raises:
        ConfigurationError: it is no folder.
    """
    folder = Path(sysconfig.get_path("stdlib")) if source is None else source
    if not folder.is_dir():
        raise ConfigurationError(f"--source {folder} is not a folder: name one with .py files in it")
    return [*_broken(), *_below(folder.resolve(), without=source is None)]


def _below(folder: Path, *, without: bool) -> list[SourceFile]:
    found = []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not (without and name in _OTHERS))
        paths = (os.path.join(here, name) for name in sorted(names) if name.endswith(".py"))  # noqa: PTH118 - 3x faster
        found += [SourceFile(path, os.path.relpath(path, folder)) for path in paths if _is_text(path)]
    return found


_OTHERS = {"site-packages", "dist-packages", "__pycache__"}


def _is_text(path: str) -> bool:
    """A name that is not valid text cannot be stored."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _broken() -> list[SourceFile]:
    """Called .py.txt, so that no linter and no compileall stumbles over them."""
    paths = sorted((Path(__file__).parent / "broken").glob("*.py.txt"))
    return [SourceFile(str(path), f"demo/broken/{path.name}") for path in paths]


def record(demo: Demo, files: Sequence[SourceFile]) -> int:
    """Write the files that the ``item`` table does not have yet; returns how many these were."""
    item = demo.tables.item
    new = 0
    for start in range(0, len(files), _CHUNK):
        rows = [{"path": file.path, "name": file.name} for file in files[start : start + _CHUNK]]
        with demo.engine.begin() as connection:
            insert: Any = dialect_of(connection.dialect.name).insert_new(item, answers=True)
            new += len(connection.execute(insert.values(rows).returning(item.c.id)).all())
    return new


def enqueue_missing(demo: Demo) -> int:
    """Make a job for every item that has none for the destination ``search``; returns how many.

    The job and its number in the item's row are one transaction: an item never has two.
    """
    made = 0
    while True:
        with demo.engine.begin() as connection:
            chunk = _without_job(demo, connection)
            if not chunk:
                return made
            arguments = [(item.id, item.path, item.name) for item in chunk]
            jobs = demo.index_file.on(connection).enqueue_many(arguments)
            numbers = [{"key": item.id, "job": made.job.id} for item, made in zip(chunk, jobs, strict=True)]
            table = demo.tables.item
            update = sa.update(table).where(table.c.id == sa.bindparam("key"))
            connection.execute(update.values(search_job=sa.bindparam("job")), numbers)
        made += len(chunk)


def _without_job(demo: Demo, connection: Connection) -> Sequence[sa.Row[int, str, str]]:
    """Items whose job was never made, or was pruned before it had indexed them."""
    item, job = demo.tables.item, demo.app.store.jobs
    gone = sa.and_(item.c.symbols.is_(None), ~sa.exists().where(job.c.id == item.c.search_job))
    query = sa.select(item.c.id, item.c.path, item.c.name)
    query = query.where(sa.or_(item.c.search_job.is_(None), gone)).order_by(item.c.id).limit(_CHUNK)
    return connection.execute(query.with_for_update(of=item, skip_locked=True)).all()
