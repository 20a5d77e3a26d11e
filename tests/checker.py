"""The judge of every chaos test: a history of what was asked, started, done and refused, and how the rows stand.

Jepsen's sets for queues, and ours for leases. A history is made of `Event`s in any order. Times are seconds of one
clock, the database's: of a call that was answered, `at` is when it was *made*, so that the judge never blames a call
for what happened while it was on its way.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, Literal

GRAIN = 0.002
"""Two readings of a database's clock in the same millisecond may be rounded apart (seconds)."""

What = Literal[
    "enqueue", "start", "extend", "effect", "once", "finish", "gave_back", "rescue", "retry", "ended", "told"
]
Answer = Literal["ok", "fail", "unknown", "stale"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    `enqueue` (answered ok, fail or unknown); `start` of an attempt under a lease that lasts `until`; `extend` of it;
    `effect` of a handler in a transaction of its own, and `once` in that of its completion; `finish` (ok, stale or
    unknown); `gave_back`: an accepted end that lets the job run again, and `rescue`, each with its `cause`; `retry`: a
    person asked for the job again. Where the database keeps a record: `ended`, an attempt is over by whoever's write;
    and `told`, what a worker in the end believed of its own (ok: it was written, stale: it was refused).
    """

    what: What
    key: Any
    lease: int = 0
    at: float = 0.0
    answer: Answer = "ok"
    until: float = 0.0
    cause: str = ""
    place: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """How a job stands at the end."""

    final: bool
    running_expired: bool = False
    completed: bool = True


@dataclass(slots=True)
class Report:
    """What the judge found: the keys (or counts) by metric."""

    lost: list[Any] = field(default_factory=list)
    unexpected: list[Any] = field(default_factory=list)
    phantom: list[Any] = field(default_factory=list)
    unexplained: list[Any] = field(default_factory=list)
    overlap: list[Any] = field(default_factory=list)
    stale_accepted: list[Any] = field(default_factory=list)
    not_once: list[Any] = field(default_factory=list)
    out_of_order: list[Any] = field(default_factory=list)
    stuck: list[Any] = field(default_factory=list)
    mistold: list[Any] = field(default_factory=list)
    recovered: int = 0
    starts: int = 0
    stale_refused: int = 0
    explained: Counter[str] = field(default_factory=Counter)

    def violations(self) -> dict[str, list[Any]]:
        """What must be empty and is not: the first keys of each metric."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: keys[:5] for name, keys in found.items() if isinstance(keys, list) and keys}

    def __str__(self) -> str:
        bad = ", ".join(f"{name} {len(getattr(self, name))}" for name in self.violations()) or "no violation"
        reruns = ", ".join(f"{count} {cause}" for cause, count in sorted(self.explained.items())) or "none"
        return (
            f"{self.starts} starts; reruns explained: {reruns}; stale writes refused: {self.stale_refused}; "
            f"recovered: {self.recovered}; {bad}"
        )


def check(events: Iterable[Event], rows: Mapping[Any, Row], *, in_order: bool = False) -> Report:
    """Judge a history.

    Args:
        events: everything that is known to have happened.
        rows: the job rows after a full drain, by key.
        in_order: one worker only, so that starts must come in order of their `place`.
    """
    report = Report()
    by_key: dict[Any, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
    starts = []
    for event in events:
        by_key[event.key][event.what].append(event)
        if event.what == "start":
            starts.append(event)
    for key in {**by_key, **rows}:
        _existence(report, key, by_key[key], rows.get(key))
        _leases(report, key, by_key[key])
        _once(report, key, by_key[key], rows.get(key))
        _told(report, key, by_key[key])
    report.starts = len(starts)
    if in_order:
        report.out_of_order = _out_of_order(starts)
    return report


def _existence(report: Report, key: Any, of: Mapping[str, list[Event]], row: Row | None) -> None:
    answers = {event.answer for event in of["enqueue"]}
    worked = bool(of["start"] or of["effect"] or of["once"])
    present = row is not None or worked
    if "ok" in answers and (row is None or not row.final):
        report.lost.append(key)
    if not answers and present:
        report.unexpected.append(key)
    if answers == {"fail"} and present:
        report.phantom.append(key)
    if answers and "ok" not in answers and "unknown" in answers and present:
        report.recovered += 1
    if row is not None and row.running_expired:
        report.stuck.append(key)


def _leases(report: Report, key: Any, of: Mapping[str, list[Event]]) -> None:
    starts = sorted(of["start"], key=lambda event: event.lease)
    given = [*of["rescue"], *of["gave_back"], *of["retry"]]
    causes = {event.lease: event.cause for event in given if event.answer == "ok"}
    until = {event.lease: event.until for event in starts}
    for event in sorted(of["extend"], key=lambda event: event.at):
        if event.answer == "ok" and event.until:  # the last one counts: a clock set back shortens a lease
            until[event.lease] = event.until
    for event in [*of["finish"], *of["gave_back"], *of["ended"]]:
        if event.answer == "ok" and event.lease in until:
            until[event.lease] = min(until[event.lease], event.at)
    for earlier, later in pairwise(starts):
        between = [causes[lease] for lease in sorted(causes) if earlier.lease <= lease < later.lease]
        if earlier.lease == later.lease or not between:
            report.unexplained.append(key)
        else:
            report.explained[between[0]] += 1
        if later.at < until[earlier.lease] - GRAIN:
            report.overlap.append(key)
    for event in [*of["finish"], *of["gave_back"], *of["extend"]]:
        if event.answer == "stale":
            report.stale_refused += 1
        elif event.answer == "ok" and any(
            start.lease > event.lease and start.at < event.at - GRAIN for start in starts
        ):
            report.stale_accepted.append(key)


def _once(report: Report, key: Any, of: Mapping[str, list[Event]], row: Row | None) -> None:
    accepted, again = sum(event.answer == "ok" for event in of["finish"]), len(of["retry"])
    completed = row is not None and row.final and row.completed
    twice = max(len(of["once"]), accepted) > 1 + again
    torn = bool(of["once"]) and not completed and not again
    never = completed and bool(of["enqueue"]) and not (of["once"] or of["effect"])
    if twice or torn or never:
        report.not_once.append(key)


def _told(report: Report, key: Any, of: Mapping[str, list[Event]]) -> None:
    ended = {event.lease for event in of["ended"]}
    if any((event.answer == "ok") is not (event.lease in ended) for event in of["told"]):
        report.mistold.append(key)


def _out_of_order(starts: list[Event]) -> list[Any]:
    wrong, foremost = [], None
    for event in sorted(
        starts, key=lambda event: event.at
    ):  # a stable sort: one claim's jobs stay as they came
        if foremost is not None and event.place < foremost:
            wrong.append(event.key)
        foremost = event.place if foremost is None else max(foremost, event.place)
    return wrong
