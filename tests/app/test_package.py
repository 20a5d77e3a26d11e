"""What `import rowqueue` gives, and what it costs."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import rowqueue

PUBLIC = set(
    """
App AsyncStore Cancel Claim Column ConfigurationError Context DatabaseBusy DatabaseUnavailable Discard Enqueued FeatureMissing
InvalidArguments Job JobTable LeaseLost NewJob NotDone Outcome PayloadTooLarge Retry RetryPolicy RowqueueError SchemaError
SchemaMissing SchemaTooNew SchemaTooOld Skip Snooze State Store StoreError StoreFull TransactionConflict UniqueConflict
UnknownKind Worker __version__
""".split()  # noqa: SIM905 - shorter than a list
)


def test_the_public_names_are_these():
    assert set(rowqueue.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(rowqueue, name) is not None
    with pytest.raises(AttributeError, match="'Workers'"):
        _ = rowqueue.Workers


def test_every_public_error_is_ours():
    errors = [
        value for value in vars(rowqueue).values() if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert len(errors) > 15
    assert all(issubclass(error, rowqueue.RowqueueError) for error in errors)


def test_the_version_is_the_distributions():
    try:
        version = importlib.metadata.version("rowqueue")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("run from a source tree that is not installed")
    assert rowqueue.__version__ == version


def seconds(statement: str) -> float:
    """The processor time of an import in a new interpreter, the best of several, because other tests run beside."""
    code = f"import time; start = time.process_time()\n{statement}\nprint(time.process_time() - start)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True) for _ in range(3)]
    return min(float(run.stdout) for run in runs)


def test_the_import_is_quick():
    assert seconds("import rowqueue") < 0.2  # 0.05 s on an idle machine


def test_an_app_costs_little_more_than_sqlalchemy():
    """On an idle machine 0.32 s, of which 0.22 s are SQLAlchemy; as a wide ratio, because a busy one is slow."""
    dialects = ", ".join(f"sqlalchemy.dialects.{name}" for name in ("postgresql", "sqlite"))
    assert seconds("from rowqueue import App") < 4 * seconds(f"import asyncio, msgspec, {dialects}")


def test_the_import_leaves_drivers_and_runtime_alone():
    drivers = (
        "psycopg asyncpg pymysql pydantic click rich sqlalchemy.orm sqlalchemy.ext.asyncio rowqueue.worker"
        " sqlalchemy.dialects.mysql"
    )
    assert loaded("import rowqueue", "asyncio msgspec sqlalchemy sqlite3 rowqueue.app " + drivers) == []
    assert loaded("from rowqueue import App, Context, Store, AsyncStore, JobTable", drivers) == []


def loaded(statement: str, names: str) -> list[str]:
    """Which of the modules a statement brings along."""
    code = f"import sys\n{statement}\nprint(*[name for name in {names.split()} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()
