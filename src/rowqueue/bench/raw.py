"""The plain loops: the least that a driver can do with the same rows of the same table.

Claim a batch and mark it running; decode the arguments; mark it completed by key. No fence in the second write, no
answers, no errors, no renewal, no other process that could be told.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from rowqueue.bench.options import BATCH, KIND, QUEUE
from rowqueue.bench.place import Place
from rowqueue.store.database import Database

_COLUMNS = "kind, queue, state, priority, args, scheduled_at, max_attempts, created_at"
_CHANNEL = "rowqueue_bench"


def _args(number: int) -> str:
    return json.dumps({"number": number}, separators=(",", ":"))


class Raw(Protocol):
    """One database's plain statements."""

    connection: Any
    bulk_by: str
    """What a bulk enqueue is here."""

    def one(self, number: int) -> None:
        """Insert one row and commit."""

    def bulk(self, numbers: Iterable[int]) -> None:
        """Insert many in one transaction, as fast as the driver can."""

    def claim(self, limit: int = BATCH) -> list[tuple[int, int]]:
        """Mark so many running; their keys and arguments."""
        ...

    def complete(self, keys: Sequence[int]) -> None:
        """Mark them completed."""

    def send(self, number: int) -> None:
        """Insert one row and tell who waits."""

    def listen(self) -> None:
        """Before ``wait``."""

    def wait(self) -> None:
        """Until there may be something to claim."""

    def seconds(self) -> float:
        """From the first claim to the last completion of all rows, by their own columns."""
        ...

    def empty(self) -> None:
        """Delete all rows."""

    def settle(self) -> None:
        """Statistics as a table in use would have them."""


def drain(raw: Raw) -> list[int]:
    """Work all that is there; the arguments."""
    done: list[int] = []
    while claimed := raw.claim():
        done += [number for _, number in claimed]
        raw.complete([key for key, _ in claimed])
    return done


class RawPostgres:
    """psycopg 3, statements prepared by it."""

    bulk_by = "COPY"

    def __init__(self, place: Place) -> None:
        self.connection = Database(place.url).connect()
        self._table = table = f'"{place.schema}"."{place.prefix}job"'
        values = f"'{KIND}', '{QUEUE}', 'available', 2, %s, now(), 25, now()"
        self._insert = f"INSERT INTO {table} ({_COLUMNS}) VALUES ({values}) RETURNING id"
        self._claim = (
            f"UPDATE {table} SET state = 'running', attempt = attempt + 1, lease = lease + 1, attempted_at = now(), "
            f"leased_until = now() + interval '30 seconds' WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} "
            f"WHERE state = 'available' AND queue = '{QUEUE}' ORDER BY priority, scheduled_at, id LIMIT %s "
            "FOR UPDATE SKIP LOCKED)) RETURNING id, args"
        )
        self._end = f"UPDATE {table} SET state = 'completed', leased_until = NULL, finalized_at = now() WHERE id = ANY(%s)"

    def one(self, number: int) -> None:
        """Insert one row and commit."""
        self.connection.execute(self._insert, [_args(number)]).fetchone()

    def bulk(self, numbers: Iterable[int]) -> None:
        """COPY."""
        now = self.connection.execute("SELECT now()").fetchone()[0]
        with (
            self.connection.cursor() as cursor,
            cursor.copy(f"COPY {self._table} ({_COLUMNS}) FROM STDIN") as copy,
        ):
            for number in numbers:
                copy.write_row((KIND, QUEUE, "available", 2, _args(number), now, 25, now))

    def claim(self, limit: int = BATCH) -> list[tuple[int, int]]:
        """Mark so many running."""
        rows = self.connection.execute(self._claim, [limit]).fetchall()
        return [(key, args["number"]) for key, args in rows]

    def complete(self, keys: Sequence[int]) -> None:
        """Mark them completed."""
        self.connection.execute(self._end, [keys])

    def listen(self) -> None:
        """LISTEN."""
        self.connection.execute(f"LISTEN {_CHANNEL}")

    def send(self, number: int) -> None:
        """Insert one row and notify, in one transaction."""
        with self.connection.transaction(), self.connection.pipeline():
            self.connection.execute(self._insert, [_args(number)])
            self.connection.execute(f"NOTIFY {_CHANNEL}")

    def wait(self) -> None:
        """For a notification."""
        for _ in self.connection.notifies(timeout=0.5, stop_after=1):
            pass

    def seconds(self) -> float:
        """By the server's clock."""
        asked = f"SELECT extract(epoch FROM max(finalized_at) - min(attempted_at)) FROM {self._table}"
        return float(self.connection.execute(asked).fetchone()[0])

    def empty(self) -> None:
        """Delete all rows."""
        self.connection.execute(f"TRUNCATE {self._table}")

    def settle(self) -> None:
        """Statistics."""
        self.connection.execute(f"ANALYZE {self._table}")


class RawSQLite:
    """The standard library's sqlite3."""

    bulk_by = "executemany in one transaction"

    def __init__(self, place: Place) -> None:
        self.connection = Database(place.url).connect()
        self._table = table = f"{place.prefix}job"
        values = f"'{KIND}', '{QUEUE}', 'available', 2, ?, ?, 25, ?"
        self._insert = f"INSERT INTO {table} ({_COLUMNS}) VALUES ({values})"
        self._claim = (
            f"UPDATE {table} SET state = 'running', attempt = attempt + 1, lease = lease + 1, attempted_at = ?1, "
            f"leased_until = ?1 + 30000000 WHERE id IN (SELECT id FROM {table} WHERE state = 'available' "
            f"AND queue = '{QUEUE}' ORDER BY priority, scheduled_at, id LIMIT ?2) RETURNING id, args"
        )
        self._end = (
            f"UPDATE {table} SET state = 'completed', leased_until = NULL, finalized_at = ? WHERE id = ?"
        )

    def one(self, number: int) -> None:
        """Insert one row and commit."""
        now = _micros()
        self.connection.execute(self._insert, (_args(number), now, now))

    send = one

    def bulk(self, numbers: Iterable[int]) -> None:
        """One transaction."""
        now = _micros()
        with self._transaction():
            self.connection.executemany(self._insert, ((_args(number), now, now) for number in numbers))

    def claim(self, limit: int = BATCH) -> list[tuple[int, int]]:
        """Mark so many running."""
        rows = self.connection.execute(self._claim, (_micros(), limit)).fetchall()
        return [(key, json.loads(args)["number"]) for key, args in rows]

    def complete(self, keys: Sequence[int]) -> None:
        """Mark them completed."""
        now = _micros()
        with self._transaction():
            self.connection.executemany(self._end, [(now, key) for key in keys])

    def listen(self) -> None:
        """There is nothing to listen to."""

    def wait(self) -> None:
        """A poll each millisecond."""
        time.sleep(0.001)

    def seconds(self) -> float:
        """By this machine's clock."""
        asked = f"SELECT (max(finalized_at) - min(attempted_at)) / 1e6 FROM {self._table}"
        return float(self.connection.execute(asked).fetchone()[0])

    def empty(self) -> None:
        """Delete all rows, and begin a new log."""
        self.connection.execute(f"DELETE FROM {self._table}")
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def settle(self) -> None:
        """Nothing: SQLite's plans here do not depend on statistics."""

    @contextlib.contextmanager
    def _transaction(self) -> Any:
        self.connection.execute("BEGIN IMMEDIATE")
        yield
        self.connection.execute("COMMIT")


class RawMariaDB:
    """PyMySQL."""

    bulk_by = "multi-row INSERT"

    def __init__(self, place: Place) -> None:
        self.connection = Database(place.url).connect()
        self._cursor = self.connection.cursor()
        self._table = table = f"`{place.prefix}job`"
        values = f"'{KIND}', '{QUEUE}', 'available', 2, %s, UTC_TIMESTAMP(6), 25, UTC_TIMESTAMP(6)"
        self._insert = f"INSERT INTO {table} ({_COLUMNS}) VALUES ({values})"
        self._choose = (
            f"SELECT id, args FROM {table} FORCE INDEX ({place.prefix}job_claim) WHERE state = 'available' "
            f"AND queue = '{QUEUE}' ORDER BY priority, scheduled_at, id LIMIT %s FOR UPDATE SKIP LOCKED"
        )
        self._take = (
            f"UPDATE {table} SET state = 'running', attempt = attempt + 1, lease = lease + 1, "
            "attempted_at = UTC_TIMESTAMP(6), leased_until = UTC_TIMESTAMP(6) + INTERVAL 30 SECOND WHERE id IN %s"
        )
        self._end = (
            f"UPDATE {table} SET state = 'completed', leased_until = NULL, finalized_at = UTC_TIMESTAMP(6) "
            "WHERE id IN %s"
        )

    def one(self, number: int) -> None:
        """Insert one row and commit."""
        self._cursor.execute(self._insert, [_args(number)])

    send = one

    def bulk(self, numbers: Iterable[int]) -> None:
        """PyMySQL writes one INSERT of many rows."""
        with self._transaction():
            self._cursor.executemany(self._insert, [[_args(number)] for number in numbers])

    def claim(self, limit: int = BATCH) -> list[tuple[int, int]]:
        """Lock so many and mark them running."""
        with self._transaction():
            self._cursor.execute(self._choose, [limit])
            rows = [(key, json.loads(args)["number"]) for key, args in self._cursor.fetchall()]
            if rows:
                self._cursor.execute(self._take, [[key for key, _ in rows]])
        return rows

    def complete(self, keys: Sequence[int]) -> None:
        """Mark them completed."""
        self._cursor.execute(self._end, [keys])

    def listen(self) -> None:
        """There is nothing to listen to."""

    def wait(self) -> None:
        """A poll each 5 milliseconds."""
        time.sleep(0.005)

    def seconds(self) -> float:
        """By the server's clock."""
        self._cursor.execute(
            f"SELECT TIMESTAMPDIFF(MICROSECOND, min(attempted_at), max(finalized_at)) / 1e6 FROM {self._table}"
        )
        return float(self._cursor.fetchone()[0])

    def empty(self) -> None:
        """Delete all rows."""
        self._cursor.execute(f"TRUNCATE TABLE {self._table}")

    def settle(self) -> None:
        """Statistics."""
        self._cursor.execute(f"ANALYZE TABLE {self._table}")
        self._cursor.fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Any:
        self.connection.begin()
        yield
        self.connection.commit()


def _micros() -> int:
    return time.time_ns() // 1000


def raw_of(place: Place) -> Raw:
    """A plain connection to the tables of a place."""
    kinds: dict[str, Callable[[Place], Raw]] = {
        "postgresql": RawPostgres,
        "sqlite": RawSQLite,
        "mariadb": RawMariaDB,
    }
    return kinds[Database(place.url).name](place)
