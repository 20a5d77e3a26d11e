"""What one PostgreSQL can carry, and when it takes another: the figures of docs/scaling.md, from the measured ones.

    python -m benchmarks.scaling                 # with the costs in COSTS
    python -m benchmarks.scaling --wal 1100 --server-us 25

Every result is a sum or a product of what stands in COSTS; a short simulation adds what sums do not show: how long jobs
wait as a server comes near to its limit, and how uneven queues are over several databases.
"""

import argparse
import heapq
import random
import statistics
from dataclasses import dataclass, fields

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Costs:
    """What one job costs, and what one server has.

    Attributes:
        wal: bytes of WAL for a job from enqueue to completion, with the enqueue one by one.
        commits: of the enqueue and its share of claim and finish.
        server_us: CPU of the server, all of it (one enqueue, claim, finish).
        worker_us: CPU of a worker for a job that does nothing.
        row: bytes on disk of a finished job with its index entries.
        versions: dead versions of a row when it is final (claimed, finished).
        commit_rate: durable commits a second that one log takes from many connections (group commit).
        wal_rate: bytes a second of WAL that disk, archive and replicas keep up with.
        cores: of the server.
        connections: that it serves well.
        worker_connections: of one worker process.
    """

    wal: float = 1_500
    commits: float = 1.02
    server_us: float = 250
    worker_us: float = 60
    row: float = 350
    versions: float = 2
    commit_rate: float = 6_000
    wal_rate: float = 100e6
    cores: int = 8
    connections: int = 300
    worker_connections: int = 4


def limits(costs):
    """Jobs a second at which each resource is used up."""
    return {
        "commits": costs.commit_rate / costs.commits,
        "WAL": costs.wal_rate / costs.wal,
        "server CPU": costs.cores * 0.7 * 1e6 / costs.server_us,
    }


def standing(costs, rate, keep_days=1.0):
    """What a rate means for a day."""
    return {
        "jobs a day": rate * DAY,
        "WAL a day (GB)": rate * DAY * costs.wal / 1e9,
        "finished rows kept (GB)": rate * DAY * keep_days * costs.row / 1e9,
        "dead versions a minute": rate * 60 * costs.versions,
        "cores of the server": rate * costs.server_us / 1e6,
        "worker cores for no-op jobs": rate * costs.worker_us / 1e6,
        "share of the commit rate": rate * costs.commits / costs.commit_rate,
    }


def waits(load, service=0.0002, servers=4, count=40_000, seed=1):
    """Milliseconds that a job waits for one of `servers` cores at a share of their capacity: p50 and p99."""
    chance = random.Random(seed)
    free = [0.0] * servers
    now, found = 0.0, []
    for _ in range(count):
        now += chance.expovariate(load * servers / service)
        first = heapq.heappop(free)
        begins = max(now, first)
        heapq.heappush(free, begins + chance.expovariate(1 / service))
        found.append((begins - now) * 1000)
    found.sort()
    return statistics.median(found), found[int(0.99 * count)]


def spread(queues, databases, seed=1):
    """How much more than its share the fullest database gets, when queues of uneven size (Zipf) are dealt out.

    By a hash of their name, and by giving the largest queue left to the emptiest database.
    """
    chance = random.Random(seed)
    sizes = [1 / (place + 1) for place in range(queues)]
    fair = sum(sizes) / databases
    hashed = [0.0] * databases
    for size in sizes:
        hashed[chance.randrange(databases)] += size
    greedy = [0.0] * databases
    for size in sizes:
        greedy[greedy.index(min(greedy))] += size
    return max(hashed) / fair, max(greedy) / fair


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for each in fields(Costs):
        parser.add_argument("--" + each.name.replace("_", "-"), type=type(each.default), default=each.default)
    parser.add_argument("--rate", type=float, default=100.0, help="jobs a second today")
    words = vars(parser.parse_args())
    rate = words.pop("rate")
    costs = Costs(**words)
    print("one server's limits, enqueued one by one (jobs/s):")
    for name, limit in limits(costs).items():
        print(f"  {name:12} {limit:>10,.0f}")
    for factor in (1, 10, 100):
        print(f"{rate * factor:,.0f} jobs/s ({factor}x):")
        for name, value in standing(costs, rate * factor).items():
            print(f"  {name:30} {value:>16,.2f}")
    print(
        f"workers at {costs.worker_connections} connections each: {costs.connections // costs.worker_connections}"
    )
    for load in (0.5, 0.7, 0.9, 0.95):
        middle, late = waits(load)
        print(
            f"at {load:.0%} of the server's capacity a statement waits p50 {middle:.2f} ms, p99 {late:.2f} ms"
        )
    for databases in (2, 4, 8):
        hashed, greedy = spread(50, databases)
        print(
            f"50 queues over {databases} databases: the fullest has {hashed:.2f} of its share by hash, {greedy:.2f} by size"
        )


if __name__ == "__main__":
    main()
