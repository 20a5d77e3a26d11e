"""How the jobs and their table fare: facts for ``doctor``, without a judgement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rowqueue.core.errors import StoreError
from rowqueue.core.values import WorkerInfo
from rowqueue.operations import reading
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.sql.compiled import Rows
from rowqueue.sql.statements import health as sql
from rowqueue.sql.statements._parts import Parts
from rowqueue.sql.statements.catalog import Statements


@dataclass(frozen=True, slots=True)
class Waiting:
    """Jobs of one queue and kind that are ready, or will be soon; times in seconds."""

    queue: str
    kind: str
    ready: int
    longest: float | None
    soon: int
    age: float


@dataclass(frozen=True, slots=True)
class Jobs:
    """How the jobs fare: what waits, for whom, and what nobody looks after."""

    waiting: tuple[Waiting, ...]
    workers: tuple[WorkerInfo, ...]
    paused: frozenset[str]
    expired: int
    overdue: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """One open or prepared transaction of PostgreSQL's; ``seconds`` old."""

    who: str
    role: str
    program: str
    state: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Postgres:
    """A PostgreSQL server, and how it keeps the job table.

    ``wanted`` are the settings that ``init`` gives it, ``settings`` those it has; ``vacuumed`` is
    how many seconds ago, None where never; ``hidden`` are connections that this role may not see.
    """

    version: int
    read_only: bool
    autovacuum: bool
    pid: int
    wanted: dict[str, str]
    settings: dict[str, str]
    live: int
    dead: int
    vacuumed: float | None
    invalid: tuple[str, ...]
    transactions: tuple[Transaction, ...]
    hidden: int


@dataclass(frozen=True, slots=True)
class MariaDB:
    """A MariaDB or MySQL server: its version as it says it, whether it only reads, how far a commit reaches.

    ``transactions`` are the long ones: connection, age (seconds) and rows locked; None where this user may not see.
    """

    version: str
    read_only: bool
    flush: int
    transactions: tuple[tuple[int, int, int], ...] | None


@dataclass(frozen=True, slots=True)
class SQLite:
    """An SQLite file: the journal's mode, and the level of ``synchronous``."""

    journal: str
    synchronous: int


def jobs(margin: float) -> Operation[Jobs]:
    """What waits and for whom.

    Args:
        margin: how late is late (seconds).
    """

    def steps(s: Statements) -> Steps[Jobs]:
        waiting = yield from _ask(s, sql.waiting, margin=margin)
        neglected = yield from _ask(s, sql.neglected, margin=-margin)
        workers = yield from reading.workers().steps(s)
        queues = yield from reading.queues().steps(s)
        expired, overdue = neglected[0]
        return Jobs(
            tuple(Waiting(*row) for row in waiting),
            tuple(workers),
            frozenset(queue.name for queue in queues if queue.paused_at is not None),
            expired,
            overdue,
        )

    return Operation(steps, Access.READ)


def postgres(age: float) -> Operation[Postgres]:
    """How a PostgreSQL server keeps the table.

    Args:
        age: how old a transaction is long (seconds).
    """

    def steps(s: Statements) -> Steps[Postgres]:
        ((version, read_only, autovacuum, pid),) = yield from _ask(s, sql.server)
        ((options, live, dead, vacuumed),) = yield from _ask(s, sql.upkeep)
        invalid = yield from _ask(s, sql.invalid_indexes)
        transactions = yield from _ask(s, sql.long_transactions, age=age)
        ((hidden,),) = yield from _ask(s, sql.hidden_backends)
        return Postgres(
            version=version,
            read_only=read_only,
            autovacuum=autovacuum,
            pid=pid,
            wanted=sql.vacuum_settings(s.parts),
            settings=dict(option.split("=", 1) for option in options or ()),
            live=live or 0,
            dead=dead or 0,
            vacuumed=vacuumed,
            invalid=tuple(name for (name,) in invalid),
            transactions=tuple(Transaction(*row) for row in transactions),
            hidden=hidden,
        )

    return Operation(steps, Access.READ)


def mariadb(age: float) -> Operation[MariaDB]:
    """How a MariaDB or MySQL server is kept.

    Args:
        age: how old a transaction is long (seconds).
    """

    def steps(s: Statements) -> Steps[MariaDB]:
        ((version, read_only, flush),) = yield from _ask(s, sql.maria_server)
        transactions: tuple[Any, ...] | None = None
        with suppress(StoreError):
            transactions = tuple((yield from _ask(s, sql.maria_transactions, age=age)))
        return MariaDB(version.removeprefix("5.5.5-"), bool(read_only), flush, transactions)

    return Operation(steps, Access.READ)


def sqlite() -> Operation[SQLite]:
    """How an SQLite file is kept, as a connection that writes sees it."""

    def steps(s: Statements) -> Steps[SQLite]:
        rows = yield from _ask(s, sql.pragmas)
        return SQLite(*rows[0])

    return Operation(steps, Access.READ)


def quick_check() -> Operation[Sequence[str]]:
    """Read a whole SQLite file for damage; returns the faults."""

    def steps(s: Statements) -> Steps[Sequence[str]]:
        rows = yield from _ask(s, sql.quick_check)
        return [str(row[0]) for row in rows if row[0] != "ok"]

    return Operation(steps, Access.READ)


def _ask(s: Statements, build: Callable[[Parts], Any], **values: Any) -> Steps[Rows]:
    return (yield s.compile(f"doctor_{build.__name__}", build(s.parts)).call(values))
