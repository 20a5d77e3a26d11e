"""Who waits for whom when there is always more work than slots (reliability #34): queues take turns, priorities do not."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from rowqueue.worker.slots import Slots

SLOTS, PER_QUEUE, QUEUES = 10, 2, 80


@pytest.fixture
def busy(tables_url: str) -> Iterator[Store]:
    with contextlib.closing(Store(tables_url)) as store:
        yield store


class Unturned(Slots):
    """Asks the same queues first every time."""

    def rotate(self, asked: int) -> None: ...


def turns(store: Store, slots: Slots, queues: list[str], most: int) -> tuple[int, int]:
    """Fill all slots again and again, as a worker does, with more work in every queue than that.

    Returns:
        After how many rounds every queue had had a turn, and how many never had one.
    """
    waiting = set(queues)
    for number in range(most):
        wanted = slots.free()
        slots.rotate(len(wanted))
        claims = store.claim(SLOTS, queues=wanted)
        assert len(claims) == SLOTS, "a slot was idle"
        store.enqueue_many([NewJob(kind="k", queue=claim.job.queue) for claim in claims])
        store.complete_many(claims)
        waiting -= {claim.job.queue for claim in claims}
        if not waiting:
            return number + 1, 0
    return most, len(waiting)


def flooded(store: Store, count: int) -> list[str]:
    queues = [f"q-{number}" for number in range(count)]
    store.enqueue_many([NewJob(kind="k", queue=queue) for queue in queues for _ in range(PER_QUEUE)])
    return queues


def test_every_flooded_queue_has_its_turn(busy: Store, publish: Any) -> None:
    queues = flooded(busy, QUEUES)
    found, never = turns(busy, Slots(dict.fromkeys(queues, PER_QUEUE), SLOTS, lambda: None), queues, 50)
    publish(
        "#34",
        f"{QUEUES} queues with endless work share {SLOTS} slots",
        f"all had a turn after {found} rounds, {never} had none",
        value=found,
        bound=f"rounds <= {QUEUES // SLOTS}",
    )


def test_without_taking_turns_most_queues_starve(busy: Store, publish: Any) -> None:
    """A negative control."""
    queues = flooded(busy, QUEUES)
    found, never = turns(busy, Unturned(dict.fromkeys(queues, PER_QUEUE), SLOTS, lambda: None), queues, 50)
    publish.control(
        "#34",
        "queues that are always asked in the same order",
        f"{never} had no turn in {found} rounds",
        value=never,
        bound="starved >= 1",
    )


def rounds(store: Store, until: set[Any], urgent: NewJob, most: int) -> int:
    """How often all slots are filled until these jobs have started, with as many more jobs in every round."""
    waiting = set(until)
    for number in range(most):
        store.enqueue_many([urgent] * SLOTS)
        claims = store.claim(SLOTS)
        assert len(claims) == SLOTS, "a slot was idle"
        store.complete_many(claims)
        waiting -= {claim.key for claim in claims}
        if not waiting:
            return number + 1
    return most + 1


def test_in_one_queue_the_oldest_of_a_priority_is_next(busy: Store, publish: Any) -> None:
    keys = {answer.job.id for answer in busy.enqueue_many([NewJob(kind="k") for _ in range(100)])}
    found = rounds(busy, keys, NewJob(kind="k"), 50)
    publish(
        "#34",
        "100 jobs in one queue, with as many newer ones of their priority as there are slots in every round",
        f"all started after {found} rounds of {SLOTS} slots: nobody overtakes",
        value=found,
        bound=f"rounds <= {100 // SLOTS}",
    )


def test_in_one_queue_lower_priority_waits_for_as_long_as_there_is_higher(busy: Store, publish: Any) -> None:
    """The documented absence of an age bound: priority is strict."""
    key = busy.enqueue(NewJob(kind="k", priority=4)).job.id
    found = rounds(busy, {key}, NewJob(kind="k", priority=1), 50)
    publish(
        "#34",
        "a job of the lowest priority in one queue with endless work of the highest",
        f"not started in {found - 1} rounds: strict, as documented",
        value=found,
        bound="rounds > 50",
    )
