"""A held job that leaves an effect in the database; and a worker process that runs one.

`python -m tests.worker.held_jobs URL LEASE` works the job of kind `work`, which says `held` and waits to be killed.
"""

import inspect
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import sqlalchemy as sa

from rowqueue import App, Context
from rowqueue.worker import Worker
from tests.worker.harness import raw_connection

Effects: TypeAlias = Callable[[], list[int]]


def effects_in(url: str) -> Effects:
    """A table of the user's own in the same database, and what is in it."""
    with raw_connection(url) as connection:
        connection.execute("DROP TABLE IF EXISTS effect")
        connection.execute("CREATE TABLE effect (n integer)")

    def there() -> list[int]:
        with raw_connection(url) as connection:
            return [n for (n,) in connection.execute("SELECT n FROM effect ORDER BY n").fetchall()]

    return there


def held(app: App, way: str, then: Callable[[Context], Any], **options: Any) -> Any:
    """A held job, def or async def, that leaves an effect and then does something; it returns what that returns."""
    insert = sa.text("INSERT INTO effect VALUES (:n)")

    def work(context: Context, n: int) -> Any:
        context.connection.execute(insert, {"n": n})
        return then(context)

    async def work_async(context: Context, n: int) -> Any:
        await context.connection.execute(insert, {"n": n})
        answer = then(context)
        return await answer if inspect.isawaitable(answer) else answer

    function = work if way == "def" else work_async
    return app.job(kind="work", claim="held", **options)(function)


def _run(url: str, way: str) -> None:
    app = App(url)

    def wait(_: Context) -> None:
        print("held", flush=True)
        threading.Event().wait()

    held(app, way, wait)
    Worker(app, poll=0.05, renew=0.3, lease=3600).run()


if __name__ == "__main__":
    _run(sys.argv[1], sys.argv[2])
