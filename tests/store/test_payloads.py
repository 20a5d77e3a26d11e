"""Values through each database and back (reliability #28), and names of every kind in every place for a name."""

import contextlib
import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rowqueue.core.errors import ConfigurationError, InvalidArguments, RowqueueError
from rowqueue.core.values import NewJob
from rowqueue.store.store import Store
from tests.core.test_payload import same

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=15,
)
ARGUMENTS = st.dictionaries(st.text(st.characters(), max_size=5), VALUES, max_size=4)
AWKWARD = [
    "'",
    '"',
    "`",
    "\\",
    "%",
    "%s",
    "%(a)s",
    ":a",
    "::text",
    "{}",
    "{0}",
    "$1",
    "?",
    "\n",
    "\t",
    "--",
    ";",
    "/*",
    "ü",
    "漢",
    "🎉",
    "\u202e",
    " ",
    "\ufeff",
    "null",
    "[]",
]
NAMES = st.lists(st.sampled_from([*AWKWARD, "a", "B"]) | st.characters(), max_size=8).map("".join)
FAST = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def kept(tables_url):
    with contextlib.closing(Store(tables_url)) as store:
        yield store


@example(args={"a": 2**63, "b": -(2**63) - 1, "c": 10**30}, result=2**64, entry=-1)
@example(args={"a": 0.1, "b": 1e308, "c": 5e-324, "d": -0.0, "e": 1e16}, result=1.0, entry=1)
@example(args={"\0": "\0\\u0000", "b": "\\ud800"}, result="\0", entry={"\0": 1})
@example(args={"z": 1, "a": 2}, result={"z": 1, "a": 2}, entry=[])
@example(args={"a": float("nan")}, result=None, entry=None)
@example(args={"a": "x" * 500_000}, result="y" * 500_000, entry="z" * 500_000)
def a_value(kept, seen, args, result, entry):
    seen["refused"] += 1
    try:
        one = kept.enqueue(NewJob(kind="k", args=args, meta={"meta": entry}))
        two, three = kept.enqueue_many([NewJob(kind="k", args=args), NewJob(kind="k", meta={"m": args})])
    except InvalidArguments:
        with pytest.raises(InvalidArguments, match=r"^the (arguments|meta) of k [^\n]+\Z"):
            kept.enqueue(NewJob(kind="k", args=args, meta={"meta": entry}))
        return
    assert one.inserted
    claims = kept.claim(3)
    assert {claim.key for claim in claims} == {one.job.id, two.job.id, three.job.id}
    try:
        for claim in claims:
            assert isinstance(kept.add_log(claim, entry), int)
            assert kept.complete(claim, result)
    except InvalidArguments:
        kept.release_many(claims)
        kept.skip_many([claim.key for claim in claims])
        return
    for job in (kept.get(one.job.id), claims[0].job, kept.get(two.job.id)):
        assert same(job.args, args)
    assert same(kept.get(one.job.id).meta, {"meta": entry})
    assert same(kept.get(three.job.id).meta, {"m": args})
    assert same(kept.get(two.job.id).result, result)
    assert same(kept.log(three.job.id)[0].entry, entry)
    seen["kept"] += 1
    seen["refused"] -= 1


def test_a_value_comes_back_as_it_went_in_or_is_refused_in_words(kept, long, publish):
    seen = Counter()
    examples = settings(FAST, max_examples=2000) if long else FAST
    examples(given(args=ARGUMENTS, result=VALUES, entry=VALUES)(a_value))(kept, seen)
    publish(
        "#28",
        "values of JSON as arguments, meta, results and log entries",
        f"{seen.total()} sets of values: {seen['kept']} came back as they went in, {seen['refused']} were refused in words",
        value=seen["kept"],
        bound="came back >= 20",
        promise=9,
    )


def test_a_reader_that_takes_numbers_for_floats_is_seen(kept, monkeypatch, publish):
    """A negative control: as JSON is read where it has no integers."""
    monkeypatch.setattr("rowqueue.operations.decode.json_of", lambda text: json.loads(text, parse_int=float))
    with pytest.raises(AssertionError):
        a_value(kept, Counter(), args={"a": 2**63 - 1}, result=None, entry=None)
    publish.control("#28", "integers that are read as floats", "seen", value=1, bound="seen = 1", promise=9)


def _is_a_name(text: str) -> bool:
    return 0 < len(text) <= 200 and "\0" not in text and not any(0xD800 <= ord(c) < 0xE000 for c in text)


@example(name="%(a)s", other="'; DROP TABLE rowqueue_job; --")
@example(name="a\0", other="b")
@example(name="a", other="\ud800")
@example(name="👍" * 200, other="e\u0301")
def a_name(kept, seen, name, other):
    job = NewJob(
        kind=name,
        queue=other,
        tags=(name, other),
        correlation_id=other,
        correlation_group=name,
        unique_key=name,
    )
    if not all(_is_a_name(text) for text in (name, other)):
        with pytest.raises(ConfigurationError, match=r"\A[^\n]+\Z"):
            kept.enqueue(job)
        seen["refused"] += 1
        return
    found = kept.enqueue(job).job
    assert not kept.enqueue_many([job, NewJob(kind="beside", queue="beside", pending=True)])[0].inserted
    assert kept.get(found.id) == found
    filters = {"kind": name, "queue": other, "correlation_id": other, "correlation_group": name}
    assert kept.list(**filters, tags=[name, other]).jobs == (found,)
    assert kept.pause(other)
    assert kept.claim(queues=[other]) == []
    assert {queue.name for queue in kept.queues() if queue.paused_at} == {other}
    assert kept.resume(other)
    kept.heartbeat(name, queues={other: 1}, kinds=[name], idle=True)
    (worker,) = kept.workers()
    assert (worker.id, worker.queues, worker.kinds) == (name, {other: 1}, (name,))
    kept.forget_worker(name)
    (claim,) = kept.claim(queues={other: 1}, kinds=[name], worker=name)
    assert (claim.key, claim.job.attempted_by) == (found.id, name)
    assert kept.fail(claim, name, trace=other, delay=0)
    assert kept.get(found.id).errors[0].error == name
    assert {queue.queue for queue in kept.stats().queues} >= {other}
    assert kept.cancel(found.id, other)
    assert kept.get(found.id).errors[1].error == other
    assert kept.prune(ages={"cancelled": 0}, queue=other) in {0, 1}
    kept.delete(found.id)
    seen["worked"] += 1


def test_a_name_works_in_every_place_or_is_refused_in_words(kept, long, publish):
    seen = Counter()
    examples = settings(FAST, max_examples=2000) if long else FAST
    examples(given(name=NAMES, other=NAMES)(a_name))(kept, seen)
    publish(
        "#28",
        "names of every kind in every place for a name",
        f"{seen.total()} pairs of names: {seen['worked']} worked in 20 verbs, {seen['refused']} were refused in words",
        value=seen["worked"],
        bound="worked >= 20",
        promise=9,
    )


@pytest.mark.parametrize("key", [2**63, -(2**70), 2**200])
def test_a_key_that_no_column_holds_is_no_crash(kept, key):
    with contextlib.suppress(RowqueueError):
        assert kept.get(key) is None
    with contextlib.suppress(RowqueueError):
        assert kept.cancel(key).reason == "gone"
