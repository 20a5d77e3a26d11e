"""River (riverqueue.com) on its own tables, in its own words: Python and Go work the same jobs.

PostgreSQL only; the tables are River's to create and migrate. What a Go worker is running is left to it for
an hour, as River's own rescuer does; what a Python worker is running has a lease and is rescued when that ends.
"""

from rowqueue.profiles.river.client import RETENTION, Client, ClientTx
from rowqueue.profiles.river.insert import InsertManyParams, InsertOpts
from rowqueue.profiles.river.queues import Queue
from rowqueue.profiles.river.reading import JobListParams, JobListResult
from rowqueue.profiles.river.rows import (
    AttemptError,
    ErrJobRunning,
    ErrNotFound,
    ErrUniqueConflict,
    Job,
    JobCancelError,
    JobInsertResult,
    JobRow,
    JobScheduleResult,
    JobSnoozeError,
    JobState,
)
from rowqueue.profiles.river.table import table

__all__ = [
    "RETENTION",
    "AttemptError",
    "Client",
    "ClientTx",
    "ErrJobRunning",
    "ErrNotFound",
    "ErrUniqueConflict",
    "InsertManyParams",
    "InsertOpts",
    "Job",
    "JobCancelError",
    "JobInsertResult",
    "JobListParams",
    "JobListResult",
    "JobRow",
    "JobScheduleResult",
    "JobSnoozeError",
    "JobState",
    "Queue",
    "table",
]
