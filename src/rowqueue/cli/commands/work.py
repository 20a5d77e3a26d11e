"""``rowqueue work``: run an app's jobs."""

from __future__ import annotations

import contextlib
import logging

import click

from rowqueue.cli.target import TargetOptions, target_options
from rowqueue.core.errors import ConfigurationError, DatabaseUnavailable


@click.command("work")
@click.argument("app_path", metavar="APP", required=False)
@target_options
@click.option("--queue", "queues", multiple=True, metavar="NAME[=N]", help="Only this queue, N jobs at once.")
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="NAME[=N]",
    help="Only this table of yours (@app.job(table=NAME)), N rows at once.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Jobs at once (default: the queues' sum, or 10).",
)
@click.option("--processes", type=click.IntRange(1, 1_000), default=1, show_default=True)
@click.option("--drain", is_flag=True, help="End when no job is left to run.")
@click.option("--lease", type=float, metavar="SECONDS", help="How long a claim lasts (default: the app's).")
@click.option("--poll", type=float, default=1.0, show_default=True, metavar="SECONDS")
@click.option("--grace", type=float, default=30.0, show_default=True, metavar="SECONDS")
@click.option(
    "--no-listen",
    "listen",
    is_flag=True,
    flag_value=False,
    default=True,
    help="By the poll alone (PgBouncer).",
)
@click.option(
    "--prefetch",
    type=click.IntRange(0, 100_000),
    default=0,
    show_default=True,
    metavar="N",
    help="Claim up to N jobs before a slot is free for them.",
)
@click.option("--health", metavar="[HOST]:PORT", help="Answer GET /health and /ready there.")
@click.option("--lifeline", is_flag=True, hidden=True)  # set by the supervisor: stop when stdin ends
def command(
    target: TargetOptions,
    app_path: str | None,
    queues: tuple[str, ...],
    tables: tuple[str, ...],
    concurrency: int | None,
    processes: int,
    drain: bool,
    lease: float | None,
    poll: float,
    grace: float,
    listen: bool,
    prefetch: int,
    health: str | None,
    lifeline: bool,
) -> int:
    """Run the jobs of APP (module:name) until SIGTERM or Ctrl-C.

    \b
    rowqueue work shop.jobs:app
    rowqueue work shop.jobs:app --queue mail=20 --queue reports=2 --processes 4
    rowqueue work shop.jobs:app --table uploads=4

    \b
    Without --queue and --table it works every queue and table that has a handler;
    with one of them, only what is named.

    \b
    Signals: SIGTERM, Ctrl-C or a terminal that goes away (SIGHUP, but not under
    nohup) lets handlers finish within --grace and gives back the rest; a second
    one, or SIGQUIT, gives back at once. With --processes, what dies is started
    again.

    \b
    Exit codes: 0 stopped in order, or drained; 1 a thread could not be ended; 2 it
    could not start; 128 + signal when a process was killed while it stopped.
    """
    from rowqueue.worker import Worker

    app = target.load(app_path)
    named = bool(queues or tables)
    worker = Worker(
        app,
        queues=named_slots("--queue", queues, concurrency) if named else None,
        tables=named_slots("--table", tables, concurrency) if named else None,
        concurrency=concurrency,
        lease=lease,
        poll=poll,
        grace=grace,
        drain=drain,
        listen=listen,
        prefetch=prefetch,
        app_path=app_path or target.app,
    )
    if health and processes > 1:
        raise ConfigurationError("--health is for one process: leave out --processes")
    if processes > 1:  # what is wrong with the app or the options was said above, once
        from rowqueue.cli.supervisor import Supervisor

        with contextlib.suppress(DatabaseUnavailable):  # the workers wait for it
            app.store.check_schema()
        app.close()
        path = app_path or target.app
        assert path is not None
        options = ["--poll", str(poll), "--grace", str(grace)]
        options += [part for queue in queues for part in ("--queue", queue)]
        options += [part for table in tables for part in ("--table", table)]
        options += ["--concurrency", str(concurrency)] if concurrency is not None else []
        options += ["--lease", str(lease)] if lease is not None else []
        options += ["--drain"] if drain else []
        options += [] if listen else ["--no-listen"]
        options += ["--prefetch", str(prefetch)] if prefetch else []
        return Supervisor(["work", path, "--lifeline", *options], processes, drain=drain).run()
    if lifeline:
        from rowqueue.cli.lifeline import on_parent_death

        on_parent_death(worker.stop)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        with contextlib.ExitStack() as around:
            if health:
                from rowqueue.cli.health import serving

                around.enter_context(serving(worker, health))
            return worker.run()
    finally:
        app.close()


def named_slots(option: str, given: tuple[str, ...], concurrency: int | None) -> dict[str, int]:
    """``mail=20`` and ``mail`` as slots by name.

    Args:
        option: which option they were given to.
        given: its texts.
        concurrency: the slots of a name without a number; None is 10.

    Raises:
        ConfigurationError: not of that form, or a name is given twice.
    """
    slots: dict[str, int] = {}
    for text in given:
        name, equals, number = text.rpartition("=")
        name, count = (name, number) if equals else (text, str(concurrency or 10))
        if not name or not (count.isascii() and count.isdigit()) or not 1 <= int(count) <= 10_000:
            raise ConfigurationError(f"{option} {text!r} is not NAME or NAME=N: write {option} mail=20")
        if name in slots:
            raise ConfigurationError(f"{option} {name} is given twice: name each once")
        slots[name] = int(count)
    return slots
