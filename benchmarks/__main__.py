"""`make bench`: measure, and write docs/benchmarks.md. `make bench ARGS="--only drain1,pickup"` measures a part of it.

What was measured is kept in .bench.json, and the page is written from all that is there, so that the parts can be run one by one.
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks import beside, ours, page
from benchmarks.mapped import mapped
from benchmarks.places import SETTINGS, ask, postgres
from rowqueue.bench.options import Sizes
from rowqueue.bench.report import machine

ROOT = Path(__file__).parent.parent
KEPT = ROOT / ".bench.json"
BESIDE = ("one", "bulk", "drain1", "drain2", "pickup")
ALONE = ("caller", "cost", "large", "snapshot", "handlers", "threads", "mapped", "idle", "imports", "memory")


def alone(part, server, sizes, rows):
    """One part of what needs no peer."""
    match part:
        case "threads":
            return ours.threads(sizes)
        case "imports":
            return ours.imports(sizes.rounds)
        case "idle":
            return ours.idle(server)
        case "large":
            return ours.large(server, sizes, rows)
        case "mapped":
            return mapped(server, sizes)
        case _:
            return getattr(ours, part)(server, sizes)


def main():
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default=",".join((*BESIDE, *ALONE)), help="parts, separated by commas (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=20_000, help="drained")
    parser.add_argument(
        "--rows", type=int, default=100_000, help="finished, scheduled ahead, behind; 1000000 takes minutes"
    )
    parser.add_argument("--databases", default="postgresql,sqlite")
    parser.add_argument("--systems", default=",".join(beside.NAMES), help="raw and rowqueue among them")
    options = parser.parse_args()
    wanted = options.systems.split(",")
    sizes = Sizes(rounds=options.rounds, jobs=options.jobs, singles=500)
    parts = options.only.split(",")
    if unknown := set(parts) - {*BESIDE, *ALONE}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    data = json.loads(KEPT.read_text()) if KEPT.exists() else {"beside": {}, "alone": {}, "runs": {}}
    with postgres() as server:
        databases = options.databases.split(",")
        told = [beside.systems(database, wanted) for database in databases]
        data["names"] = {name: named(name, *each[name]) for each in told for name in each} | data.get(
            "names", {}
        )
        data["settings"] = {name: each[name][0].settings for each in told for name in each} | data.get(
            "settings", {}
        )
        data["setting"] = setting(server, sizes)
        for part in parts:
            load = os.getloadavg()[0]
            if part in BESIDE:
                for database in databases:
                    found = beside.measure(part, server if database == "postgresql" else None, sizes, wanted)
                    data["beside"][f"{database} {part}"] = found
            else:
                data["alone"][part] = [asdict(row) for row in alone(part, server, sizes, options.rows)]
            data["runs"][part] = told_of(part, sizes, options.rows, load)
            KEPT.write_text(json.dumps(data))
            page.write(data, ROOT / "docs")
    print("docs/benchmarks.md is written")


def named(name, system, version):
    """A system and its version."""
    return system.name if name == "raw" else f"{system.name} {version}"


def told_of(part, sizes, rows, load):
    """How one part was run."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    more = f", {rows:,} rows beside them" if part == "large" else ""
    return f"commit {commit}, {sizes.rounds} rounds, {sizes.jobs:,} jobs{more}; the machine's load before it was {load:.1f}"


def setting(server, sizes):
    """Machine, versions, settings and the command."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    memory = Path("/proc/meminfo").read_text().split()[1]
    sizes_told = ", ".join(f"{name} = {value}" for name, value in SETTINGS.items())
    return [
        f"{time.strftime('%Y-%m-%d')}; {machine()}; {processor}; {int(memory) / 2**20:.0f} GiB; {platform.release()}",
        f"PostgreSQL {ask(server, 'show server_version')} ({sizes_told}; the rest as shipped), SQLite {sqlite3.sqlite_version}",
        "drains give procrastinate at most 3,000 jobs, oban 5,000 and chancy 10,000, because they are slower; "
        f"{sizes.bulk:,} in bulk, {sizes.singles} one by one, {sizes.pickups} pickups at {sizes.rate:g}/s",
        'the command: `make bench`; a part of it: `make bench ARGS="--only drain1"`; another server: `BENCH_POSTGRES=URL make bench`; '
        'large tables with a million rows: `make bench ARGS="--only large --jobs 100000 --rows 1000000 --rounds 7"`',
    ]


if __name__ == "__main__":
    main()
