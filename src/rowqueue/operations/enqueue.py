"""enqueue: validate first, insert in one statement, and answer a taken unique key with its row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, overload

from rowqueue.core import names, payload
from rowqueue.core.errors import ConfigurationError, InvalidArguments, StoreError, UniqueConflict
from rowqueue.core.quick import maker, undisturbed
from rowqueue.core.states import UNFINISHED, State, mask_of
from rowqueue.core.values import Enqueued, Job, NewJob, seconds_of
from rowqueue.operations.base import Access, Operation, Steps
from rowqueue.operations.decode import job_of
from rowqueue.operations.settings import StoreSettings
from rowqueue.operations.wake import tell
from rowqueue.sql.compiled import Call, Row
from rowqueue.sql.statements.catalog import Statements
from rowqueue.sql.statements.enqueue import GIVEN, PLAIN

_LEFT_OUT = "the database left out a job that has no unique key: is there a constraint of yours?"
_ROUNDS = 20
_REST = tuple(name for name in GIVEN if name != "args")
_OPTIONAL = tuple(name for name in GIVEN if name not in PLAIN)
_USUAL = tuple(name for name in PLAIN if name != "args")
_beside_arguments, _options = attrgetter(*_REST), attrgetter(*_OPTIONAL)
_NO_OPTIONS = _options(NewJob(kind="any"))
_UNUSED: dict[str, Any] = {**dict.fromkeys(_OPTIONAL), "pending": False}
_STATES = {state.value: state for state in State}
_make_job, _make_enqueued = maker(Job), maker(Enqueued)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A job, checked: what is bound for it; ``rest`` is the same object for jobs that differ in their arguments only."""

    job: NewJob
    args: str
    rest: dict[str, Any]

    @property
    def plain(self) -> dict[str, Any] | None:
        """What is bound where no option is used that most jobs do not use; None where one is."""
        if _uses_options(self.job):
            return None
        return {name: self.rest[name] for name in _USUAL}

    @property
    def unique_key(self) -> str | None:
        key: str | None = self.rest["unique_key"]
        return key

    def answer(self, row: Row) -> Enqueued:
        """What it became."""
        return _inserted(self.job, self.job.args, self.rest, row)


_make_prepared = maker(_Prepared)


class Alike(Sequence[NewJob]):
    """Jobs that differ in their arguments only; enqueueing many of them takes half of the time.

    Args:
        job: what they have in common.
        arguments: of each, by name.
    """

    __slots__ = ("arguments", "job")

    def __init__(self, job: NewJob, arguments: Sequence[dict[str, Any]]) -> None:
        self.job = job
        self.arguments = arguments

    def __len__(self) -> int:
        return len(self.arguments)

    @overload
    def __getitem__(self, index: int) -> NewJob: ...
    @overload
    def __getitem__(self, index: slice) -> Alike: ...
    def __getitem__(self, index: int | slice) -> NewJob | Alike:
        if isinstance(index, slice):
            return Alike(self.job, self.arguments[index])
        return replace(self.job, args=self.arguments[index])


def enqueue(
    jobs: Sequence[NewJob], settings: StoreSettings, *, aloud: bool = False
) -> Operation[list[Enqueued]]:
    """nothing → available, scheduled or pending; all of them or none, answers in the order given.

    Args:
        jobs: what to enqueue.
        settings: the store's.
        aloud: the INSERT itself tells idle workers, for a transaction of the caller's; otherwise a
            statement after the commit does, so that no commit waits for the lock of another's NOTIFY.

    Raises:
        ConfigurationError: an option of a job is wrong; nothing was written.
        InvalidArguments: arguments, tags or meta cannot be stored; nothing was written.
    """
    if isinstance(jobs, Alike) and len(jobs) > 1 and jobs.job.unique_key is None:
        rest, texts = _prepare_alike(jobs, settings)
        return Operation(lambda s: _enqueue_alike(s, jobs, rest, texts, aloud), Access.WRITE)
    prepared = _prepare(jobs, settings)
    if len(prepared) > 1 and (alike := _alike(prepared)) is not None:
        rest, texts = prepared[0].rest, [each.args for each in prepared]
        return Operation(lambda s: _enqueue_alike(s, alike, rest, texts, aloud), Access.WRITE)
    if len(prepared) == 1 and (plain := prepared[0].plain) is not None:
        return Operation(lambda s: _enqueue_plain(s, prepared[0], plain, aloud), Access.WRITE)
    access = Access.WRITE if len(prepared) == 1 else Access.TRANSACTION
    return Operation(lambda s: _enqueue(s, prepared, aloud), access)


def _enqueue(s: Statements, prepared: list[_Prepared], aloud: bool) -> Steps[list[Enqueued]]:
    for each in prepared:
        _check_depth(s, each.job.kind, (each.args,))
    answers: dict[int, Enqueued] = {}
    told: set[int] = set()
    left = list(range(len(prepared)))
    for _ in range(_ROUNDS):
        if not left:
            break
        rows = yield _insert(s, [prepared[index] for index in left], aloud)
        told.update(row[0] for row in rows if row[-1] and not aloud)
        if len(rows) == len(left):
            rows.sort()  # by id, which the database gave in the order of the rows
            for index, row in zip(left, rows, strict=True):
                answers[index] = prepared[index].answer(row)
            break
        left = _match(left, rows, prepared, answers)
        keys: list[Any] = sorted({prepared[index].unique_key for index in left})
        held = yield s.call("enqueue_holders", keys=s.dialect.pack_list(keys))
        holders = {job.unique_key: job for job in (job_of(row, s.layout) for row in held)}
        for index in left:
            if (holder := holders.get(prepared[index].unique_key)) is not None:
                answers[index] = Enqueued(holder, inserted=False)
        left = [index for index in left if index not in answers]  # finished meanwhile: try again
    else:
        raise UniqueConflict(f"a unique key was taken and freed {_ROUNDS} times in a row: enqueue it again")
    if told:
        new = (answer.job for answer in answers.values())
        yield from tell(s, ((job.state.value, job.queue) for job in new if job.id in told))
    return [answers[index] for index in range(len(prepared))]


def _enqueue_plain(
    s: Statements, prepared: _Prepared, plain: dict[str, Any], aloud: bool
) -> Steps[list[Enqueued]]:
    """One job that no key can keep out."""
    _check_depth(s, plain["kind"], (prepared.args,))
    rows = yield s.call("enqueue_plain", **plain, args=prepared.args, aloud=aloud)
    if not rows:
        raise StoreError(_LEFT_OUT)
    key, now, told = rows[0]
    if told and not aloud:
        yield from tell(s, [(State.AVAILABLE.value, plain["queue"])])
    return [prepared.answer((key, State.AVAILABLE.value, now, now))]


def _enqueue_alike(
    s: Statements, jobs: Alike, rest: dict[str, Any], texts: list[str], aloud: bool
) -> Steps[list[Enqueued]]:
    """Without a unique key nothing can be taken: one statement."""
    job = jobs.job
    _check_depth(s, job.kind, texts)
    rows = yield s.call_rows("enqueue_alike", "given", {"args": texts}, **rest, aloud=aloud)
    told = any(row[-1] for row in rows)
    with undisturbed():
        if s.dialect.gathers:
            ((ids, *same, _),) = rows
            rows = [(key, *same) for key in ids or ()]
        if len(rows) != len(texts):
            raise StoreError(_LEFT_OUT)
        rows.sort()  # by id, which the database gave in the order of the rows
        answers = [_inserted(job, args, rest, row) for args, row in zip(jobs.arguments, rows, strict=True)]
    if told and not aloud:
        yield from tell(s, [(answers[0].job.state.value, job.queue)])
    return answers


def _alike(prepared: list[_Prepared]) -> Alike | None:
    first = prepared[0]
    if first.unique_key is not None or any(each.rest is not first.rest for each in prepared):
        return None
    return Alike(first.job, [each.job.args for each in prepared])


def _insert(s: Statements, prepared: list[_Prepared], aloud: bool) -> Call:
    first = prepared[0]
    if len(prepared) == 1:
        return s.call("enqueue", **first.rest, args=first.args, aloud=aloud)
    columns = {name: [each.rest[name] for each in prepared] for name in _REST}
    columns["args"] = [each.args for each in prepared]
    in_order = {name: columns[name] for name in GIVEN}
    return s.call_rows("enqueue_many", "given", in_order, aloud=aloud)


def _match(
    left: list[int], rows: list[Row], prepared: list[_Prepared], answers: dict[int, Enqueued]
) -> list[int]:
    """Give each inserted row to its job; what has no row is left, because its unique key was taken."""
    plain = iter(sorted(row for row in rows if row[4] is None))
    keyed = {row[4]: row for row in rows if row[4] is not None}
    missing: list[int] = []
    for index in left:
        key = prepared[index].unique_key
        row = next(plain, None) if key is None else keyed.pop(key, None)
        if row is None and key is None:
            raise StoreError(_LEFT_OUT)
        if row is None:
            missing.append(index)
        else:
            answers[index] = prepared[index].answer(row)
    return missing


def _check_depth(s: Statements, kind: str, texts: Iterable[str]) -> None:
    """Refuse what the database's own check of JSON would."""
    limit = s.dialect.json_depth
    if limit is None:
        return
    for text in texts:
        if text.count("[") + text.count("{") > limit and payload.depth_of(text) > limit:
            raise InvalidArguments(
                f"the arguments of {kind} are nested deeper than the {limit} levels that MariaDB checks"
            )


def _prepare_alike(jobs: Alike, settings: StoreSettings) -> tuple[dict[str, Any], list[str]]:
    """The parameters of all jobs, checked, and the arguments of each as text."""
    what, limit = f"the arguments of {jobs.job.kind}", settings.payload_limit
    with undisturbed():
        texts = [payload.encode(args, what, limit=limit) for args in jobs.arguments]
    return _checked(jobs.job, settings), texts


def _prepare(jobs: Sequence[NewJob], settings: StoreSettings) -> list[_Prepared]:
    """The parameters of all jobs, checked; what is refused is refused before anything is written."""
    prepared: list[_Prepared] = []
    rest: dict[str, Any] = {}
    last: Any = None
    what = ""
    for job in jobs:
        beside = _beside_arguments(job)
        if beside != last:
            rest, last, what = _checked(job, settings), beside, f"the arguments of {job.kind}"
        if not isinstance(job.args, dict):
            raise ConfigurationError(
                f"args of {job.kind} must be a dict by parameter name, not {type(job.args).__name__}"
            )
        prepared.append(
            _make_prepared(job, payload.encode(job.args, what, limit=settings.payload_limit), rest)
        )
    return prepared


def _checked(job: NewJob, settings: StoreSettings) -> dict[str, Any]:
    """What is bound for a job beside its arguments."""
    attempts = settings.max_attempts if job.max_attempts is None else job.max_attempts
    checked = {
        "kind": names.text(job.kind, "kind"),
        "queue": names.text(job.queue, "queue"),
        "priority": names.whole(job.priority, "priority", 1, 4),
        "max_attempts": names.whole(attempts, "max_attempts", 1, 1_000_000),
    }
    return checked | (_checked_options(job, settings.payload_limit) if _uses_options(job) else _UNUSED)


def _uses_options(job: NewJob) -> bool:
    return bool(_options(job) != _NO_OPTIONS)


def _checked_options(job: NewJob, limit: int) -> dict[str, Any]:
    if job.delay is not None and job.at is not None:
        raise ConfigurationError("give delay or at, not both")
    meta = None if not job.meta else payload.encode(job.meta, f"the meta of {job.kind}", limit=limit)
    return {
        "timeout": None if job.timeout is None else seconds_of(job.timeout, "timeout", minimum=0.001),
        "unique_key": _optional(job.unique_key, "unique_key"),
        "unique_states": _mask(job),
        "tags": _tags(job, limit),
        "correlation_id": _optional(job.correlation_id, "correlation_id"),
        "correlation_group": _optional(job.correlation_group, "correlation_group"),
        "meta": meta,
        "pending": bool(job.pending),
        "at": None if job.at is None else names.instant(job.at, "at"),
        "delay": None if job.delay is None else seconds_of(job.delay, "delay"),
    }


def _optional(value: str | None, what: str) -> str | None:
    return None if value is None else names.text(value, what)


def _tags(job: NewJob, limit: int) -> str | None:
    if not job.tags:
        return None
    if isinstance(job.tags, str) or len(job.tags) > names.TAGS_LIMIT:
        raise ConfigurationError(f"tags must be a sequence of at most {names.TAGS_LIMIT} words")
    return payload.encode([names.text(tag, "a tag") for tag in job.tags], "the tags", limit=limit)


def _mask(job: NewJob) -> int | None:
    if job.unique_states is None:
        return None
    if job.unique_key is None:
        raise ConfigurationError("unique_states without a unique_key does nothing: give both")
    missing = UNFINISHED - job.unique_states
    if missing:
        words = ", ".join(sorted(missing))
        raise ConfigurationError(
            f"unique_states lacks {words}: a job that leaves the set while unfinished could not come back"
        )
    return mask_of(frozenset(map(State, job.unique_states)))


def _inserted(job: NewJob, args: dict[str, Any], rest: dict[str, Any], row: Row) -> Enqueued:
    """The new row as it stands, made of what was given and what the database decided."""
    made = _make_job(
        row[0],
        job.kind,
        job.queue,
        _STATES[row[1]],
        job.priority,
        args,
        row[2],
        0,
        rest["max_attempts"],
        0,
        0,
        None,
        None,
        None,
        row[3],
        None,
        0,
        0,
        rest["timeout"],
        None,
        job.unique_key,
        job.unique_states or frozenset(),
        tuple(job.tags),
        job.correlation_id,
        job.correlation_group,
        job.meta or {},
        (),
        None,
        None,
    )
    return _make_enqueued(made, True)
