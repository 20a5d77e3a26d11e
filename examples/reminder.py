"""A reminder without a scheduler: a job with a delay. It can be moved and called off until it rings.

python examples/reminder.py
"""

from __future__ import annotations

import os
from datetime import timedelta

import rowqueue

app = rowqueue.App(os.environ.get("DATABASE_URL", "sqlite:///reminders.db"))


@app.job(queue="reminders")
def remind(task: str) -> None:
    print(f"remember: {task}", flush=True)


def set_reminder(task: str, delay: timedelta) -> None:
    """Remind of a task once; a second reminder of the same task replaces the first."""
    call_off(task)
    remind.options(delay=delay, unique_key=f"remind {task}", correlation_id=task).enqueue(task)


def call_off(task: str) -> bool:
    """Call a reminder off; False when there is none, or when it rings already."""
    waiting = app.store.list(kind=remind.kind, correlation_id=task, state=rowqueue.State.SCHEDULED).jobs
    return any(outcome.done for outcome in app.store.cancel_many([job.id for job in waiting], "called off"))


def main() -> None:
    app.init()
    set_reminder("call Ada", timedelta(days=30))
    set_reminder("call Ada", timedelta(seconds=0.2))  # sooner, instead
    set_reminder("pay the rent", timedelta(seconds=0.1))
    set_reminder("visit the dentist", timedelta(days=7))
    print("called off:", call_off("visit the dentist"))

    worker = rowqueue.Worker(app, concurrency=1)  # sleeps until the next one is due, however long its poll
    rang: list[object] = []

    def stop_after_two(event: object) -> None:
        rang.append(event)
        if len(rang) == 2:
            worker.stop()

    from rowqueue.worker.events import Completed

    worker.on(stop_after_two, Completed)
    worker.run()
    app.close()


if __name__ == "__main__":
    main()
