"""What a worker is told, checked when it is made."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.values import Seconds, seconds_of

DEFAULT_CONCURRENCY = 10


def new_worker_id() -> str:
    """host:pid:random, so that no two starts share one."""
    return f"{socket.gethostname()[:100]}:{os.getpid()}:{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """The checked options of a worker; all times are in seconds.

    Attributes:
        queues: the most jobs of each queue that run at once.
        concurrency: the most jobs that run at once, and the most threads.
        lease: how long a claim lasts without renewal.
        renew: how often leases are renewed and left jobs are rescued.
        poll: how often the database is asked when nothing wakes the worker.
        grace: how long handlers may go on after a stop was asked for.
        worker_id: who it is in the database: new for each start.
        drain: stop when there is nothing left to do.
        listen: let the database wake it, besides the poll.
        prefetch: how many jobs may be claimed before a slot is free for them.
        heartbeat: how often it says that it lives.
        prune: how often old final jobs are deleted.
    """

    queues: Mapping[str, int]
    concurrency: int = DEFAULT_CONCURRENCY
    lease: float = 30.0
    renew: float = 10.0
    poll: float = 1.0
    grace: float = 30.0
    worker_id: str = field(default_factory=new_worker_id)
    drain: bool = False
    listen: bool = True
    prefetch: int = 0
    heartbeat: float = 10.0
    prune: float = 60.0


def checked_options(
    known: Iterable[str],
    *,
    queues: Mapping[str, int] | Sequence[str] | None,
    concurrency: int | None,
    lease: Seconds,
    renew: Seconds | None,
    poll: Seconds,
    grace: Seconds,
    worker_id: str | None,
    drain: bool,
    listen: bool = True,
    prefetch: int = 0,
    optional: bool = False,
) -> WorkerOptions:
    """Make ``WorkerOptions`` of what a caller wrote.

    Args:
        known: the queues that registered jobs name.
        queues: queues with the most jobs of each, or only their names; None is every known one.
        concurrency: the most jobs at once; None is 10, or the sum of the queues' numbers.
        lease: at least 1 s (seconds or timedelta).
        renew: None is a third of the lease; at most half of it.
        poll: at least 0.01 s.
        grace: 0 or more.
        worker_id: None makes one.
        drain: stop when there is nothing left to do.
        listen: let the database wake it.
        prefetch: from 0 to 100,000 jobs.
        optional: there need be no queue, because there are other tables to work.

    Raises:
        ConfigurationError: one of them is wrong, or there is no queue to work.
    """
    if isinstance(queues, str):
        raise ConfigurationError(f"queues must be names, or names with numbers: write [{queues!r}]")
    total = _concurrency(queues, concurrency)
    if isinstance(queues, Mapping):
        slots = {
            names.text(name, "queue"): names.whole(most, f"queue {name}", 1, 100_000)
            for name, most in queues.items()
        }
    else:
        found = sorted(set(known)) if queues is None else queues
        slots = {names.text(name, "queue"): total for name in found}
    if not slots and not optional:
        raise ConfigurationError("there is no queue to work: register a job with @app.job, or name queues")
    lease_seconds = seconds_of(lease, "lease", minimum=1.0)
    return WorkerOptions(
        queues=slots,
        concurrency=total,
        lease=lease_seconds,
        renew=renewal_of(lease_seconds, renew),
        poll=seconds_of(poll, "poll", minimum=0.01),
        grace=seconds_of(grace, "grace"),
        worker_id=new_worker_id() if worker_id is None else names.text(worker_id, "worker_id"),
        drain=drain,
        listen=listen,
        prefetch=names.whole(prefetch, "prefetch", 0, 100_000),
    )


def renewal_of(lease: float, renew: Seconds | None) -> float:
    """How often a lease is renewed (seconds): None is a third of it.

    Raises:
        ConfigurationError: it is not at most half of the lease.
    """
    seconds = lease / 3 if renew is None else seconds_of(renew, "renew", minimum=0.05)
    if seconds > lease / 2:
        raise ConfigurationError(f"renew must be at most half of the lease of {lease:g} s, not {seconds:g} s")
    return seconds


def _concurrency(queues: Mapping[str, int] | Sequence[str] | None, concurrency: int | None) -> int:
    if concurrency is not None:
        return names.whole(concurrency, "concurrency", 1, 100_000)
    if queues and isinstance(queues, Mapping):
        return sum(names.whole(most, f"queue {name}", 1, 100_000) for name, most in queues.items())
    return DEFAULT_CONCURRENCY
