"""gqs' rows past rowqueue, and what its tests share."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from rowqueue.profiles.gqs import (
    Gqs,
    Job,
    Message,
)
from tests.support.stores import Raw


class Table:
    """gqs' rows past rowqueue: what a Go process would see and write."""

    def __init__(self, rows: Raw) -> None:
        self.rows = rows

    def moment(self, seconds: float) -> str:
        """Now and so many seconds, as SQL text for what gqs itself stores."""
        if self.rows.is_sqlite:
            return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '{seconds} seconds') || '+00:00'"
        return f"now() + interval '1 second' * ({seconds})"

    def set(self, id_: UUID, **columns: str) -> None:
        changes = ", ".join(f"{name} = {value}" for name, value in columns.items())
        self.rows.execute(f"UPDATE jobs SET {changes} WHERE id = '{id_}'")

    def expire(self, id_: UUID) -> None:
        self.set(id_, locked_until=self.moment(-1))

    def due(self, id_: UUID) -> None:
        self.set(id_, next_run_at=self.moment(-1))

    def insert(self, *, count: int = 1, status: int = 1, payload: str = "", metadata: str = "{}") -> None:
        """As Go's pusher inserts."""
        now = self.moment(0)
        given = (
            "hex(randomblob(4)) || '-' || hex(randomblob(6))" if self.rows.is_sqlite else "gen_random_uuid()"
        )
        numbers = (
            f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n)"
            if self.rows.is_sqlite
            else f"(SELECT generate_series(1, {count}))"
        )
        if self.rows.is_sqlite:
            text = "lower(hex(randomblob(16)))"
            given = (
                f"(SELECT substr(x, 1, 8) || '-' || substr(x, 9, 4) || '-' || substr(x, 13, 4) || '-' ||"
                f" substr(x, 17, 4) || '-' || substr(x, 21) FROM (SELECT {text} AS x WHERE n.i > 0))"
            )
        names = "id, created_at, updated_at, status, attempts, next_run_at, metadata, payload"
        blob = f"x'{payload}'" if self.rows.is_sqlite else f"'\\x{payload}'::bytea"
        self.rows.execute(
            f"INSERT INTO jobs ({names}) SELECT {given}, {now}, {now}, {status}, 0, {now}, '{metadata}', {blob}"
            f" FROM {numbers} AS n(i)"
            if not self.rows.is_sqlite
            else f"INSERT INTO jobs ({names}) SELECT {given}, {now}, {now}, {status}, 0, {now}, '{metadata}', {blob}"
            f" FROM {numbers} AS n"
        )


def pulled(queue: Gqs, **message: Any) -> Job:
    queue.pusher.push(Message(**message))
    (job,) = queue.puller.pull(1, 30)
    return job


def seconds_from_now(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - datetime.now(UTC)).total_seconds()
