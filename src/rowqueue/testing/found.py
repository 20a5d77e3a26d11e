"""What was enqueued, looked for and asserted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rowqueue.app.arguments import Arguments
from rowqueue.app.job import JobFunction
from rowqueue.core.values import Job, Json

Target = JobFunction[..., Any] | Arguments
"""A job, or a job with arguments: ``send_welcome``, or ``send_welcome.args(7)``."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an assertion looks for.

    Attributes:
        kind: of which kind.
        values: the arguments that it must have, by name; it may have others.
        queue: in which queue; None is any.
    """

    kind: str
    values: dict[str, Json]
    queue: str | None

    @classmethod
    def of(cls, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any], queue: str | None) -> Wanted:
        """Read an assertion's arguments.

        Raises:
            InvalidArguments: the arguments do not fit the job's annotations.
        """
        if isinstance(target, Arguments):
            return cls(target.kind, target.values, queue)
        values = target.args(*args, **kwargs).values if args or kwargs else {}
        return cls(target.kind, values, queue)

    def among(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs that are meant."""
        return [job for job in jobs if self._fits(job)]

    def _fits(self, job: Job) -> bool:
        return (
            job.kind == self.kind
            and (self.queue is None or job.queue == self.queue)
            and all(name in job.args and job.args[name] == value for name, value in self.values.items())
        )

    def __str__(self) -> str:
        where = "" if self.queue is None else f" in queue {self.queue}"
        return f"{_call(self.kind, self.values)}{where}"


def listed(jobs: Sequence[Job]) -> str:
    """Jobs for the message of an assertion, arguments and all: it is read by whoever wrote the test."""
    lines = [f"  {_call(job.kind, job.args)} in queue {job.queue}, {job.state}" for job in jobs[:20]]
    if len(jobs) > 20:
        lines.append(f"  and {len(jobs) - 20} more")
    return "\n".join(lines) if lines else "  nothing"


def _call(kind: str, values: dict[str, Json]) -> str:
    said = ", ".join(f"{name}={_short(value)}" for name, value in values.items())
    return f"{kind}({said})"


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"
