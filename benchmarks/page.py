"""docs/benchmarks.md and its plots, from what was measured so far."""

import statistics

from benchmarks.plot import bars

KINDS = {
    "one": "enqueue one by one (jobs/s)",
    "bulk": "bulk enqueue (jobs/s)",
    "drain1": "drain, 1 process (jobs/s)",
    "drain2": "drain, 2 processes (jobs/s)",
    "pickup": "pickup, p50 / p99 (ms)",
}
HEAD = """# Benchmarks

What `make bench` measured: rowqueue beside the plain driver loop and every peer that is installed, in one run, on one machine. Quote the
ratios: absolute figures of a machine that does other work drift. Durability is on everywhere (PostgreSQL as it is shipped, SQLite with
`synchronous=FULL`), and so are rowqueue's fences, its default table and all its columns. Every figure is the median of its rounds, in
which the systems take turns, with the least and the most in brackets; in every drain each job ran exactly once, or the run fails.

On your own server: `rowqueue bench --database URL` measures rowqueue and the plain loop alone, in tables of its own that it removes.
"""


def spread(values, digits=0):
    """The median, the least and the most."""
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}-{max(values):,.{digits}f}]"


def shown(kind, values):
    if kind != "pickup":
        return spread(values)
    return " / ".join(spread([pair[place] for pair in values], 1) for place in (0, 1))


def beside(database, found, names):
    """The table of one database."""
    kinds = [kind for kind in KINDS if found.get(f"{database} {kind}")]
    if not kinds:
        return []
    lines = [
        f"\n## {database}\n",
        "| system | " + " | ".join(KINDS[kind] for kind in kinds) + " |",
        "|---|" + "---|" * len(kinds),
    ]
    for name, label in names.items():
        cells = [found[f"{database} {kind}"].get(name) for kind in kinds]
        if any(cells):
            made = [shown(kind, cell) if cell else "-" for kind, cell in zip(kinds, cells, strict=True)]
            lines.append(f"| {label} | " + " | ".join(made) + " |")
    ratios = []
    for kind in kinds:
        row = found[f"{database} {kind}"]
        middle = {
            name: statistics.median([value if kind != "pickup" else value[0] for value in values])
            for name, values in row.items()
        }
        others = {name: value for name, value in middle.items() if name not in {"rowqueue", "raw"}}
        told = f"{middle['rowqueue'] / middle['raw']:.2f} of the plain driver"
        if others:
            best = (min if kind == "pickup" else max)(others, key=others.get)
            told += f", {middle['rowqueue'] / others[best]:.2f} times {best}"
        ratios.append(
            f"- {KINDS[kind].partition(', p50')[0].partition(' (')[0]}{', p50' * (kind == 'pickup')}: {told}"
        )
    return [*lines, "\nrowqueue's medians as ratios, and the best peer of the run:\n", *ratios]


def alone(rows):
    """What needs no peer."""
    if not rows:
        return []
    lines = ["\n## rowqueue by itself\n", "| what | value | ratio | to |", "|---|---|---|---|"]
    for row in rows:
        digits = (
            0
            if statistics.median(row["values"]) >= 100
            else 1
            if statistics.median(row["values"]) >= 10
            else 3
        )
        ratio = spread(row["ratios"], 2) if row["ratios"] else "-"
        lines.append(
            f"| {row['what']} | {spread(row['values'], digits)} {row['unit']} | {ratio} | {row['to'] or '-'} |"
        )
    return lines


def write(data, folder):
    """Write the page and the plots into a folder."""
    found, names = data["beside"], data["names"]
    lines = [HEAD]
    for database in ("postgresql", "sqlite"):
        lines += beside(database, found, names)
        for kind, file in (("drain1", "throughput"), ("pickup", "latency")):
            if row := found.get(f"{database} {kind}"):
                values = {
                    name: [one if kind == "drain1" else one[0] for one in several]
                    for name, several in row.items()
                }
                plot = {
                    name.replace("raw", "plain driver"): (
                        statistics.median(several),
                        min(several),
                        max(several),
                    )
                    for name, several in sorted(values.items(), key=lambda item: -statistics.median(item[1]))
                }
                picture = f"bench-{database}-{file}.svg"
                title = f"{database}: {'drain, 1 process' if kind == 'drain1' else 'pickup by an idle worker, p50'}"
                (folder / picture).write_text(bars(title, "jobs/s" if kind == "drain1" else "ms", plot))
                lines.append(f"\n![{title}]({picture})")
    lines += alone([row for part in data["alone"].values() for row in part])
    lines += ["\n## How it was measured\n"]
    lines += [f"- {line}" for line in data["setting"]]
    lines += [f"- {part}: {told}" for part, told in data["runs"].items()]
    lines += [f"- {label}: {data['settings'][name]}" for name, label in names.items()]
    lines += [
        "- *plain driver* means, in every row: one loop of psycopg 3 or sqlite3 over rowqueue's own table with all its columns and "
        "indexes, 500 rows at a time, without fence, answers, renewal or errors; bulk is COPY (SQLite: executemany).",
        "- A drain counts from the first handler that begins until nothing is unfinished in the database; a pickup from just before the "
        "enqueue is sent to the first line of the handler in another process.",
        "- What each system promises differs: huey deletes a row before it runs the job, so a crash loses it.",
        "",
    ]
    (folder / "benchmarks.md").write_text("\n".join(lines))
