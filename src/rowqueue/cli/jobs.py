"""Jobs as the commands choose and show them. Arguments, meta and results are only in ``details``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rowqueue.core.states import State
from rowqueue.core.values import Job, LogEntry

if TYPE_CHECKING:
    from rowqueue.store import Store

_SHOWN = (
    "id", "kind", "queue", "state", "priority", "attempt", "max_attempts", "failures", "rescues", "snoozes",
    "created_at", "scheduled_at", "attempted_at", "attempted_by", "leased_until", "finalized_at",
    "cancel_requested_at", "timeout", "unique_key", "tags", "correlation_id", "correlation_group",
)  # fmt: skip
_PAGE = 1000
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Filters:
    """Which jobs: all that fit every filter given."""

    queue: str | None = None
    kind: str | None = None
    states: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    correlation_id: str | None = None
    correlation_group: str | None = None

    def __bool__(self) -> bool:
        return any(
            (self.queue, self.kind, self.states, self.tags, self.correlation_id, self.correlation_group)
        )

    def arguments(self, default: Collection[State] = ()) -> dict[str, Any]:
        """Those of ``Store.list``; without a state of their own, the default's."""
        return {
            "queue": self.queue,
            "kind": self.kind,
            "state": list(map(State, self.states)) or sorted(default) or None,
            "tags": self.tags,
            "correlation_id": self.correlation_id,
            "correlation_group": self.correlation_group,
        }


def filter_options(command: _Command) -> _Command:
    """Add the filters to a command, which reads them by ``filters_of``."""
    for option in (
        click.option("--correlation-group", metavar="NAME"),
        click.option("--correlation-id", metavar="ID"),
        click.option("--tag", "tags", multiple=True, metavar="WORD", help="Has this tag (repeat: all)."),
        click.option(
            "--state",
            "states",
            multiple=True,
            type=click.Choice(list(map(str, State))),
            help="Is in this state (repeat: any).",
        ),
        click.option("--kind", metavar="KIND"),
        click.option("--queue", metavar="NAME"),
    ):
        command = option(command)
    return command


def filters_of(given: dict[str, Any]) -> Filters:
    """Take the filters out of a command's options."""
    return Filters(**{name: given.pop(name) for name in Filters.__slots__})


def matching(store: Store, filters: Filters, default: Collection[State], limit: int | None) -> Iterator[Job]:
    """The jobs that fit, by id, a page at a time."""
    after, left = None, limit
    while left is None or left > 0:
        size = _PAGE if left is None else min(left, _PAGE)
        page = store.list(**filters.arguments(default), after=after, limit=size)
        yield from page.jobs
        if page.next is None:
            return
        after, left = page.next, None if left is None else left - size


def summary(job: Job) -> dict[str, Any]:
    """A job for JSON, without what its author put in."""
    return {name: getattr(job, name) for name in _SHOWN}


def details(job: Job, log: Collection[LogEntry]) -> dict[str, Any]:
    """Everything about a job for JSON."""
    found = summary(job)
    found["unique_states"] = sorted(job.unique_states)
    found |= {name: getattr(job, name) for name in ("args", "meta", "result")}
    found["progress"] = None if job.progress is None else asdict(job.progress)
    found["errors"] = [asdict(error) for error in job.errors]
    found["log"] = [{"at": entry.at, "lease": entry.lease, "entry": entry.entry} for entry in log]
    return found
