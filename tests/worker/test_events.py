"""`app.on`: every worker of an app tells whoever subscribed to the app."""

import os
import threading

import pytest

from rowqueue import App, ConfigurationError
from rowqueue.worker import Worker, events
from tests.worker.harness import Running, drain


def test_every_worker_of_the_app_tells_what_happened(app: App):
    @app.job(kind="e")
    def handler(number: int) -> int:
        return 1 // number

    heard: list[events.Event] = []
    ended: list[tuple[str, str]] = []
    app.on(heard.append)
    app.on(lambda event: ended.append((type(event).__name__, event.state)), events.Finished)
    jobs = handler.options(max_attempts=1).enqueue_many([(0,), (1,)])
    first = drain(app, worker_id="first")
    handler.enqueue(1)
    second = drain(app, worker_id="second")
    assert heard == first.seen + second.seen
    assert sorted(ended) == [("Completed", "completed")] * 2 + [("Failed", "discarded")]
    assert {event.job.id for event in heard if isinstance(event, events.Failed)} == {jobs[0].job.id}
    starts = [event for event in heard if isinstance(event, events.WorkerStarted)]
    assert [start.worker for start in starts] == ["first", "second"]


def test_it_is_called_in_the_workers_loop_and_a_listener_that_raises_changes_nothing(app: App, caplog):
    @app.job(kind="e")
    def handler() -> None: ...

    threads: set[str] = set()

    def broken(event: events.JobEvent) -> None:
        threads.add(threading.current_thread().name)
        raise ValueError(event.job.kind)

    assert app.on(broken, events.Started, events.Completed) is broken
    handler.enqueue()
    with Running(app) as running:
        running.wait_for(events.Completed)
    assert threads == {"the worker's loop"}
    assert caplog.text.count("a listener of") == 2


def test_a_listener_may_enqueue_and_stop(app: App):
    """The callback runs between two steps of the loop, so that all of the API may be used, as long as it is quick."""
    worker = Worker(app, queues=["default"], poll=0.05)

    @app.job(kind="e")
    async def handler(number: int) -> None: ...

    def follow(event: events.Completed) -> None:
        if event.job.args == {"number": 1}:
            handler.enqueue(2)
        else:
            worker.stop()

    app.on(follow, events.Completed)
    handler.enqueue(1)
    assert worker.run() == 0
    assert worker.counts[events.Completed] == 2


def test_other_apps_and_workers_of_tables_alone_say_nothing(app: App, database_url):
    heard: list[events.Event] = []
    app.on(heard.append)
    other = App(database_url)

    @other.job(kind="e")
    def handler() -> None: ...

    handler.enqueue()
    drain(other)
    other.close()
    assert heard == []


@pytest.mark.parametrize("wrong", ["Failed", events.Failed("job", "state", "error", 0)])  # type: ignore[arg-type]
def test_what_is_no_class_is_refused_at_once(sqlite_url, wrong):
    app = App(sqlite_url)
    with pytest.raises(ConfigurationError, match=r"app\.on\(print, events\.Failed\)"):
        app.on(print, wrong)
    with pytest.raises(ConfigurationError, match="takes a function"):
        app.on(None, events.Failed)  # type: ignore[arg-type]
    assert app.listeners == ()


def test_what_is_no_event_is_refused_by_the_worker(app: App):
    @app.job(kind="e")
    def handler() -> None: ...

    app.on(print, int)
    with pytest.raises(ConfigurationError, match="<class 'int'> is no event"):
        Worker(app).run()
    with pytest.raises(ConfigurationError, match="is no event"):
        Worker(App(str(app.stores.database.url)), queues=["q"]).on(print, os.PathLike)
