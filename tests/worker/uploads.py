"""A table of the user's with a column for everything, made and read past the store."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from rowqueue import (
    App,
    Column,
    JobTable,
    RetryPolicy,
)
from tests.support.stores import driver_url
from tests.worker.harness import past


@dataclass
class Upload:
    id: int
    size: int
    state: str


_MOMENTS: dict[str, Any] = {
    "sqlite": sa.BigInteger(),
    "postgresql": sa.DateTime(timezone=True),
    "mariadb": mysql.DATETIME(fsp=6),
}


class Uploads:
    """A table with a column for everything, made and read past the store."""

    def __init__(self, app: App, url: str) -> None:
        self.app = app
        self.engine = sa.create_engine(driver_url(url))
        moment = _MOMENTS[self.engine.dialect.name]
        numbers = ("size", "lease", "attempt", "failures", "rescues", "snoozes")
        moments = ("leased_until", "scheduled_at", "finalized_at", "cancel_requested_at")
        self.table = sa.Table(
            "uploads",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("state", sa.Text, nullable=False),
            *(sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in numbers),
            *(sa.Column(name, moment) for name in moments),
            sa.Column("attempted_by", sa.Text),
            sa.Column("message", sa.Text),
        )
        self.table.metadata.create_all(self.engine)
        states = {"available": "queued", "running": "busy", "completed": "done", "discarded": "bad"}
        mapping = JobTable(
            "uploads",
            columns={"errors": Column("message", "message")},
            states={**states, "cancelled": "cancelled"},
            order_by=lambda t: t.c.id,
            record=lambda row: Upload(row["id"], row["size"], row["state"]),
        )
        self.store = app.table("uploads", mapping, retry=RetryPolicy.constant(0), max_failures=3)

    def add(self, *sizes: int) -> None:
        with self.engine.begin() as connection:
            for size in sizes:
                connection.execute(self.table.insert().values(state="queued", size=size))

    def column(self, name: str) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.scalars(sa.select(self.table.c[name]).order_by(self.table.c.id)))

    def set(self, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.update(self.table).values(**values))

    @property
    def past(self) -> Any:
        return sa.text(past(self.engine.dialect.name))
