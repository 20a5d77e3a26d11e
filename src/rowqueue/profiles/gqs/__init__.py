"""gqs (github.com/romanqed/gqs) on its own table, in its own words, on PostgreSQL and SQLite.

``init_db`` creates the table; ``Gqs`` is a queue with its pusher, puller, observer and cleaner.
"""

from rowqueue.profiles.gqs.model import (
    Backoff,
    ErrBadStatus,
    ErrCompleteFailed,
    ErrJobLost,
    ErrKill,
    ErrLockLost,
    GqsError,
    Job,
    Message,
    Status,
    parse_status,
)
from rowqueue.profiles.gqs.queue import Cleaner, Gqs, Observer, Puller, Pusher, init_db
from rowqueue.profiles.gqs.table import table

__all__ = [
    "Backoff",
    "Cleaner",
    "ErrBadStatus",
    "ErrCompleteFailed",
    "ErrJobLost",
    "ErrKill",
    "ErrLockLost",
    "Gqs",
    "GqsError",
    "Job",
    "Message",
    "Observer",
    "Puller",
    "Pusher",
    "Status",
    "init_db",
    "parse_status",
    "table",
]
