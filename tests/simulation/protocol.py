"""The lease protocol as a closed state space: every state that two workers can bring two jobs into.

A job's row moves by the table of transitions of the core: a write is made from the states that the table names, to
those that it names. What is modelled beside it is what no table says: that a lease runs out, that a worker dies, that
a reply is lost, that a person asks to cancel, and that a worker stops in order.
"""

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from rowqueue.core.states import FINAL, TRANSITIONS, State, Verb, sources_of

LEASES = 3
"""A row whose lease is so high is not claimed again: it is discarded, as one whose attempts are used up."""

Hold = tuple[()] | tuple[int, Literal["works", "asked", "told"]]
FREE: Hold = ()
"""The lease of a claim, and how far its end is: not yet, sent without an answer, or answered."""


class Row(NamedTuple):
    """A job, as far as the protocol goes. `ends` is how often an end under each lease took effect."""

    state: State = State.AVAILABLE
    lease: int = 0
    expired: bool = False
    cancel: bool = False
    ends: tuple[int, ...] = (0,) * (LEASES + 2)


class Place(NamedTuple):
    """A job and what each worker holds of it."""

    row: Row
    holds: tuple[Hold, Hold]


@dataclass(frozen=True, slots=True)
class Variant:
    """The protocol, or what is wrong with it."""

    fenced: bool = True
    """A worker's write names its lease."""
    rereads: bool = True
    """A lost reply is resolved by reading (key, lease) again; otherwise taken for a no."""
    rescues: bool = True
    bumps: bool = True
    """A rescue raises the lease."""


class Wrong(NamedTuple):
    """A broken property, and how it came to that."""

    what: str
    path: tuple[str, ...]


@dataclass(slots=True)
class Space:
    """What the search found."""

    states: int = 0
    edges: int = 0
    longest: int = 0
    wrong: list[Wrong] = field(default_factory=list[Wrong])


def _moved(verb: Verb, row: Row, target: State, *, fenced: bool) -> Row | None:
    """The row after a verb, if the table lets it start here and lead there."""
    if row.state not in sources_of(verb, fenced=fenced):
        return None
    allowed = {
        target for one in TRANSITIONS if one.verb is verb and one.fenced is fenced for target in one.targets
    }
    assert target in allowed, (verb, target)
    return row._replace(state=target, expired=False)


def _finished(variant: Variant, row: Row, lease: int, verb: Verb, target: State) -> Row | None:
    """A worker's end: guarded by its lease; cancelled instead where somebody asked, unless it completed."""
    if variant.fenced and row.lease != lease:
        return None
    if row.cancel and verb is not Verb.COMPLETE:
        target = State.CANCELLED
    moved = _moved(verb, row, target, fenced=True)
    if moved is None:
        return None
    ends = tuple(count + (number == row.lease) for number, count in enumerate(row.ends))
    return moved._replace(ends=ends)


def _steps(place: Place, variant: Variant) -> Iterator[tuple[str, Place]]:
    row = place.row
    yield from ((name, place._replace(row=moved)) for name, moved in _others(row, variant))
    for worker, hold in enumerate(place.holds):
        for name, moved, now in _worker(row, hold, variant):
            holds = (now, place.holds[1]) if worker == 0 else (place.holds[0], now)
            yield f"worker {worker}: {name}", Place(moved, holds)


def _others(row: Row, variant: Variant) -> Iterator[tuple[str, Row]]:
    """The clock, anybody's upkeep, and a person."""
    if row.state is State.RUNNING and not row.expired:
        yield "the lease runs out", row._replace(expired=True)
    if row.state is State.RUNNING and row.expired and variant.rescues:
        spent = row.lease + 1 >= LEASES
        target = State.CANCELLED if row.cancel else State.DISCARDED if spent else State.AVAILABLE
        moved = _moved(Verb.RESCUE, row, target, fenced=False)
        assert moved is not None
        yield "rescue", moved._replace(lease=row.lease + variant.bumps)
    if row.state in {State.SCHEDULED, State.RETRYABLE}:
        moved = _moved(Verb.PROMOTE, row, State.AVAILABLE, fenced=False)
        assert moved is not None
        yield "promote", moved
    if row.state not in FINAL and not row.cancel:
        if row.state is State.RUNNING:
            yield "a person cancels", row._replace(cancel=True)
        elif (moved := _moved(Verb.CANCEL, row, State.CANCELLED, fenced=False)) is not None:
            yield "a person cancels", moved._replace(lease=row.lease + 1, cancel=True)


def _worker(row: Row, hold: Hold, variant: Variant) -> Iterator[tuple[str, Row, Hold]]:
    if not hold:
        if row.lease < LEASES and (moved := _moved(Verb.CLAIM, row, State.RUNNING, fenced=False)) is not None:
            claimed = moved._replace(lease=row.lease + 1)
            yield "claims", claimed, (claimed.lease, "works")
            yield "claims, and is not told", claimed, FREE
        return
    lease, stage = hold
    if stage == "works":
        if row.lease == lease and (moved := _moved(Verb.EXTEND, row, State.RUNNING, fenced=True)) is not None:
            yield "renews", moved, hold
        ends = [(Verb.COMPLETE, State.COMPLETED), (Verb.FAIL, State.DISCARDED)]
        if lease < LEASES:  # it may come back
            ends += [(Verb.FAIL, State.RETRYABLE), (Verb.RELEASE, State.AVAILABLE)]
        for verb, target in ends:
            moved = _finished(variant, row, lease, verb, target)
            words = "stops and gives it back" if verb is Verb.RELEASE else f"writes {verb}"
            if moved is None:
                yield f"{words}: refused", row, FREE
            else:
                yield words, moved, FREE
                yield f"{words}, and is not told", moved, (lease, "asked")
            yield f"{words}, which is lost", row, (lease, "asked")
    elif stage == "asked":
        yield from _resolves(row, lease, variant)


def _resolves(row: Row, lease: int, variant: Variant) -> Iterator[tuple[str, Row, Hold]]:
    """It asks again; the answer, or the row's own lease, says what became of the first try."""
    moved = _finished(variant, row, lease, Verb.COMPLETE, State.COMPLETED)
    if moved is not None:
        yield "asks again: done", moved, FREE
    elif row.lease != lease:
        yield "asks again: lost", row, FREE
    elif variant.rereads:
        yield "asks again: it was done", row, FREE
    else:
        yield "asks again: takes it for refused", row, (lease, "told")


def _broken(before: Place, name: str, after: Place) -> str:
    """Which safety property a step breaks, or nothing."""
    old, new = before.row, after.row
    if new.lease < old.lease:
        return "a lease goes back"
    if old.state in FINAL and new.state is not old.state:
        return "a final job changes"
    if name.startswith("worker") and "claims" not in name and new != old:
        hold = before.holds[int(name[7])]
        assert hold
        if hold[0] != old.lease:
            return "a worker that lost its lease changes the job"
    if max(new.ends) > 1:
        return "two ends under one lease take effect"
    if new.state in FINAL and old.cancel and new.state not in {State.COMPLETED, State.CANCELLED}:
        return "a job that was to be cancelled ends otherwise"
    leases = [hold[0] for hold in after.holds if hold]
    if len(leases) == 2 and leases[0] == leases[1]:
        return "two workers hold one lease"
    if name.endswith("it was done"):
        hold = before.holds[int(name[7])]
        if not old.ends[hold[0]]:
            return "a worker takes for done what was not"
    told = next((hold for hold in after.holds if hold and hold[1] == "told"), None)
    if told is not None and new.ends[told[0]]:
        return "a worker takes for refused what was done"
    return ""


@dataclass(slots=True)
class _Graph:
    """The places of one job, numbered, and what leads from one to another."""

    places: list[Place]
    steps: list[list[tuple[str, int, str]]]
    deaths: list[tuple[int, int]]
    """Where a place leads when the first worker dies, and when the second does."""


def _graph(variant: Variant) -> _Graph:
    numbers = {Place(Row(), (FREE, FREE)): 0}
    graph = _Graph(list(numbers), [], [])

    def number(place: Place) -> int:
        if place not in numbers:
            numbers[place] = len(graph.places)
            graph.places.append(place)
        return numbers[place]

    for here in graph.places:  # it grows meanwhile
        graph.steps.append(
            [(name, number(there), _broken(here, name, there)) for name, there in _steps(here, variant)]
        )
        graph.deaths.append(
            (
                number(here._replace(holds=(FREE, here.holds[1]))),
                number(here._replace(holds=(here.holds[0], FREE))),
            )
        )
    return graph


def search(variant: Variant, deepest: int = 1000) -> Space:
    """Breadth first through every state of two jobs and two workers; then whether the goals can always be reached.

    Args:
        variant: the protocol.
        deepest: look no further than so many steps; the space is not closed then, and only safety is judged.
    """
    graph = _graph(variant)
    size = len(graph.places)
    next_of = [sorted({there for _, there, _ in steps}) for steps in graph.steps]
    came: dict[int, int] = {0: 0}
    back: dict[int, list[int]] = defaultdict(list)
    space, layer = Space(), [0]
    while layer and space.longest < deepest:
        beyond: list[int] = []
        for point in layer:
            one, two = divmod(point, size)
            after = [there * size + two for there in next_of[one]]
            after += [one * size + there for there in next_of[two]]
            after += [a * size + b for a, b in zip(graph.deaths[one], graph.deaths[two], strict=True)]
            space.edges += len(after)
            for each in after:
                back[each].append(point)
                if each not in came:
                    came[each] = point
                    beyond.append(each)
        layer = beyond
        space.longest += bool(layer)
    space.states = len(came)
    space.wrong = list(_unsafe(graph, came))
    if not layer:
        space.wrong += _lifeless(graph, came, back)
    return space


def _unsafe(graph: _Graph, came: dict[int, int]) -> Iterator[Wrong]:
    """The first step that breaks each safety property; what one job may do, it may do whatever the other does."""
    seen = set[str]()
    size = len(graph.places)
    for point in came:
        for name, there, what in graph.steps[point // size]:
            if what and what not in seen:
                seen.add(what)
                yield Wrong(what, _path(graph, came, point, there * size + point % size, name))


def _lifeless(graph: _Graph, came: dict[int, int], back: dict[int, list[int]]) -> Iterator[Wrong]:
    size = len(graph.places)
    ended = [place.row.state in FINAL for place in graph.places]
    answered = [not any(hold and hold[1] != "works" for hold in place.holds) for place in graph.places]
    for name, goal in (
        ("every job can still end", ended),
        ("every lost reply can still be resolved", answered),
    ):
        reached = {point for point in came if goal[point // size] and goal[point % size]}
        todo = deque(reached)
        while todo:
            for before in back.get(todo.popleft(), ()):
                if before not in reached:
                    reached.add(before)
                    todo.append(before)
        if stuck := next((point for point in came if point not in reached), None):
            yield Wrong(f"no more: {name}", _path(graph, came, stuck))


def _path(
    graph: _Graph, came: dict[int, int], point: int, beyond: int | None = None, last: str = ""
) -> tuple[str, ...]:
    """How it came to a point, and to the one beyond it."""
    names = [] if beyond is None else [f"job 0: {last}"]
    while point:
        names.append(_name(graph, came[point], point))
        point = came[point]
    return tuple(reversed(names))


def _name(graph: _Graph, before: int, after: int) -> str:
    size = len(graph.places)
    for job, (here, there) in enumerate(zip(divmod(before, size), divmod(after, size), strict=True)):
        other = divmod(before, size)[1 - job] == divmod(after, size)[1 - job]
        for name, leads, _ in graph.steps[here] if other else ():
            if leads == there:
                return f"job {job}: {name}"
    return "a worker dies"
