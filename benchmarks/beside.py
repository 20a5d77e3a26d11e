"""rowqueue beside the plain driver loop and the peers: the same jobs, each measured by the same clock."""

import contextlib
import importlib
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.peers.system import hits
from benchmarks.places import ask, empty

NAMES = ("raw", "rowqueue", "pgqueuer", "awa", "chancy", "oban", "procrastinate", "huey")
ROOT = Path(__file__).parent.parent


def systems(database, wanted=NAMES):
    """The wanted systems that run there and are installed, by the name of their module; and the versions."""
    found = {}
    for name in wanted:
        system = importlib.import_module(f"benchmarks.peers.{name}_").SYSTEM
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(system.package)
            if database in system.databases:
                found[name] = (system, version)
    return found


def command(name, *words):
    return [sys.executable, "-m", "benchmarks.peers.drive", name, *map(str, words)]


def drive(name, verb, url, *more):
    """Run a verb in a process of its own, and return its answer."""
    run = subprocess.run(
        command(name, verb, url, *more), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    for line in run.stdout.splitlines():
        if line.startswith("ANSWER "):
            return json.loads(line.removeprefix("ANSWER "))
    raise RuntimeError(f"{name} {verb}: exit code {run.returncode}\n{run.stderr[-2000:]}")


@contextlib.contextmanager
def working(name, url, processes):
    """Workers of a system, and the file where their handlers record."""
    with tempfile.TemporaryDirectory(prefix="rowqueue-hits-") as folder:
        path, log = Path(folder) / "hits", Path(folder) / "log"
        path.touch()
        environment = {**os.environ, "BENCH_HITS": str(path)}
        with log.open("wb") as out:
            started = [
                subprocess.Popen(
                    command(name, "work", url),
                    cwd=ROOT,
                    env=environment,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
                for _ in range(processes)
            ]
            try:
                yield path
                if dead := [one.returncode for one in started if one.poll() is not None]:
                    raise RuntimeError(f"{name}: workers ended with {dead}\n{log.read_text()[-2000:]}")
            finally:
                for one in started:
                    one.terminate()
                for one in started:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        one.wait(3)
                    one.kill()
                    one.wait()


def until(done, seconds, what):
    """Look every 3 ms."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not done after {seconds} s")
        time.sleep(0.003)


def once(numbers, count, what):
    """Every job ran exactly once, or the run says nothing."""
    if sorted(numbers) != list(range(count)):
        raise RuntimeError(f"{what}: of {count} jobs {len(set(numbers))} ran, in {len(numbers)} runs")


def prepared(name, server):
    @contextlib.contextmanager
    def database():
        with empty(server) as url:
            drive(name, "setup", url)
            yield url

    return database()


def enqueue(name, system, server, verb, count):
    """Jobs a second."""
    if verb == "bulk" and not system.bulk:
        return None
    with prepared(name, server) as url:
        return drive(name, verb, url, count)["rate"]


def drain(name, system, server, count, processes):
    """Jobs a second from the first that began until nothing is unfinished in the database."""
    count = min(count, system.jobs)
    with prepared(name, server) as url:
        drive(name, "bulk", url, count)
        if server is not None:
            analyse(url)
        with working(name, url, processes) as path:
            until(lambda: path.stat().st_size >= count * 16, 120, f"{name} drain")
            until(lambda: not ask(url, system.remain), 60, f"{name} drain")
            ended = time.monotonic_ns()
            time.sleep(0.2)  # a second run of a job would show by now
            found = hits(path)
        once([number for number, _ in found], count, f"{name} drain")
        return count / ((ended - min(at for _, at in found)) / 1e9)


def pickup(name, server, count, rate):
    """Milliseconds from just before a job is sent until an idle worker begins it: p50 and p99."""
    with prepared(name, server) as url, working(name, url, 1) as path:
        time.sleep(2.5)  # it has started and is idle
        sent = drive(name, "send", url, count + 10, rate)["sent"]
        until(lambda: path.stat().st_size >= len(sent) * 16, 20, f"{name} pickup")
        began = dict(hits(path))
        once(list(began), len(sent), f"{name} pickup")
    waits = sorted((began[number] - sent[number]) / 1e6 for number in range(10, len(sent)))
    return statistics.median(waits), waits[int(0.99 * len(waits))]


def analyse(url):
    """Statistics as autovacuum would leave them."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")


def measured(kind, name, system, server, sizes):
    """One measurement of one system."""
    match kind:
        case "one":
            return enqueue(name, system, server, "one", sizes.singles)
        case "bulk":
            return enqueue(name, system, server, "bulk", sizes.bulk)
        case "pickup":
            return pickup(name, server, sizes.pickups, sizes.rate)
        case _:
            return drain(name, system, server, sizes.jobs, int(kind.removeprefix("drain")))


def measure(kind, server, sizes, wanted=NAMES):
    """One kind of measurement for all systems, in interleaved rounds: {name: [value, …]}."""
    database = "sqlite" if server is None else "postgresql"
    found = {}
    chosen = systems(database, wanted)
    for number in range(sizes.rounds):
        for name in list(chosen)[number % 2 :] + list(chosen)[: number % 2]:
            system, _ = chosen[name]
            print(f"{database} {kind} round {number + 1}: {name}", file=sys.stderr, flush=True)
            try:
                found.setdefault(name, []).append(measured(kind, name, system, server, sizes))
            except (
                RuntimeError,
                subprocess.TimeoutExpired,
            ) as error:  # a peer that fails is told, and left out
                if name in {"raw", "rowqueue"}:
                    raise
                print(f"left out: {error}", file=sys.stderr)
                chosen.pop(name)
                found.pop(name, None)
    return {name: values for name, values in found.items() if None not in values}
