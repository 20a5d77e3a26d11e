"""The settings of a store that its operations need."""

from __future__ import annotations

from dataclasses import dataclass, field

from rowqueue.core import names
from rowqueue.core.payload import PAYLOAD_LIMIT
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.values import Seconds, seconds_of


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Checked when made, so that a wrong option fails where it is written.

    Args:
        prefix: what every table name begins with.
        schema: the database schema of the tables; None is the connection's own.
        lease: how long a claim lasts without renewal (seconds or timedelta, at least 1 s).
        retry: when a failed job runs again, unless its kind says otherwise.
        max_attempts: starts before a failure is final, unless the job says otherwise.
        max_rescues: crashes before a job is discarded.
        max_failures: on a table of the user's: failures before one is final; None goes by max_attempts.
        payload_limit: the longest encoded arguments, meta or result (bytes).
    """

    prefix: str = "rowqueue_"
    schema: str | None = None
    lease: Seconds = 30.0
    retry: RetryPolicy = field(default_factory=RetryPolicy.exponential)
    max_attempts: int = 25
    max_rescues: int = 3
    max_failures: int | None = None
    payload_limit: int = PAYLOAD_LIMIT

    def __post_init__(self) -> None:
        names.prefix(self.prefix)
        if self.schema is not None:
            names.schema(self.schema)
        seconds_of(self.lease, "lease", minimum=1.0)
        names.whole(self.max_attempts, "max_attempts", 1, 1_000_000)
        names.whole(self.max_rescues, "max_rescues", 1, 1_000_000)
        if self.max_failures is not None:
            names.whole(self.max_failures, "max_failures", 1, 1_000_000)
        names.whole(self.payload_limit, "payload_limit", 1, 512 * 1024 * 1024)

    @property
    def limit(self) -> int:
        """How many failures or starts a row of a user's table has, where the row does not say."""
        return self.max_failures or self.max_attempts

    @property
    def lease_seconds(self) -> float:
        """The lease in seconds."""
        return seconds_of(self.lease, "lease", minimum=1.0)
