"""Which function runs which kind."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rowqueue.app.job import JobFunction
from rowqueue.core.errors import ConfigurationError, UnknownKind


class Registry:
    """The jobs of an app by kind and alias. Looking one up never imports anything."""

    def __init__(self) -> None:
        self._jobs: dict[str, JobFunction[..., Any]] = {}

    @property
    def jobs(self) -> Mapping[str, JobFunction[..., Any]]:
        """Every kind and every alias with its job, read-only."""
        return MappingProxyType(self._jobs)

    def add(self, job: JobFunction[..., Any]) -> None:
        """Register a job under its kind and its aliases, all or none.

        Raises:
            ConfigurationError: one of the names is taken.
        """
        for name in (job.kind, *job.aliases):
            if (other := self._jobs.get(name)) is not None:
                raise ConfigurationError(
                    f"the kind {name!r} is taken by {_place(other)}: give {_place(job)} another kind='...'"
                )
        for name in (job.kind, *job.aliases):
            self._jobs[name] = job

    def get(self, kind: str) -> JobFunction[..., Any]:
        """The job of a kind or an alias.

        Raises:
            UnknownKind: there is none; its module may not have been imported.
        """
        try:
            return self._jobs[kind]
        except KeyError:
            raise UnknownKind(
                f"this app has no job of kind {kind!r}: import the module that defines it, or keep a renamed job's old"
                " name in aliases=(...)"
            ) from None


def _place(job: JobFunction[..., Any]) -> str:
    function = job.function
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', job.kind)}"
