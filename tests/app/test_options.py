"""Options are checked where they are written, chain, and never meet the arguments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rowqueue import App, ConfigurationError, State
from rowqueue.core.states import UNFINISHED

app = App("sqlite:///never-opened.db")
WHEN = datetime(2030, 1, 1, tzinfo=UTC)


@app.job(queue="mail", priority=3, max_attempts=4, timeout=timedelta(minutes=1), tags=["a"])
def send(user: int, delay: int = 0, queue: str = "") -> None: ...


def test_the_decorators_options_hold_for_every_enqueue():
    job = send.new_job(send.args(7))
    assert (job.queue, job.priority, job.max_attempts, job.timeout, job.tags) == (
        "mail",
        3,
        4,
        timedelta(minutes=1),
        ("a",),
    )
    assert (send.queue, send.timeout, send.options(queue="x", timeout=2).queue) == ("mail", 60.0, "x")


def test_options_reach_the_row_and_arguments_of_the_same_name_stay_arguments():
    optioned = send.options(
        delay=timedelta(minutes=5),
        priority=1,
        queue="other",
        unique_key="user-7",
        unique_states=UNFINISHED | {State.COMPLETED},
        max_attempts=9,
        timeout=2.5,
        tags=["b", "c"],
        correlation_id="x",
        correlation_group="y",
        meta={"by": "me"},
        pending=True,
    )
    job = optioned.new_job(optioned.args(7, delay=1, queue="q"))
    assert job.args == {"user": 7, "delay": 1, "queue": "q"}
    assert (job.delay, job.at, job.priority, job.queue) == (timedelta(minutes=5), None, 1, "other")
    assert (job.unique_key, job.unique_states) == ("user-7", UNFINISHED | {State.COMPLETED})
    assert (job.max_attempts, job.timeout, job.tags, job.pending) == (9, 2.5, ("b", "c"), True)
    assert (job.correlation_id, job.correlation_group, job.meta) == ("x", "y", {"by": "me"})
    assert send.new_job(send.args(7)).queue == "mail"  # the job itself is as it was


def test_final_unique_states_widen_the_unfinished_ones():
    for states in ([State.COMPLETED], UNFINISHED | {State.COMPLETED}):
        chosen = send.options(unique_key="k", unique_states=states)
        assert chosen.new_job(chosen.args(7)).unique_states == UNFINISHED | {State.COMPLETED}
    narrow = send.options(unique_key="k", unique_states={State.AVAILABLE, State.COMPLETED})
    with pytest.raises(ConfigurationError, match="lacks pending, retryable, running, scheduled"):
        app.store.enqueue(narrow.new_job(narrow.args(7)))


def test_later_options_win_and_keep_the_others():
    chained = send.options(priority=1, delay=5).options(priority=4, correlation_id="x")
    job = chained.new_job(chained.args(7))
    assert (job.priority, job.delay, job.correlation_id) == (4, 5, "x")


def test_a_later_time_replaces_an_earlier_one():
    first = send.options(delay=5).options(at=WHEN)
    assert (first.new_job(first.args(7)).delay, first.new_job(first.args(7)).at) == (None, WHEN)
    second = send.options(at=WHEN).options(delay=5)
    assert (second.new_job(second.args(7)).delay, second.new_job(second.args(7)).at) == (5, None)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"delay": -1}, "delay must be at least 0 s"),
        ({"delay": float("nan")}, "delay must be at least 0 s"),
        ({"delay": "5"}, "delay must be seconds or a timedelta, not str"),
        ({"delay": 5, "at": WHEN}, "give delay or at, not both"),
        ({"at": datetime(2030, 1, 1)}, "at is naive"),  # noqa: DTZ001
        ({"at": "tomorrow"}, "at must be a datetime, not str"),
        ({"priority": 0}, "priority must be a whole number from 1 to 4"),
        ({"priority": 5}, "priority must be a whole number from 1 to 4"),
        ({"priority": True}, "priority must be a whole number from 1 to 4"),
        ({"queue": ""}, "queue must have 1 to 200 characters"),
        ({"queue": "a\x00"}, "queue has a NUL"),
        ({"unique_key": 7}, "unique_key must be text, not int"),
        ({"unique_key": "k" * 201}, "unique_key must have 1 to 200 characters"),
        ({"unique_states": {"runing"}}, "unique_states must be of pending, scheduled"),
        ({"unique_states": "running"}, "unique_states must be a set"),
        ({"max_attempts": 0}, "max_attempts must be a whole number from 1"),
        ({"timeout": 0}, "timeout must be at least 0.001 s"),
        ({"tags": "mail"}, "tags must be a list"),
        ({"tags": ["t"] * 51}, "tags must be a list of at most 50 words"),
        ({"tags": [7]}, "a tag must be text"),
        ({"correlation_id": "\ud800"}, "correlation_id has a NUL or a lone surrogate"),
        ({"meta": [1]}, "meta must be a dict, not list"),
        ({"pending": 1}, "pending must be True or False"),
        ({"colour": "red"}, "no such option: 'colour'; there are queue, priority, delay, at, max_attempts"),
    ],
    ids=str,
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigurationError, match=message):
        send.options(**options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"priority": 9}, "priority must be"),
        ({"timeout": -1}, "timeout must be"),
        ({"retry": 5}, "retry of mail must be a RetryPolicy"),
        ({"aliases": "old"}, "aliases of mail must be a list of names"),
        ({"kind": ""}, "kind must have 1 to 200 characters"),
        ({"colour": "red"}, "@app.job has no option 'colour'; there are kind, aliases, queue"),
        ({"delay": 5}, r"others go to .options\(\)"),
    ],
    ids=str,
)
def test_wrong_options_of_the_decorator(options, message):
    with pytest.raises(ConfigurationError, match=message):
        App("sqlite:///never-opened.db").job(**({"kind": "mail"} | options))(lambda: None)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"prefix": "Bad-"}, "the table prefix"),
        ({"lease": 0}, "lease must be at least 1 s"),
        ({"max_attempts": 0}, "max_attempts must be"),
        ({"payload_limit": -1}, "payload_limit must be"),
        ({"synchronous": "OFF"}, "synchronous must be one of"),
        ({"database": "no url"}, "database URL"),
        ({"database": "oracle://x"}, "does not know 'oracle'"),
        ({"database": 7}, "must be a URL or a SQLAlchemy Engine"),
    ],
    ids=str,
)
def test_wrong_options_of_the_app_fail_where_they_are_written(options, message):
    with pytest.raises(ConfigurationError, match=message):
        App(**({"database": "sqlite:///never-opened.db"} | options))
