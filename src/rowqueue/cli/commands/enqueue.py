"""``rowqueue enqueue``: one job, by hand."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from rowqueue.cli.options import Duration, json_option
from rowqueue.cli.target import TargetOptions, target_options
from rowqueue.core.errors import ConfigurationError, InvalidArguments, UnknownKind
from rowqueue.core.states import UNFINISHED, State
from rowqueue.core.values import NewJob

if TYPE_CHECKING:
    from rowqueue.app import App
    from rowqueue.store import Store


@click.command("enqueue")
@click.argument("kind")
@click.argument("arguments", metavar="[ARGS-JSON]", default="{}")
@target_options
@click.option("--queue", metavar="NAME", help="Which workers run it (default: the job's own, or default).")
@click.option("--priority", type=click.IntRange(1, 4), help="1 (first) to 4 (last).")
@click.option("--delay", type=Duration(), help="Run it no sooner than after this: 90, 5min, 2h, 1d.")
@click.option("--at", metavar="TIME", help="Run it no sooner than 2026-01-31T12:00+01:00.")
@click.option("--max-attempts", type=click.IntRange(1), metavar="N", help="Starts before a failure is final.")
@click.option("--timeout", type=Duration(), help="How long one attempt may run.")
@click.option("--unique-key", metavar="TEXT", help="At most one unfinished job may have it.")
@click.option(
    "--unique-state",
    "unique_states",
    multiple=True,
    type=click.Choice(list(map(str, State))),
    help="The key stays taken in this state, too (repeat).",
)
@click.option("--tag", "tags", multiple=True, metavar="WORD", help="A word to find it by (repeat).")
@click.option("--correlation-id", metavar="ID")
@click.option("--correlation-group", metavar="NAME")
@click.option("--meta", metavar="JSON", help="An object for people and tools; the handler does not get it.")
@click.option("--pending", is_flag=True, default=None, help="Park it until 'rowqueue jobs promote ID'.")
@json_option
def command(
    target: TargetOptions,
    kind: str,
    arguments: str,
    as_json: bool,
    at: str | None,
    meta: str | None,
    **given: Any,
) -> None:
    """Enqueue a job of KIND with arguments by name.

    With --app they are checked against the function's annotations first (a list is by position);
    with --database alone they are stored as they are.

    \b
    rowqueue enqueue send_welcome '{"user_id": 7}' --app shop:app --delay 5min
    """
    from rowqueue.cli.jobs import summary
    from rowqueue.cli.output import note, printable, show_json

    options = {name: value for name, value in given.items() if value not in (None, ())}
    if "unique_states" in options:
        options["unique_states"] = UNFINISHED | set(map(State, options["unique_states"]))
    if at is not None:
        options["at"] = _moment(at)
    if meta is not None:
        options["meta"] = _object(meta, "--meta")
    store = target.store()
    try:
        if target.app:
            job = _checked(target.load(), kind, _json(arguments, "the arguments"), options)
        else:
            job = NewJob(kind=kind, args=_object(arguments, "the arguments"), **options)
        enqueued = store.enqueue(job)
        if (text := _nobody(store, enqueued.job.queue)) is not None:
            note(text)
    finally:
        store.close()
    if as_json:
        show_json({"job": summary(enqueued.job), "inserted": enqueued.inserted})
    elif enqueued.inserted:
        print(
            f"enqueued job {enqueued.job.id}:",
            printable(f"{kind} in {enqueued.job.queue}, {enqueued.job.state}"),
        )
    else:
        print(f"job {enqueued.job.id} has that unique key already: it is {enqueued.job.state}")


def _checked(app: App, kind: str, values: Any, options: dict[str, Any]) -> NewJob:
    """The job that a program with the app would enqueue."""
    from rowqueue.app.arguments import Signature
    from rowqueue.app.context import Context

    job = app.jobs.get(kind)
    if job is None:
        known = ", ".join(sorted(app.jobs)) or "none"
        raise UnknownKind(f"the app has no job {kind!r}; it has: {known}")
    signature = Signature(job.kind, job.function, Context)
    parameters = signature.public.parameters.values()
    if isinstance(values, list):
        if len(values) > len(parameters):
            raise InvalidArguments(f"{job.kind} takes {len(parameters)} arguments, not {len(values)}")
        values = dict(zip((one.name for one in parameters), values, strict=False))
    if not isinstance(values, dict):
        raise InvalidArguments("the arguments must be a JSON object by name, or a list by position")
    named = [one for one in parameters if one.kind is not one.VAR_KEYWORD]
    if missing := [one.name for one in named if one.default is one.empty and one.name not in values]:
        raise InvalidArguments(f"{job.kind} needs {', '.join(missing)}")
    if len(named) == len(parameters) and (unknown := values.keys() - {one.name for one in named}):
        takes = ", ".join(one.name for one in named) or "no arguments"
        raise InvalidArguments(f"{job.kind} does not take {', '.join(sorted(unknown))}; it takes {takes}")
    try:
        positional, by_name = signature.decode(values)
    except InvalidArguments as error:
        raise InvalidArguments(str(error).replace("was stored with", "was given", 1)) from None
    chosen = job.options(**options)
    return chosen.new_job(chosen.args(*positional, **by_name))


def _nobody(store: Store, queue: str) -> str | None:
    """What to tell a person whose job waits in a queue that no worker of those that live works."""
    workers = [worker for worker in store.workers() if worker.silent < 60]
    worked = sorted({name for worker in workers for name in worker.queues})
    if not workers or queue in worked:
        return None
    return f"no live worker takes jobs from the queue {queue}; they work {', '.join(worked)}"


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        where = (
            f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        )
        raise ConfigurationError(
            f"{what} are no JSON{where}: write '{{\"name\": 7}}' in single quotes"
        ) from None


def _object(text: str, what: str) -> dict[str, Any]:
    value = _json(text, what)
    if not isinstance(value, dict):
        raise ConfigurationError(f"{what} must be a JSON object by name, such as '{{\"name\": 7}}'")
    return value


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"--at {text!r} is no time: write 2026-01-31T12:00+01:00") from None
    if moment.tzinfo is None:
        raise ConfigurationError(f"--at {text} has no zone: write {text}Z, or {text}+01:00")
    return moment
