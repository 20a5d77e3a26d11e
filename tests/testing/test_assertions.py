"""Assertions about what was enqueued, and what they say when they fail."""

import pytest

from rowqueue import App, InvalidArguments, State
from rowqueue.core.values import NewJob
from rowqueue.testing import harness


@pytest.fixture
def mail(app: App):
    @app.job(kind="mail", queue="mail")
    def mail(user: int, subject: str = "hi") -> None: ...

    return mail


@pytest.fixture
def other(app: App):
    @app.job(kind="other")
    def other(queue: str = "") -> None: ...

    return other


def test_what_was_enqueued_is_found(app: App, mail, other):
    with harness(app) as jobs:
        first = mail.enqueue(7).job
        second = mail.options(queue="bulk").enqueue(7, subject="news").job
        assert [job.id for job in jobs.assert_enqueued(mail)] == [first.id, second.id]
        assert jobs.assert_enqueued(mail, 7, queue="bulk") == [app.store.get(second.id)]
        assert jobs.assert_enqueued(mail, user=7, subject="news", count=1)[0].id == second.id
        jobs.assert_enqueued(mail.args(7), count=2)
        jobs.refute_enqueued(mail, 8)
        jobs.refute_enqueued(mail, 7, queue="default")
        jobs.refute_enqueued(other)
        jobs.assert_enqueued(other, count=0)
        other.enqueue(queue="mine")
        jobs.assert_enqueued(other.args(queue="mine"), queue="default")  # its own parameter is called queue
        assert [job.kind for job in jobs.all_enqueued(queue="default")] == ["other"]
        assert jobs.all_enqueued(mail, state=State.COMPLETED) == []
        jobs.drain()
        assert len(jobs.all_enqueued(mail, state=State.COMPLETED)) == 2
        jobs.assert_enqueued(mail, 7)  # it was, whatever became of it


def test_failing_says_what_was_there(app: App, mail, other):
    with harness(app) as jobs:
        with pytest.raises(AssertionError, match=r"^mail\(\) was not enqueued, but:\n  nothing$"):
            jobs.assert_enqueued(mail)
        mail.enqueue(8)
        with pytest.raises(AssertionError) as failed:
            jobs.assert_enqueued(mail, 7, queue="bulk")
        assert str(failed.value) == (
            "mail(user=7) in queue bulk was not enqueued, but:\n  mail(user=8) in queue mail, available"
        )
        with pytest.raises(AssertionError, match="1 times, not 2"):
            jobs.assert_enqueued(mail, 8, count=2)
        with pytest.raises(AssertionError, match=r"mail\(user=8\) was enqueued"):
            jobs.refute_enqueued(mail, 8)
        with pytest.raises(InvalidArguments):  # a mistake in the test must not pass as "not enqueued"
            jobs.refute_enqueued(mail, "eight")


def test_only_jobs_of_this_test_are_seen_all_of_them(app: App, mail):
    mail.enqueue(1)
    with harness(app) as jobs:
        assert jobs.all_enqueued() == []
        app.store.enqueue_many([NewJob(kind="mail", args={"user": n}) for n in range(1200)])
        assert [job.args["user"] for job in jobs.all_enqueued()] == list(range(1200))
        with pytest.raises(AssertionError, match="and 1180 more"):
            jobs.assert_enqueued(mail, 5000)
