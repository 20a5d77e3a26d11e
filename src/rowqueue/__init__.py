"""Durable background jobs in the SQL database that you already have; any table or view becomes a work queue.

Everything public is in ``__all__``; what a submodule holds beside it may change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rowqueue.app import App, Context
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
from rowqueue.store import AsyncStore, Store

if TYPE_CHECKING:
    from rowqueue.worker import Worker as Worker

__version__ = "0.1.0"

__all__ = [
    "App",
    "AsyncStore",
    "Cancel",
    "Claim",
    "ConfigurationError",
    "Context",
    "DatabaseBusy",
    "DatabaseUnavailable",
    "Discard",
    "Enqueued",
    "FeatureMissing",
    "InvalidArguments",
    "Job",
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


def __getattr__(name: str) -> Any:
    # Only who runs a worker pays for importing the runtime.
    if name == "Worker":
        from rowqueue.worker import Worker

        return Worker
    raise AttributeError(f"module 'rowqueue' has no attribute {name!r}")
