"""Two destinations over one table: each item is fetched, then indexed, and new items are kept up with.

python examples/pipeline.py
"""

from __future__ import annotations

import os
import threading

import sqlalchemy as sa

import rowqueue
from rowqueue.worker.events import Completed

URL = os.environ.get("DATABASE_URL", "sqlite:///pipeline.db")

app = rowqueue.App(URL)
engine = sa.create_engine(URL)
metadata = sa.MetaData()
items = sa.Table(
    "items",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("text", sa.Text),
    sa.Column("words", sa.Integer),
)


@app.job(kind="pipeline.fetch", queue="fetch")
def fetch(context: rowqueue.Context, item_id: int, name: str) -> None:
    text = f"this is what {name} says"  # a download, in real life
    with engine.begin() as connection:
        connection.execute(sa.update(items).where(items.c.id == item_id).values(text=text))
        context.complete_in(connection)


@app.job(kind="pipeline.index", queue="index")
def index(context: rowqueue.Context, item_id: int, text: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(items).where(items.c.id == item_id).values(words=len(text.split())))
        context.complete_in(connection)


# The ledger of each destination says which rows had their job, for ever: pruned jobs are not made again.
app.backfill("fetch", fetch, sa.select(items.c.id, items.c.name))
app.backfill("index", index, sa.select(items.c.id, items.c.text).where(items.c.text.is_not(None)))


def add(*names: str) -> None:
    """New items: nobody enqueues anything."""
    with engine.begin() as connection:
        connection.execute(items.insert(), [{"name": name} for name in names])


def follow(stop: threading.Event) -> list[threading.Thread]:
    """Keep up with both; as many processes as you like may do it at once."""
    options = {"follow": True, "poll": 0.05, "rescan": 0.1, "stop": stop}
    threads = [
        threading.Thread(target=backfill.run, kwargs=options, name=name)
        for name, backfill in app.backfills.items()
    ]
    for thread in threads:
        thread.start()
    return threads


def main() -> None:
    metadata.create_all(engine)
    app.init()
    add("ada", "bob")
    worker = rowqueue.Worker(app, poll=0.05)
    indexed: list[int] = []

    def count(event: Completed) -> None:
        if event.job.kind == index.kind:
            indexed.append(event.job.args["item_id"])
            if len(indexed) == 2:
                add("cy", "dee", "eve")  # while everything runs
            if len(indexed) == 5:
                worker.stop()

    worker.on(count, Completed)
    stop = threading.Event()
    threads = follow(stop)
    worker.run()
    stop.set()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        for row in connection.execute(sa.select(items).order_by(items.c.id)):
            print(f"{row.name}: {row.words} words")
    print("jobs:", len(app.store.list(limit=100).jobs))
    app.close()
    engine.dispose()


if __name__ == "__main__":
    main()
