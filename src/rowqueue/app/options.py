"""What may be said about one job beside its arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from rowqueue.core import names
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import UNFINISHED, State
from rowqueue.core.values import Json, Seconds, seconds_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of an enqueue, checked when made; None means "as before". ``NewJob`` says what each does."""

    queue: str | None = None
    priority: int | None = None
    delay: Seconds | None = None
    at: datetime | None = None
    max_attempts: int | None = None
    timeout: Seconds | None = None
    unique_key: str | None = None
    unique_states: Collection[State] | None = None
    tags: Sequence[str] | None = None
    correlation_id: str | None = None
    correlation_group: str | None = None
    meta: Mapping[str, Json] | None = field(default=None, repr=False)
    pending: bool | None = None

    def __post_init__(self) -> None:
        for name in ("queue", "unique_key", "correlation_id", "correlation_group"):
            if (value := getattr(self, name)) is not None:
                names.text(value, name)
        if self.priority is not None:
            names.whole(self.priority, "priority", 1, 4)
        if self.max_attempts is not None:
            names.whole(self.max_attempts, "max_attempts", 1, 1_000_000)
        if self.timeout is not None:
            seconds_of(self.timeout, "timeout", minimum=0.001)
        self._check_time()
        if self.unique_states is not None:
            object.__setattr__(self, "unique_states", _states(self.unique_states))
        if self.tags is not None:
            object.__setattr__(self, "tags", _tags(self.tags))
        if self.meta is not None and not isinstance(self.meta, dict):
            raise ConfigurationError(f"meta must be a dict, not {type(self.meta).__name__}")
        if self.pending is not None and not isinstance(self.pending, bool):
            raise ConfigurationError(f"pending must be True or False, not {type(self.pending).__name__}")

    def _check_time(self) -> None:
        if self.delay is not None and self.at is not None:
            raise ConfigurationError("give delay or at, not both")
        if self.delay is not None:
            seconds_of(self.delay, "delay")
        if self.at is not None:
            names.instant(self.at, "at")

    def given(self) -> dict[str, Any]:
        """The options that were given, by name."""
        return {name: value for name in _NAMES if (value := getattr(self, name)) is not None}

    def then(self, later: Options) -> Options:
        """Both, where the later ones win; a later delay replaces an earlier ``at``, and the reverse."""
        values, new = self.given(), later.given()
        if "at" in new or "delay" in new:
            values.pop("at", None)
            values.pop("delay", None)
        return Options(**values | new)


_NAMES = tuple(option.name for option in fields(Options))


def refuse_unknown(unknown: Mapping[str, object]) -> None:
    """Raise a ConfigurationError that lists what may be given."""
    if unknown:
        raise ConfigurationError(
            f"no such option: {', '.join(map(repr, unknown))}; there are {', '.join(_NAMES)}"
            " (the job's own arguments go to enqueue)"
        )


def _states(states: Collection[State]) -> frozenset[State]:
    if isinstance(states, str):
        raise ConfigurationError("unique_states must be a set of states, such as {State.COMPLETED}")
    try:
        chosen = frozenset(map(State, states))
    except ValueError:
        raise ConfigurationError(f"unique_states must be of {', '.join(State)}") from None
    # Final states alone mean: these, too. What leaves out some of the others is refused at the enqueue.
    return chosen if chosen & UNFINISHED else chosen | UNFINISHED


def _tags(tags: Sequence[str]) -> tuple[str, ...]:
    if isinstance(tags, str) or len(tags) > names.TAGS_LIMIT:
        raise ConfigurationError(f"tags must be a list of at most {names.TAGS_LIMIT} words")
    return tuple(names.text(tag, "a tag") for tag in tags)
