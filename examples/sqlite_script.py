"""A plain script: orders and the jobs that bill them commit together, in one SQLite file.

python examples/sqlite_script.py
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import rowqueue

FILE = Path("shop.db")

app = rowqueue.App(f"sqlite:///{FILE}")


@app.job(queue="bills", retry=rowqueue.RetryPolicy.constant(60))
def bill(order_id: int) -> str:
    with closing(sqlite3.connect(FILE)) as connection:
        item, price = connection.execute("SELECT item, price FROM orders WHERE id = ?", [order_id]).fetchone()
        with connection:
            connection.execute("UPDATE orders SET billed = 1 WHERE id = ?", [order_id])
    return f"{item}: {price:.2f}"


def order(connection: sqlite3.Connection, item: str, price: float) -> None:
    """One transaction: the row and its job, or neither."""
    with connection:
        cursor = connection.execute("INSERT INTO orders (item, price) VALUES (?, ?)", [item, price])
        assert cursor.lastrowid is not None
        bill.on(connection).enqueue(cursor.lastrowid)
        if price < 0:
            raise ValueError(f"{item} cannot cost {price}")


def main() -> None:
    app.init()
    with closing(sqlite3.connect(FILE)) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT, price REAL, billed INT DEFAULT 0)"
        )
        order(connection, "tea", 4.5)
        order(connection, "pot", 30)
        try:
            order(connection, "cup", -1)
        except ValueError as error:
            print(f"refused, and no job is left of it: {error}")
    rowqueue.Worker(app, drain=True).run()
    for job in app.store.list(kind=bill.kind).jobs:
        print(f"job {job.id} {job.state}: {job.result}")
    app.close()


if __name__ == "__main__":
    main()
