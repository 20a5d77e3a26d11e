"""Durable background jobs in the SQL database that you already have; any table or view becomes a work queue.

Everything public is in ``__all__``; what a submodule holds beside it may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rowqueue.core.control import Cancel, Discard, Retry, Skip, Snooze
from rowqueue.core.errors import (
    ConfigurationError,
    DatabaseBusy,
    DatabaseUnavailable,
    FeatureMissing,
    InvalidArguments,
    LeaseLost,
    NotDone,
    PayloadTooLarge,
    RowqueueError,
    SchemaError,
    SchemaMissing,
    SchemaTooNew,
    SchemaTooOld,
    StoreError,
    StoreFull,
    TransactionConflict,
    UniqueConflict,
    UnknownKind,
)
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.states import State
from rowqueue.core.values import Claim, Enqueued, Job, NewJob, Outcome

if TYPE_CHECKING:
    from rowqueue.app import App, Context
    from rowqueue.sql.mapping import Column, JobTable
    from rowqueue.store import AsyncStore, Store
    from rowqueue.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "App",
    "AsyncStore",
    "Cancel",
    "Claim",
    "Column",
    "ConfigurationError",
    "Context",
    "DatabaseBusy",
    "DatabaseUnavailable",
    "Discard",
    "Enqueued",
    "FeatureMissing",
    "InvalidArguments",
    "Job",
    "JobTable",
    "LeaseLost",
    "NewJob",
    "NotDone",
    "Outcome",
    "PayloadTooLarge",
    "Retry",
    "RetryPolicy",
    "RowqueueError",
    "SchemaError",
    "SchemaMissing",
    "SchemaTooNew",
    "SchemaTooOld",
    "Skip",
    "Snooze",
    "State",
    "Store",
    "StoreError",
    "StoreFull",
    "TransactionConflict",
    "UniqueConflict",
    "UnknownKind",
    "Worker",
    "__version__",
]


# These bring SQLAlchemy (0.25 s), which `rowqueue --help`, and code that only catches our errors, need not wait for.
_LAZY = {
    "App": "rowqueue.app",
    "AsyncStore": "rowqueue.store",
    "Column": "rowqueue.sql.mapping",
    "Context": "rowqueue.app",
    "JobTable": "rowqueue.sql.mapping",
    "Store": "rowqueue.store",
    "Worker": "rowqueue.worker",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'rowqueue' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
