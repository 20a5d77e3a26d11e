"""A person's verbs on one job, on several, or on all that fit a filter."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from rowqueue.cli.jobs import Filters, filter_options, filters_of, matching
from rowqueue.cli.options import job_id, json_option, opened
from rowqueue.cli.target import TargetOptions, target_options
from rowqueue.core.errors import ConfigurationError
from rowqueue.core.states import State, Verb, sources_of

if TYPE_CHECKING:
    from rowqueue.core.values import Outcome
    from rowqueue.store import Store

_BATCH = 500
_REASONS = {
    "gone": "there is no such job",
    "wrong_state": "it is {state}",
    "conflict": "job {conflict} has its unique key",
}


@dataclass(frozen=True, slots=True)
class BulkVerb:
    """One verb as a command.

    Attributes:
        verb: which.
        past: what is said when it is done.
        run: it, on keys, with a reason.
        states: which jobs a filter without a state takes.
        help: what it does.
        reason: whether it keeps a reason.
    """

    verb: Verb
    past: str
    run: Callable[[Store, Sequence[int], str], list[Outcome]]
    states: frozenset[State]
    help: str
    reason: bool = False


def _promote(store: Store, keys: Sequence[int], _reason: str) -> list[Outcome]:
    from rowqueue.operations import operate

    return store.run(operate.promote(keys))


def _from(verb: Verb) -> frozenset[State]:
    return sources_of(verb, fenced=False)


VERBS = (
    BulkVerb(
        Verb.RETRY,
        "made available again",
        lambda store, keys, _reason: store.retry_many(keys),
        frozenset({State.RETRYABLE, State.DISCARDED}),
        "Run jobs again: any but running ones. A filter without --state takes retryable and discarded ones.",
    ),
    BulkVerb(
        Verb.PROMOTE,
        "made available",
        _promote,
        _from(Verb.PROMOTE),
        "Do not let jobs wait: pending, scheduled and retryable ones become available.",
    ),
    BulkVerb(
        Verb.CANCEL,
        "cancelled",
        lambda store, keys, reason: store.cancel_many(keys, reason),
        _from(Verb.CANCEL),
        "Cancel unfinished jobs; the worker of a running one is asked to end it.",
        reason=True,
    ),
    BulkVerb(
        Verb.DISCARD,
        "discarded",
        lambda store, keys, reason: store.discard_many(keys, reason),
        _from(Verb.DISCARD),
        "Give up unfinished jobs; the worker of a running one loses its lease.",
        reason=True,
    ),
    BulkVerb(
        Verb.SKIP,
        "skipped",
        lambda store, keys, reason: store.skip_many(keys, reason),
        _from(Verb.SKIP),
        "Leave out waiting jobs: there is nothing to do for them.",
        reason=True,
    ),
    BulkVerb(
        Verb.DELETE,
        "deleted",
        lambda store, keys, _reason: store.delete_many(keys),
        _from(Verb.DELETE),
        "Delete ended jobs and their logs.",
    ),
)


def bulk_command(what: BulkVerb) -> click.Command:
    """The command of a verb."""

    @click.command(what.verb, help=f"{what.help} Give ids, or a filter.")
    @click.argument("ids", nargs=-1, type=job_id, metavar="[ID]...")
    @target_options
    @filter_options
    @click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many of those that fit.")
    @click.option("--dry-run", is_flag=True, help="Say which jobs it would be, and change nothing.")
    @click.option("--yes", is_flag=True, help="Do not ask before more than one job.")
    @json_option
    def command(target: TargetOptions, ids: tuple[int, ...], **given: Any) -> int:
        filters = filters_of(given)
        if bool(ids) == bool(filters):
            raise ConfigurationError(
                f"which jobs? Give ids, or a filter such as --queue or --state{', not both' if ids else ''}"
            )
        with opened(target) as store:
            return _run(store, what, ids, filters, **given)

    if what.reason:
        command = click.option("--reason", default="", metavar="TEXT", help="Kept with the job.")(command)
    return command


def _run(
    store: Store,
    what: BulkVerb,
    ids: tuple[int, ...],
    filters: Filters,
    *,
    limit: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    reason: str = "",
) -> int:
    from rowqueue.cli.output import count, note, show_json

    keys = list(dict.fromkeys(ids)) or [job.id for job in matching(store, filters, what.states, limit)]
    if dry_run:
        if as_json:
            show_json({"verb": what.verb, "dry_run": True, "ids": keys})
        else:
            print(f"would {what.verb} {count(len(keys), 'job')}" + _some(keys))
        return 0
    if len(keys) > 1 and not yes and not _agreed(f"{what.verb} {count(len(keys), 'job')}{_some(keys)}?"):
        note("nothing was changed")
        return 1
    outcomes: list[Outcome] = []
    for first in range(0, len(keys), _BATCH):
        outcomes += what.run(store, keys[first : first + _BATCH], reason)
    return _answer(what, outcomes, as_json)


def _answer(what: BulkVerb, outcomes: list[Outcome], as_json: bool) -> int:
    from rowqueue.cli.output import count, show_json

    refused = [outcome for outcome in outcomes if not outcome]
    if as_json:
        rows = [
            {
                "id": one.key,
                "done": one.done,
                "state": one.state,
                "reason": one.reason,
                "conflict": one.conflict,
            }
            for one in outcomes
        ]
        show_json({"verb": what.verb, "done": len(outcomes) - len(refused), "jobs": rows})
        return 1 if refused else 0
    asked = [one for one in outcomes if one and one.state is State.RUNNING]
    if len(asked) < len(outcomes) - len(refused) or not asked:
        print(f"{count(len(outcomes) - len(refused) - len(asked), 'job')} {what.past}")
    if asked:
        print(f"{count(len(asked), 'running job')} asked to end")
    for one in refused[:20]:
        why = _REASONS[one.reason or "gone"].format(state=one.state, conflict=one.conflict)
        print(f"job {one.key} was left alone: {why}", file=sys.stderr)
    if refused[20:]:
        reasons = Counter(one.reason for one in refused[20:])
        words = ", ".join(f"{number:,} {reason}" for reason, number in sorted(reasons.items(), key=str))
        print(f"and {count(len(refused) - 20, 'more job')}: {words}", file=sys.stderr)
    return 1 if refused else 0


def _some(keys: Sequence[int]) -> str:
    if not keys:
        return ""
    return f" ({', '.join(map(str, keys[:10]))}{', …' if keys[10:] else ''})"


def _agreed(question: str) -> bool:
    """Ask, where a person is there to answer."""
    return not (sys.stdin.isatty() and sys.stderr.isatty()) or click.confirm(question, err=True)
