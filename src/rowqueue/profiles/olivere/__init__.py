"""olivere/jobqueue: its Manager and Store on its own table, ``jobqueue_jobs``."""

from rowqueue.profiles.olivere.manager import Manager, Processor
from rowqueue.profiles.olivere.rows import (
    ErrNotFound,
    Job,
    JobState,
    ListRequest,
    ListResponse,
    StartupBehaviour,
    Stats,
)
from rowqueue.profiles.olivere.store import Store, create_tables, exponential_backoff

__all__ = [
    "ErrNotFound",
    "Job",
    "JobState",
    "ListRequest",
    "ListResponse",
    "Manager",
    "Processor",
    "StartupBehaviour",
    "Stats",
    "Store",
    "create_tables",
    "exponential_backoff",
]
