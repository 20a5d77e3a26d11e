"""Work for every row of a view that may only be read: states, leases and retries live in a sidecar table.

python examples/read_only_view.py
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import sqlalchemy as sa

from rowqueue import JobTable, RetryPolicy, State, Store

URL = os.environ.get("DATABASE_URL", "sqlite:///invoices.db")


@dataclass
class Invoice:
    """A row of the view."""

    id: int
    customer: str
    amount: int


MAPPING = JobTable("overdue_invoices", read_only=True, order_by=lambda t: t.c.amount.desc(), record=Invoice)


def send_reminders(store: Store) -> None:
    """One reminder for each overdue invoice, once; new rows are picked up without anybody enqueueing them."""
    store.refresh()  # each claim does it too, every second or so
    while claims := store.claim(5, worker="read_only_view"):
        for claim in claims:
            invoice: Invoice = claim.record
            if "@" not in invoice.customer:
                store.fail(claim, "no address", state=State.DISCARDED)
                continue
            print(f"reminded {invoice.customer} of {invoice.amount}")
            store.complete(claim).or_raise()


def main() -> None:
    engine = sa.create_engine(URL)
    with engine.begin() as connection:  # the application's tables, of which this program only reads the view
        connection.exec_driver_sql(
            "CREATE TABLE invoices (id integer PRIMARY KEY, customer text, amount integer, paid integer)"
        )
        connection.exec_driver_sql(
            "CREATE VIEW overdue_invoices AS SELECT id, customer, amount FROM invoices WHERE paid = 0"
        )
        connection.exec_driver_sql(
            "INSERT INTO invoices VALUES (1, 'ada@x.org', 10, 0), (2, 'bob@x.org', 90, 0), (3, 'cy', 5, 0),"
            " (4, 'dee@x.org', 7, 1)"
        )
    store = Store(URL, MAPPING, retry=RetryPolicy.constant(3600))
    store.init()
    send_reminders(store)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE invoices SET paid = 0 WHERE id = 4")  # its payment bounced
        connection.exec_driver_sql("INSERT INTO invoices VALUES (5, 'eve@x.org', 1, 0)")
    send_reminders(store)
    for job in store.list(limit=10).jobs:
        print(f"invoice {job.id}: {job.state}")
    store.close()
    engine.dispose()


if __name__ == "__main__":
    main()
