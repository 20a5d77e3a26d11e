"""Sourcegraph's dbworker store, on the tables that it works: workerutil/dbworker/store in its own words.

Its tables are made and filled by the application. Where the original's answer is a known fault, the fix is what you
get: the last failure is final at ``>=`` and not at ``=``, a row that crashed too often is ``failed`` and not ``errored``
(which would run again), and what is completed stays so. ``Options(seed_answers=True)`` gives the original's answers.

Example:
    >>> from rowqueue.profiles import sourcegraph
    >>> store = sourcegraph.Store(
    ...     engine, sourcegraph.Options(name="uploads", table_name="lsif_uploads")
    ... )  # doctest: +SKIP
    >>> if found := store.dequeue([lambda u: u.c.repository_id == 5]):  # doctest: +SKIP
    ...     record, tx = found
    ...     with tx:
    ...         process(record.data, tx.connection)
"""

from rowqueue.profiles.sourcegraph.metrics import Metrics, Observation
from rowqueue.profiles.sourcegraph.options import ExecutionLogEntry, Options
from rowqueue.profiles.sourcegraph.store import Store, TransactionStore
from rowqueue.profiles.sourcegraph.values import (
    Answer,
    ErrDequeueTransaction,
    ErrExecutionLogEntryNotUpdated,
    ErrNoRecord,
    Heartbeat,
    Record,
    Stalled,
)

__all__ = [
    "Answer",
    "ErrDequeueTransaction",
    "ErrExecutionLogEntryNotUpdated",
    "ErrNoRecord",
    "ExecutionLogEntry",
    "Heartbeat",
    "Metrics",
    "Observation",
    "Options",
    "Record",
    "Stalled",
    "Store",
    "TransactionStore",
]
