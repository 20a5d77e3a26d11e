"""Who watches over operations whose server may fall silent; with a real one in tests/faults/test_half_open.py."""

import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from rowqueue.store.silence import Silence
from rowqueue.store.store import Store
from tests.support.waiting import wait_until

LONG = 3600.0
PATIENCE = 30.0


class Line:
    """What is waited at: an event stands for the answer, and hanging up for an error."""

    def __init__(self) -> None:
        self.busy = False
        self.hung_up = threading.Event()
        self.wrongly = 0

    def hang_up(self) -> None:
        self.wrongly += not self.busy
        self.hung_up.set()

    def answer(self, silence: Silence, seconds: float) -> None:
        """An operation that takes so long."""
        with silence.over(self):
            self.busy = True
            self.hung_up.wait(seconds)
            self.hung_up.clear()
        self.busy = False


@pytest.fixture
def before() -> set[threading.Thread]:
    return set(threading.enumerate())


@pytest.fixture
def impatient() -> Iterator[Silence]:
    silence = Silence(0.002)
    yield silence
    silence.close()


def began(before: set[threading.Thread]) -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each not in before]


def test_who_waits_too_long_is_freed(impatient: Silence) -> None:
    for _ in range(3):
        line = Line()
        with impatient.over(line):
            line.busy = True
            assert line.hung_up.wait(PATIENCE)


def test_an_operation_that_has_ended_is_left_alone(impatient: Silence) -> None:
    """Operations that end at about the moment at which they are due."""
    lines = [Line() for _ in range(4)]

    def operate(line: Line) -> None:
        for _ in range(300):
            line.answer(impatient, 0.002)

    threads = [threading.Thread(target=operate, args=[line]) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line.wrongly for line in lines] == [0] * 4


def test_an_operation_that_ends_waits_for_the_hand_that_hangs_up(impatient: Silence) -> None:
    """Or its connection would be another's by then."""
    hangs_up, ended, seen = threading.Event(), threading.Event(), list[bool]()

    class Slow(Line):
        def hang_up(self) -> None:
            hangs_up.set()
            seen.append(ended.wait(0.1))

    with impatient.over(Slow()):
        assert hangs_up.wait(PATIENCE)
    ended.set()
    assert seen == [False]


def test_one_thread_watches_until_all_is_closed(before: set[threading.Thread]) -> None:
    silence, lines = Silence(LONG), [Line() for _ in range(3)]
    assert began(before) == []
    for _ in range(2):
        with silence.over(lines[0]), silence.over(lines[1]), silence.over(lines[2]):
            assert len(began(before)) == 1
        assert began(before)[0].daemon
        silence.close()
        wait_until(lambda: not began(before), "the end of the thread")


def test_an_operation_that_outlives_the_close_is_freed(before: set[threading.Thread]) -> None:
    silence, line = Silence(0.05), Line()
    with silence.over(line):
        line.busy = True
        silence.close()
        assert line.hung_up.wait(PATIENCE)
    wait_until(lambda: not began(before), "the end of the thread")


def test_an_operation_that_fails_is_watched_no_more(impatient: Silence) -> None:
    line = Line()
    with suppress(RuntimeError), impatient.over(line):
        raise RuntimeError
    other = Line()
    with impatient.over(other):
        other.busy = True
        assert other.hung_up.wait(PATIENCE)
    assert not line.hung_up.is_set()


def test_a_pool_without_a_limit_has_no_such_thread(
    postgres_tables: str, before: set[threading.Thread]
) -> None:
    with closing(Store(postgres_tables)) as patient:
        patient.stats()
        assert began(before) == []
        limited = Store.over(patient.database, patient.settings, silence=LONG)
        limited.stats()
        assert [each.name for each in began(before)] == ["rowqueue-silence"]
        limited.close()
        wait_until(lambda: not began(before), "the end of the thread")
