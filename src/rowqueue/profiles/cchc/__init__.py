"""cchc's jobs: its Repo and FullText on its own tables, ``jobs.fulltext`` and ``items``."""

from rowqueue.profiles.cchc.repo import Repo, has_metadata
from rowqueue.profiles.cchc.rows import (
    ErrAllQueued,
    ErrNoJobs,
    ErrNotFound,
    ErrOthersHold,
    FullText,
    Status,
    new_full_text,
)

__all__ = [
    "ErrAllQueued",
    "ErrNoJobs",
    "ErrNotFound",
    "ErrOthersHold",
    "FullText",
    "Repo",
    "Status",
    "has_metadata",
    "new_full_text",
]
