"""When a failed job runs again, and how an exception ends an attempt."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowqueue.core.control import Cancel, Discard, Retry, Skip, Snooze
from rowqueue.core.errors import ConfigurationError, LeaseLost, NotDone
from rowqueue.core.finish import after_error, after_failure, one_line, storable
from rowqueue.core.policies import RetryPolicy
from rowqueue.core.states import State, Verb
from rowqueue.core.values import Outcome, seconds_of
from tests.core.jobs import a_claim, a_job

FAST = RetryPolicy.constant(5)


def _wrong(value: Any) -> Any:
    """A value that type checkers would refuse."""
    return value


def test_exponential_doubles_up_to_its_maximum():
    policy = RetryPolicy.exponential(15, maximum=timedelta(minutes=5), jitter=0)
    assert [policy.delay(n, random=0.5) for n in range(1, 7)] == [15, 30, 60, 120, 240, 300]
    assert policy.delay(10_000, random=0.5) == 300
    assert policy.delay(0, random=0.5) == 15


def test_linear_constant_schedule_and_custom():
    assert [RetryPolicy.linear(10, maximum=25).delay(n, random=0.5) for n in (1, 2, 3, 9)] == [10, 20, 25, 25]
    assert RetryPolicy.constant(timedelta(seconds=7)).delay(9, random=0) == 7
    schedule = RetryPolicy.schedule([1, timedelta(minutes=1)])
    assert [schedule.delay(n, random=0.5) for n in (1, 2, 3)] == [1, 60, 60]
    assert RetryPolicy.custom(lambda attempt: attempt * 2.0).delay(4, random=0.9) == 8


@given(attempt=st.integers(1, 10**6), random=st.floats(0, 1, exclude_max=True), jitter=st.floats(0, 1))
def test_jitter_stays_within_its_fraction(attempt, random, jitter):
    delay = RetryPolicy.constant(100, jitter=jitter).delay(attempt, random=random)
    assert 100 * (1 - jitter) - 1e-6 <= delay <= 100 * (1 + jitter) + 1e-6


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryPolicy.exponential(-1),
        lambda: RetryPolicy.exponential(factor=0.5),
        lambda: RetryPolicy.constant(float("nan")),
        lambda: RetryPolicy.constant(_wrong("5")),
        lambda: RetryPolicy.constant(5, jitter=1.5),
        lambda: RetryPolicy.schedule([]),
        lambda: RetryPolicy.custom(lambda _: _wrong("soon")).delay(1, random=0),
        lambda: RetryPolicy.custom(lambda _: -1.0).delay(1, random=0),
        lambda: RetryPolicy.custom(lambda _: float("inf")).delay(1, random=0),
    ],
)
def test_policies_that_make_no_sense_are_refused(make):
    with pytest.raises(ConfigurationError):
        make()


def test_a_failure_ends_with_its_last_attempt():
    for attempt, expected in (
        (1, State.RETRYABLE),
        (2, State.RETRYABLE),
        (3, State.DISCARDED),
        (4, State.DISCARDED),
    ):
        state, _ = after_failure(a_job(attempt=attempt), FAST, random=0.5)
        assert state is expected
    assert after_failure(a_job(), RetryPolicy.constant(0), random=0) == (State.AVAILABLE, 0.0)


LAST = {"attempt": 3}
ENDINGS = {
    "error": (ValueError("no"), {}, (Verb.FAIL, State.RETRYABLE, 5.0, "ValueError: no", "trace")),
    "last error": (ValueError("no"), LAST, (Verb.FAIL, State.DISCARDED, 0.0, "ValueError: no", "trace")),
    "retry": (Retry(), {}, (Verb.FAIL, State.RETRYABLE, 5.0, "the handler asked for a retry", "")),
    "retry after": (
        Retry(timedelta(seconds=9), "busy"),
        {},
        (Verb.FAIL, State.RETRYABLE, 9.0, "busy", ""),
    ),
    "retry at once": (Retry(0), {}, (Verb.FAIL, State.AVAILABLE, 0.0, "the handler asked for a retry", "")),
    "retry at the end": (Retry(9, "busy"), LAST, (Verb.FAIL, State.DISCARDED, 0.0, "busy", "")),
    "snooze": (Snooze(60), LAST, (Verb.SNOOZE, None, 60.0, None, "")),
    "skip": (Skip("nothing new"), {}, (Verb.SKIP, None, 0.0, "nothing new", "")),
    "skip without words": (Skip(), {}, (Verb.SKIP, None, 0.0, None, "")),
    "cancel": (Cancel("old"), {}, (Verb.CANCEL, None, 0.0, "old", "")),
    "discard": (Discard("bad"), {}, (Verb.DISCARD, None, 0.0, "bad", "")),
    "discard without words": (Discard(), {}, (Verb.DISCARD, None, 0.0, "the handler discarded it", "")),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_what_a_handler_raises_says_how_its_attempt_ends(name):
    error, changes, expected = ENDINGS[name]
    end = after_error(a_claim(**changes), error, FAST, random=0.5, trace="trace")
    assert (end.verb, end.state, end.delay, end.error, end.trace) == expected


def test_an_error_is_one_line_whatever_it_says():
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    assert one_line(ValueError("a\nb")) == "ValueError: a b"
    assert one_line(KeyError()) == "KeyError"
    assert one_line(Broken()) == "Broken: (its message could not be made)"
    assert len(one_line(ValueError("x" * 10_000))) == 1000


@given(st.text(st.characters(), max_size=60), st.integers(2, 50))
def test_storable_text_is_text_that_every_database_takes(text, limit):
    clean = storable(text, limit)
    assert len(clean) <= limit
    assert "\0" not in clean
    clean.encode()


def test_lengths_of_time():
    assert seconds_of(timedelta(minutes=2), "x") == 120
    assert seconds_of(3, "x") == 3.0
    for bad in (True, "3", None, -1, float("nan"), float("inf"), 1e11):
        with pytest.raises(ConfigurationError, match=r"^x must be"):
            seconds_of(_wrong(bad), "x")
    with pytest.raises(ConfigurationError, match=r"at least 1 s"):
        seconds_of(0.5, "x", minimum=1)


def test_an_outcome_is_true_when_done_and_raises_what_the_caller_can_act_on():
    assert Outcome(1).or_raise().done
    for reason in ("lost", "gone"):
        with pytest.raises(LeaseLost, match=f"job 1: {reason}"):
            Outcome(1, reason).or_raise()
    with pytest.raises(NotDone, match=r"conflict.*job 9 has its unique key"):
        Outcome(1, "conflict", State.COMPLETED, conflict=9).or_raise()
    assert not Outcome(1, "wrong_state")
