"""How the jobs and their table fare, judged: each finding says what was seen and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rowqueue.core.values import Finding
from rowqueue.operations import health
from rowqueue.operations.health import Jobs, MariaDB, Postgres
from rowqueue.sql.statements.catalog import Statements
from rowqueue.store import pooler
from rowqueue.store.database import Database
from rowqueue.store.pools import Pool

LATE = 60.0
"""Seconds after which a job that nobody takes, or a worker that nobody hears, is something wrong."""

LONG = 300.0
"""Seconds after which an open transaction is long: until it ends, vacuum keeps what it could see."""

_OLDEST = 150_000
_SLACK = 10  # how many vacuums may be missing before the table is said to bloat
_WAL = 256 * 1024 * 1024


def examine(database: Database, statements: Statements, pool: Pool) -> Iterator[Finding]:
    """Look at the jobs of the default table and at the database under it."""
    if database.name == "sqlite":
        yield from _sqlite(database, pool)
    elif database.name == "mariadb":
        yield from _mariadb(pool.run(health.mariadb(LONG)))
    else:
        facts = pool.run(health.postgres(LONG))
        yield from _server(facts)
        quote = statements.driver.identifier_preparer.format_table
        yield from _vacuum(facts, str(quote(statements.parts.tables.job)))
        yield from pooler.examine(database)
    yield from _jobs(pool.run(health.jobs(LATE)))


def integrity(faults: Sequence[str]) -> Finding:
    """What ``operations.health.quick_check`` found in an SQLite file."""
    if not faults:
        return Finding("integrity", ok=True, message="the file is whole")
    return Finding(
        "integrity",
        ok=False,
        message=f"the file is damaged: {faults[0]}" + (f" and {len(faults) - 1} more" if faults[1:] else ""),
        remedy="stop the workers, copy the file, and restore a backup or run sqlite3's .recover on the copy",
    )


def span(seconds: float) -> str:
    """A length of time as a person says it."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _jobs(jobs: Jobs) -> Iterator[Finding]:
    live = [worker for worker in jobs.workers if worker.silent < LATE]
    for worker in jobs.workers:
        if worker not in live:
            yield Finding(
                "worker",
                ok=False,
                message=f"{worker.id} was last heard of {span(worker.silent)} ago",
                remedy="it died or cannot reach the database; its jobs run again elsewhere, its row goes by itself",
            )
    yield Finding("worker", ok=True, message=f"{len(live)} heard of in the last {LATE:.0f} s")
    worked = {queue for worker in live for queue in worker.queues}
    ready: dict[str, list[health.Waiting]] = {}
    for row in jobs.waiting:
        ready.setdefault(row.queue, []).append(row)
    for queue, rows in ready.items():
        count, longest = sum(row.ready for row in rows), max(row.longest or 0.0 for row in rows)
        if queue in jobs.paused:
            yield Finding("queue", ok=True, message=f"{queue} is paused, {count:,} jobs wait in it")
        elif queue in worked:
            yield Finding("queue", ok=True, message=f"{queue} is worked, {count:,} jobs wait in it")
        elif count and longest > LATE:
            yield Finding(
                "queue",
                ok=False,
                message=f"no live worker takes jobs from {queue}: {count:,} wait, the first for {span(longest)}",
                remedy=f"run 'rowqueue work module:app --queue {queue}', or check the name",
            )
    for queue in sorted(worked & ready.keys()):
        known = {kind for worker in live if queue in worker.queues for kind in worker.kinds}
        for row in ready[queue]:
            if row.kind not in known and row.age > LATE:
                yield Finding(
                    "kind",
                    ok=False,
                    message=f"no live worker of {queue} knows {row.kind}: {row.soon:,} jobs wait",
                    remedy="deploy the code that has this job, name it in aliases= after a rename, or cancel them",
                )
    nobody = "no worker looks after the tables: start one, or see why those that run cannot write"
    if jobs.expired:
        late = (
            f"{jobs.expired:,} running jobs lost their worker more than {LATE:.0f} s ago and were not rescued"
        )
        yield Finding("rescue", ok=False, message=late, remedy=nobody)
    if jobs.overdue:
        late = f"{jobs.overdue:,} jobs have been due for more than {LATE:.0f} s and were not promoted"
        yield Finding("promote", ok=False, message=late, remedy=nobody)


def _server(facts: Postgres) -> Iterator[Finding]:
    version = f"PostgreSQL {facts.version // 10_000}.{facts.version % 10_000}"
    yield Finding(
        "server",
        ok=facts.version >= _OLDEST,
        message=version,
        remedy="" if facts.version >= _OLDEST else "rowqueue needs PostgreSQL 15 or newer",
    )
    if facts.read_only:
        yield Finding(
            "server",
            ok=False,
            message="it takes no writes: a standby, or default_transaction_read_only is on",
            remedy="connect to the primary (host=one,two&target_session_attrs=read-write)",
        )


def _vacuum(facts: Postgres, table: str) -> Iterator[Finding]:
    settings, wanted = facts.settings, facts.wanted
    missing = {name: value for name, value in wanted.items() if name not in settings}
    if not facts.autovacuum or settings.get("autovacuum_enabled") in {"false", "off"}:
        remedy = "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()"
        if facts.autovacuum:
            remedy = f"ALTER TABLE {table} RESET (autovacuum_enabled)"
        yield Finding("autovacuum", ok=False, message=f"autovacuum is off for {table}", remedy=remedy)
    if missing:
        words = ", ".join(f"{name} = {value}" for name, value in missing.items())
        remedy = f"ALTER TABLE {table} SET ({words})"
        yield Finding("autovacuum", ok=False, message=f"{table} lacks {', '.join(missing)}", remedy=remedy)
    else:
        yield Finding("autovacuum", ok=True, message=f"{table} has the settings of a queue")
    for name in facts.invalid:
        remedy = f"REINDEX INDEX CONCURRENTLY {name}"
        yield Finding("index", ok=False, message=f"{name} is invalid: no query uses it", remedy=remedy)
    for one in facts.transactions:
        program = f" {one.program}" if one.program else ""
        by = "ROLLBACK PREPARED" if one.state == "prepared" else f"SELECT pg_terminate_backend({one.who})"
        yield Finding(
            "transaction",
            ok=False,
            message=f"{one.who} ({one.role}{program}, {one.state}) has held vacuum back for {span(one.seconds)}",
            remedy=f"end it where it was begun, or {by}",
        )
    if facts.hidden:
        remedy = "GRANT pg_read_all_stats to this role to have them looked at"
        text = f"{facts.hidden} connections of other roles cannot be seen"
        yield Finding("transaction", ok=True, message=text, remedy=remedy)
    yield _dead(facts, table)


def _dead(facts: Postgres, table: str) -> Finding:
    settings = {**facts.wanted, **facts.settings}
    threshold = float(settings["autovacuum_vacuum_threshold"])
    due = threshold + float(settings["autovacuum_vacuum_scale_factor"]) * facts.live
    last = "never vacuumed" if facts.vacuumed is None else f"vacuumed {span(facts.vacuumed)} ago"
    message = f"{table} has {facts.dead:,} dead rows beside {facts.live:,} live ones, {last}"
    if facts.dead <= _SLACK * due:
        return Finding("dead rows", ok=True, message=message)
    remedy = f"end what holds vacuum back (see above), then VACUUM {table}"
    return Finding("dead rows", ok=False, message=message, remedy=remedy)


def _mariadb(facts: MariaDB) -> Iterator[Finding]:
    maria = "MariaDB" in facts.version
    number = tuple(int(part) for part in re.findall(r"\d+", facts.version)[:2])
    name = f"{'MariaDB' if maria else 'MySQL'} {'.'.join(map(str, number))}"
    new = number >= ((10, 6) if maria else (8, 0))
    remedy = "" if new else "rowqueue needs MariaDB 10.6 or MySQL 8.0, or newer"
    yield Finding("server", ok=new, message=name, remedy=remedy)
    if facts.read_only:
        remedy = "connect to the primary, or SET GLOBAL read_only = OFF there"
        yield Finding("server", ok=False, message="it takes no writes: a replica?", remedy=remedy)
    if facts.flush == 1:
        yield Finding("commit", ok=True, message="every commit reaches the disk")
    else:
        remedy = "SET GLOBAL innodb_flush_log_at_trx_commit = 1, unless that is wanted"
        message = f"innodb_flush_log_at_trx_commit is {facts.flush}: a power loss may take the last acknowledged jobs"
        yield Finding("commit", ok=True, message=message, remedy=remedy)
    for connection, seconds, rows in facts.transactions or ():
        yield Finding(
            "transaction",
            ok=False,
            message=f"connection {connection} has a transaction open for {span(seconds)}, with {rows:,} rows locked",
            remedy=f"end it where it was begun, or KILL {connection}",
        )
    if facts.transactions is None:
        remedy = "GRANT PROCESS ON *.* to this user to have them looked at"
        yield Finding("transaction", ok=True, message="open transactions cannot be seen", remedy=remedy)


def _sqlite(database: Database, pool: Pool) -> Iterator[Finding]:
    facts = pool.run(health.sqlite())
    if facts.journal == "wal":
        yield Finding("journal", ok=True, message="journal_mode is WAL")
    else:
        yield Finding(
            "journal",
            ok=False,
            message=f"journal_mode is {facts.journal}: readers and the writer block each other",
            remedy="put the file on a local disk, and run PRAGMA journal_mode = WAL",
        )
    if facts.synchronous >= 2:
        yield Finding("synchronous", ok=True, message="every commit reaches the disk")
    else:
        remedy = "leave synchronous out (FULL) unless that is wanted"
        message = "synchronous is NORMAL: a power loss may take the last acknowledged jobs"
        yield Finding("synchronous", ok=True, message=message, remedy=remedy)
    log = Path(f"{database.url.database}-wal")
    size = log.stat().st_size if log.exists() else 0
    if size > _WAL:
        yield Finding(
            "journal",
            ok=False,
            message=f"the -wal file has {size / 2**20:,.0f} MiB: a transaction that reads has been open for long",
            remedy="end it; then PRAGMA wal_checkpoint(TRUNCATE)",
        )
