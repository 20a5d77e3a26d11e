"""What needs no peer: costs a job, large tables, a held snapshot, threads, waits, idle, import, memory.

Each function returns rows: what, value, unit, and what the ratio compares with.
"""

import contextlib
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import psycopg

from benchmarks.places import ask, empty
from rowqueue import App
from rowqueue.bench.crew import crew
from rowqueue.bench.measures import Bench
from rowqueue.bench.place import Place
from rowqueue.bench.worker import Task


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the page; a value for each round.

    Attributes:
        what: was measured.
        unit: of the values.
        values: of the rounds.
        ratios: to what it is compared with, of the rounds.
        to: what that is.
    """

    what: str
    unit: str
    values: list[float]
    ratios: list[float]
    to: str = ""


@contextlib.contextmanager
def bench(server, sizes, **task):
    """The measurements of `rowqueue bench` in an empty database."""
    with empty(server) as url:
        place = Place(url, "rowqueue_", None if server is None else "public", "")
        app = place.app()
        app.init()
        app.close()
        made = Task(prefix="", schema=None, concurrency=sizes.concurrency, uvloop=True, **task)
        with contextlib.closing(Bench(place, sizes, made)) as opened:
            yield opened, url


def pairs(what, unit, to, rounds, measured):
    """Rows of (ours, other) measured in turn."""
    found = [measured(number) for number in range(rounds)]
    return [Row(what, unit, [a for a, _ in found], [a / b for a, b in found], to)]


def caller(server, sizes):
    """Enqueue on the caller's transaction, beside the same row by a bare INSERT on that connection."""
    with bench(server, sizes) as (bench_, url), psycopg.connect(url) as mine:
        bound = bench_.job.on(mine)

        def measured(number):
            def ours():
                return timed(bound.enqueue, sizes.singles)

            def bare():
                insert = bench_.raw._insert
                return timed(lambda n: mine.execute(insert, [f'{{"number":{n}}}']).fetchone(), sizes.singles)

            order = (ours, bare) if number % 2 == 0 else (bare, ours)
            times = {}
            for way in order:
                mine.rollback()
                times[way.__name__] = way() * 1e6
            mine.rollback()
            return times["ours"], times["bare"]

        basis = "a bare INSERT of the same row on that connection"
        return pairs("enqueue on the caller's transaction", "µs", basis, sizes.rounds, measured)


def timed(send, count):
    """Seconds that one takes."""
    for number in range(20):
        send(number)
    began = time.perf_counter()
    for number in range(count):
        send(number)
    return (time.perf_counter() - began) / count


def cost(server, sizes):
    """Commits, WAL and CPU of a drain, per job."""
    rows = {name: [] for name in ("commits", "WAL", "worker CPU", "server CPU")}
    with bench(server, sizes) as (bench_, url):
        for _ in range(sizes.rounds):
            bench_.raw.empty()
            bench_.fill(sizes.jobs)
            bench_.raw.settle()
            time.sleep(1.2)  # backends report their counts once a second
            with crew(bench_.place, replace(bench_.task)) as workers:
                before, cpu = counters(url), server_cpu(url)
                workers.go()
                while ask(url, "select exists(select 1 from rowqueue_job where finalized_at is null)"):
                    cpu_now = server_cpu(url)
                    time.sleep(0.02)
                cpu_now = max(server_cpu(url), cpu_now)
                done = workers.done()
            bench_.check(done)
            time.sleep(1.2)
            after = counters(url)
            rows["commits"].append((after[0] - before[0]) / sizes.jobs)
            rows["WAL"].append((after[1] - before[1]) / sizes.jobs)
            rows["worker CPU"].append(done[0].cpu / sizes.jobs * 1e6)
            rows["server CPU"].append((cpu_now - cpu) / sizes.jobs * 1e6)
    units = {"commits": "", "WAL": "bytes", "worker CPU": "µs", "server CPU": "µs"}
    return [Row(f"per job at drain: {name}", units[name], values, []) for name, values in rows.items()]


def counters(url):
    """Commits so far, and the place in the WAL."""
    with psycopg.connect(url, autocommit=True) as connection:
        commits = "(SELECT xact_commit FROM pg_stat_database WHERE datname = current_database())"
        found = connection.execute(f"SELECT {commits}, pg_current_wal_lsn() - '0/0'").fetchone()
    return float(found[0]), float(found[1])


def server_cpu(url):
    """Seconds of CPU of the server's processes on this database, and of those that write for them."""
    name = url.rpartition("/")[2]
    total = 0.0
    for process in psutil.process_iter(["cmdline", "cpu_times"]):
        words = " ".join(process.info["cmdline"] or [])
        if words.startswith("postgres: ") and (
            name in words or "walwriter" in words or "checkpointer" in words
        ):
            total += process.info["cpu_times"].user + process.info["cpu_times"].system
    return total


FINISHED = """INSERT INTO rowqueue_job (kind, queue, state, priority, args, scheduled_at, attempt, max_attempts, lease,
    created_at, finalized_at, attempted_at) SELECT 'number', 'bench', 'completed', 2, '{"number":1}', now(), 1, 25, 1, now(), now() - interval '1 hour',
    now() - interval '1 hour' FROM generate_series(1, %s)"""
AHEAD = """INSERT INTO rowqueue_job (kind, queue, state, priority, args, scheduled_at, max_attempts, created_at)
    SELECT 'number', 'bench', 'scheduled', 2, '{"number":1}', now() + interval '1 day' + n * interval '1 ms', 25, now()
    FROM generate_series(1, %s) AS n"""
BACKLOG = """INSERT INTO rowqueue_job (kind, queue, state, priority, args, scheduled_at, max_attempts, created_at)
    SELECT 'number', 'bench', 'available', 3, '{"number":1}', now(), 25, now() FROM generate_series(1, %s)"""


def drained(bench_, url, jobs, filled=None, count=0, snapshot=False):
    """Jobs a second with other rows in the table, which lie there before ours come in front of them."""
    bench_.raw.empty()
    with psycopg.connect(url, autocommit=True) as connection:
        if filled:
            connection.execute(filled, [count])
            connection.execute("VACUUM ANALYZE rowqueue_job")
        bench_.fill(jobs)
        connection.execute("ANALYZE rowqueue_job")
        connection.execute("CHECKPOINT")
    with contextlib.ExitStack() as stack:
        if snapshot:
            holder = stack.enter_context(psycopg.connect(url))
            holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            holder.execute("SELECT count(*) FROM rowqueue_job")
        workers = stack.enter_context(crew(bench_.place, bench_.task))
        left = "select count(*) from rowqueue_job where priority = 2 and finalized_at > now() - interval '30 minutes'"
        workers.go()
        if filled is BACKLOG:  # the worker goes on with what is behind; the clock stops where ours end
            while ask(url, left) < jobs:
                time.sleep(0.02)
            workers.end()
        workers.done()
        sql = (
            "select extract(epoch from max(finalized_at) - min(attempted_at)) from rowqueue_job "
            "where priority = 2 and finalized_at > now() - interval '30 minutes'"
        )
        assert ask(url, left) == jobs
        return jobs / float(ask(url, sql))


def large(server, sizes, count):
    """A drain beside `count` finished rows, rows scheduled ahead, a backlog behind."""
    rows = []
    with bench(server, sizes) as (bench_, url):
        for what, filled in (
            ("drain with {:,} finished rows", FINISHED),
            ("drain with {:,} rows scheduled ahead", AHEAD),
            ("the foremost of a backlog of {:,}", BACKLOG),
        ):
            rows += beside_empty(bench_, url, sizes, what.format(count), filled=filled, count=count)
    return rows


def snapshot(server, sizes):
    """A drain while another connection has read once in a transaction that stays open: nothing can be cleaned up."""
    with bench(server, sizes) as (bench_, url):
        what = "drain while another connection holds a snapshot"
        return beside_empty(bench_, url, sizes, what, snapshot=True)


def beside_empty(bench_, url, sizes, what, **circumstances):
    """A drain under circumstances and, in turn with it, the same drain on an empty table."""

    def measured(number):
        print(f"{what}: round {number + 1}", file=sys.stderr, flush=True)
        empty_table = drained(bench_, url, sizes.jobs)
        return drained(bench_, url, sizes.jobs, **circumstances), empty_table

    return pairs(what, "jobs/s", "the same on an empty table", sizes.rounds, measured)


def handlers(server, sizes):
    """Handlers in threads, and handlers that wait a millisecond, beside handlers that do nothing."""
    rows = []
    for what, options in (
        ("`def` handlers in threads, concurrency 500", {"threads": True}),
        ("`async def` handlers that wait 1 ms, concurrency 500", {"pause": 0.001}),
    ):
        with bench(server, sizes) as (bench_, _):
            no_op = replace(bench_.task, concurrency=500)
            other = replace(no_op, **options)

            def measured(_number, bench_=bench_, no_op=no_op, other=other):
                bench_.task = no_op
                basis = bench_.drain(plain=False)
                bench_.task = other
                return bench_.drain(plain=False), basis

            rows += pairs(what, "jobs/s", "`async def` handlers that do nothing", sizes.rounds, measured)
    return rows


def threads(sizes):
    """SQLite: 16 threads enqueue at once, beside one that inserts the same rows."""
    with bench(None, sizes) as (bench_, _):

        def measured(_number):
            bench_.raw.empty()
            each = sizes.singles // 4
            crowd = [
                threading.Thread(target=lambda: [bench_.job.enqueue(n) for n in range(each)])
                for _ in range(16)
            ]
            began = time.perf_counter()
            for one in crowd:
                one.start()
            for one in crowd:
                one.join()
            return 16 * each / (time.perf_counter() - began), bench_.one_by_one(plain=True)

        return pairs(
            "SQLite: 16 threads enqueue at once",
            "jobs/s",
            "one thread's INSERT of the same row",
            sizes.rounds,
            measured,
        )


def idle(server, seconds=10.0):
    """Statements and CPU of a worker that has nothing to do."""
    with empty(server) as url:
        App(url).init()
        code = (
            "import sys, rowqueue\napp = rowqueue.App(sys.argv[1])\n"
            "@app.job(kind='n', queue='bench')\nasync def n(number: int) -> None: ...\nrowqueue.Worker(app).run()"
        )
        process = subprocess.Popen([sys.executable, "-c", code, url])
        try:
            time.sleep(12.0)  # until each of its loops has run once, and compiled what it sends
            ran, before = ran_for(process.pid), counters(url)[0]
            time.sleep(seconds)
            used = (ran_for(process.pid) - ran) / seconds * 100
            after = counters(url)[0]
        finally:
            process.terminate()
            process.wait()
    # A connection of ours that asks for the counters is one commit.
    return [
        Row("an idle worker: transactions a second", "", [max(0.0, after - before - 1) / seconds], []),
        Row("an idle worker: CPU", "% of a core", [used], []),
    ]


def ran_for(pid):
    """Seconds of CPU by the scheduler's clock: by ticks, who wakes with the tick on an idle machine pays for all of it."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9


def imports(rounds):
    """Seconds of a new process."""
    rows = []
    for what, words in (
        ("`import rowqueue`", ["-c", "import rowqueue"]),
        ("`rowqueue --help`", ["-m", "rowqueue", "--help"]),
    ):
        values = []
        for _ in range(rounds + 1):
            began = time.perf_counter()
            subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
            values.append(time.perf_counter() - began)
        rows.append(Row(what, "s", values[1:], []))
    return rows


def memory(server, sizes, steps=5):
    """A worker's resident memory after each `jobs` more: how much it grows from the second step on, per million jobs."""
    with bench(server, sizes) as (bench_, url):
        code = (
            "import sys, rowqueue\napp = rowqueue.App(sys.argv[1])\n"
            "@app.job(kind='number', queue='bench')\nasync def n(number: int) -> None: ...\n"
            "rowqueue.Worker(app, concurrency=500).run()"
        )
        process = subprocess.Popen([sys.executable, "-c", code, url])
        resident = []
        try:
            for _ in range(steps):
                bench_.fill(sizes.jobs)
                while ask(url, "select exists(select 1 from rowqueue_job where finalized_at is null)"):
                    time.sleep(0.05)
                time.sleep(0.5)
                resident.append(psutil.Process(process.pid).memory_info().rss / 1e6)
        finally:
            process.terminate()
            process.wait()
    slope = statistics.linear_regression(range(1, steps), resident[1:]).slope / sizes.jobs * 1e6
    return [
        Row(f"a worker's memory after {steps * sizes.jobs:,} jobs", "MB", [resident[-1]], []),
        Row("its growth for a million jobs, after the first step", "MB", [slope], []),
    ]
