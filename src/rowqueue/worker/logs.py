"""Events as log records of the logger ``rowqueue``: kind, queue, id and attempt, never arguments."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

from rowqueue.worker import events
from rowqueue.worker.events import Event, Events, JobEvent

_LEVELS: dict[type[Event], int] = {
    events.WorkerStarted: logging.INFO,
    events.WorkerStopping: logging.INFO,
    events.WorkerStopped: logging.INFO,
    events.Claimed: logging.DEBUG,
    events.Started: logging.DEBUG,
    events.Unknown: logging.DEBUG,
    events.TimedOut: logging.WARNING,
    events.CancelRequested: logging.INFO,
    events.Fenced: logging.WARNING,
    events.LeaseLost: logging.WARNING,
    events.Completed: logging.DEBUG,
    events.Failed: logging.WARNING,
    events.Snoozed: logging.DEBUG,
    events.Released: logging.INFO,
    events.Skipped: logging.INFO,
    events.Cancelled: logging.INFO,
    events.Discarded: logging.WARNING,
    events.Refused: logging.WARNING,
    events.CutOff: logging.WARNING,
    events.Unwritable: logging.ERROR,
    events.ResultDropped: logging.WARNING,
    events.RanOn: logging.WARNING,
    events.RescuedJob: logging.WARNING,
    events.Reconnecting: logging.WARNING,
    events.Reconnected: logging.INFO,
}


def log_to(stream: Events, logger: logging.Logger) -> None:
    """Log the events whose level is enabled now; the others then cost nothing."""
    wanted = [kind for kind, level in _LEVELS.items() if logger.isEnabledFor(level)]
    if wanted:
        stream.on(lambda event: _log(logger, event), *wanted)


def _log(logger: logging.Logger, event: Event) -> None:
    values = _values(event)
    said = " ".join(f"{name}={value}" for name, value in values.items())
    name = type(event).__name__
    level = _LEVELS[type(event)]
    logger.log(level, "%s %s", name, said, extra={"rowqueue": {"event": name, **values}})


def _values(event: Event) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if isinstance(event, JobEvent):
        job = event.job
        values = {"kind": job.kind, "queue": job.queue, "id": job.id, "attempt": job.attempt}
    elif isinstance(event, events.RescuedJob):
        rescued = event.rescued
        values = {"kind": rescued.kind, "queue": rescued.queue, "id": rescued.key}
        return values | {"state": str(rescued.state), "worker": rescued.worker}
    for field in fields(event):
        if field.name != "job":
            values[field.name] = getattr(event, field.name)
    return values
