"""Many processes and threads at once: claims (each row once), unique keys (one row), upkeep, and healthy leases."""

import contextlib
import threading
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import psycopg
import pytest

from rowqueue.core.states import State
from rowqueue.core.values import NewJob, Outcome
from rowqueue.store.store import Store
from tests.support.session import plain_url
from tests.support.stores import Raw, raw
from tests.support.together import claim_all, produce, retry_all, together, upkeep


@pytest.fixture
def shared(tables_url):
    with contextlib.closing(Store(tables_url)) as store:
        yield store


@pytest.fixture
def rows(tables_url):
    with raw(tables_url) as rows:
        yield rows


@pytest.mark.slow
def test_eight_processes_claim_each_of_two_thousand_rows_once(
    tables_url: str, shared: Store, rows: Raw, publish
) -> None:
    jobs = [NewJob(kind="k", priority=1 + n % 3) for n in range(2000)]
    expected = {answer.job.id for answer in shared.enqueue_many(jobs)}
    answers = together(claim_all, 8, url=tables_url, batch=7)
    claimed = Counter(key for keys in answers for key in keys)
    assert set(claimed) == expected
    assert set(claimed.values()) == {1}
    assert rows.count("state = 'completed' AND attempt = 1 AND lease = 1") == 2000
    priority = {key: row["priority"] for key, row in rows.all().items()}
    for keys in answers:  # each process sees its own claims in order
        assert all(priority[one] <= priority[two] for one, two in pairwise(keys))
    publish(
        "#5",
        "eight processes claim at once",
        f"2,000 rows, each claimed once; by process {sorted(len(keys) for keys in answers)}",
        value=claimed.total() - len(expected),
        bound="claims too many = 0",
        promise=3,
    )


@pytest.mark.slow
@pytest.mark.parametrize("threads, keys, step", [(8, 100, 1), (16, 350, 100)])
def test_producers_at_once_make_one_row_for_each_key(
    tables_url: str, rows: Raw, threads: int, keys: int, step: int, long: bool, publish
) -> None:
    processes = 4
    if step > 1 and (long or tables_url.startswith("postgres")):
        keys, step = 1000, 250
    answers = together(produce, processes, url=tables_url, keys=keys, threads=threads, step=step)
    told = defaultdict(list)
    for answer in answers:
        for key, job, inserted in answer:
            told[key].append((job, inserted))
    assert rows.count() == keys == len(told)
    for key, found in told.items():
        assert len(found) == processes * threads, key
        assert len({job for job, _ in found}) == 1, "the losers get the winner's id"
        assert sum(inserted for _, inserted in found) == 1
    publish(
        "#20",
        f"{processes * threads} producers at once enqueue the same keys, in batches of {step}",
        f"{processes * threads * keys:,} enqueues of {keys:,} keys made {rows.count():,} rows; the losers got the winner's id",
        value=rows.count() - keys,
        bound="rows too many = 0",
        promise=7,
    )


def test_retries_at_once_bring_one_of_each_key_back(tables_url: str, shared: Store, rows: Raw) -> None:
    """Ten finished jobs for each of ten keys; every process retries all hundred."""
    keys = []
    for _ in range(10):
        batch = shared.enqueue_many([NewJob(kind="k", unique_key=f"u-{n}") for n in range(10)])
        shared.cancel_many([answer.job.id for answer in batch])
        keys += [answer.job.id for answer in batch]
    answers = together(retry_all, 6, url=tables_url, keys=keys)
    alive = {row["unique_key"]: key for key, row in rows.all().items() if row["state"] == "available"}
    assert len(alive) == 10
    assert rows.count("state = 'available'") == 10
    unique = {key: row["unique_key"] for key, row in rows.all().items()}
    for answer in answers:
        for key, reason, conflict in answer:
            if reason is None:
                assert alive[unique[key]] == key
            else:
                assert (reason, conflict) == ("conflict", alive[unique[key]])


def test_control_a_check_before_the_insert_makes_two_rows(
    tables_url: str, shared: Store, rows: Raw, publish
) -> None:
    """Without the constraint, two producers that look first both see nothing, and both insert."""
    look = threading.Barrier(2)

    def check_then_insert(_: int) -> None:
        with contextlib.closing(Store(tables_url)) as store:
            taken = [job for job in store.list().jobs if job.meta.get("key") == "u"]
            look.wait(10)
            if not taken:
                store.enqueue(NewJob(kind="k", meta={"key": "u"}))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check_then_insert, range(2)))
    publish.control(
        "#20",
        "a look before the insert in place of the constraint",
        f"{rows.count()} rows of one key",
        value=rows.count(),
        bound="rows >= 2",
        promise=7,
    )


def test_upkeep_by_all_at_once_takes_each_row_once(tables_url: str, shared: Store, rows: Raw) -> None:
    shared.enqueue_many([NewJob(kind="k") for _ in range(200)])
    healthy, left = shared.claim(100, lease=1000), shared.claim(100)
    shared.enqueue_many([NewJob(kind="k", delay=60) for _ in range(300)])
    rows.pass_time(100)
    answers = together(upkeep, 6, url=tables_url, rounds=12)
    assert sum(promoted for promoted, _ in answers) == 300
    assert sum(rescued for _, rescued in answers) == 100
    states = Counter(row["state"] for row in rows.all().values())
    assert states == {"available": 400, "running": 100}
    assert rows.count("rescues = 1 AND lease = 2") == 100
    assert all(shared.complete_many(healthy))
    refused = shared.complete_many(left)
    assert {outcome.reason for outcome in refused} == {"lost"}


def test_a_stale_worker_is_refused_every_time(shared: Store, rows: Raw, publish) -> None:
    """Whoever took the job since: a rescue, another claim, a person; and whatever became of it."""
    takers = {
        "rescued": lambda claim: rows.pass_time(100, claim.key) or shared.rescue(),
        "rescued and claimed": lambda claim: (
            rows.pass_time(100, claim.key) or (shared.rescue() and shared.claim())
        ),
        "released and claimed": lambda claim: shared.release(claim) and shared.claim(),
        "snoozed, promoted, claimed": lambda claim: (
            shared.snooze(claim, 0) and shared.promote_due() and shared.claim()
        ),
        "failed, retried, claimed": lambda claim: (
            shared.fail(claim, "x", delay=60) and shared.retry(claim.key) and shared.claim()
        ),
        "discarded by a person": lambda claim: shared.discard(claim.key),
        "discarded, retried, claimed": lambda claim: (
            shared.discard(claim.key) and shared.retry(claim.key) and shared.claim()
        ),
        "completed by the other": lambda claim: (
            rows.pass_time(100, claim.key) or (shared.rescue() and shared.complete_many(shared.claim()))
        ),
    }
    tried = 0
    for name, take in takers.items():
        for write in (
            lambda claim: shared.complete(claim, "stale"),
            lambda claim: shared.fail(claim, "stale"),
            lambda claim: shared.snooze(claim, 5),
            shared.release,
            shared.skip,
            shared.cancel,
            shared.discard,
            lambda claim: shared.extend([claim])[0],
            lambda claim: shared.progress(claim, 0.5),
            lambda claim: shared.add_log(claim, "stale"),
        ):
            shared.enqueue(NewJob(kind="k"))
            (claim,) = shared.claim()
            assert take(claim), name
            before = rows.row(claim.key)
            outcome = write(claim)
            assert isinstance(outcome, Outcome)
            assert outcome.reason == "lost", name
            assert rows.row(claim.key) == before, name
            tried += 1
            rows.execute("DELETE FROM rowqueue_job")
    publish(
        "#1",
        "a stale worker writes, whoever took its job since and whatever became of it",
        f"{tried} stale writes, {tried} refused, no row changed",
        value=tried,
        bound="tried >= 80",
        promise=4,
    )


def test_a_locked_row_is_passed_over_and_its_lease_counts_as_alive(postgres_tables: str) -> None:
    """An open complete_in holds its row: renewal of the others goes on, and rescue and claims pass it by."""
    with (
        contextlib.closing(Store(postgres_tables)) as store,
        contextlib.closing(psycopg.connect(plain_url(postgres_tables))) as handler,
        raw(postgres_tables) as rows,
    ):
        store.enqueue_many([NewJob(kind="k") for _ in range(3)])
        claims = store.claim(3)
        bound = store.on(handler)
        assert bound.complete(claims[1])  # type: ignore[union-attr]
        outcomes = store.extend(claims, lease=100)
        assert [outcome.reason for outcome in outcomes] == [None] * 3
        rows.execute(
            f"UPDATE rowqueue_job SET leased_until = now() - interval '1 s' WHERE id <> {claims[1].key}"
        )
        assert {found.key for found in store.rescue()} == {claims[0].key, claims[2].key}
        assert store.promote_due() == {}
        handler.commit()
        job = store.get(claims[1].key)
        assert job is not None
        assert job.state is State.COMPLETED
        assert [outcome.reason for outcome in store.extend(claims)] == ["lost", "wrong_state", "lost"]


def test_jobs_of_an_open_transaction_are_neither_seen_nor_waited_for(postgres_tables: str) -> None:
    with (
        contextlib.closing(Store(postgres_tables)) as store,
        contextlib.closing(psycopg.connect(plain_url(postgres_tables))) as producer,
    ):
        store.on(producer).enqueue(NewJob(kind="hidden"))  # type: ignore[union-attr]
        store.enqueue(NewJob(kind="seen"))
        assert [claim.job.kind for claim in store.claim(5)] == ["seen"]
        producer.commit()
        assert [claim.job.kind for claim in store.claim(5)] == ["hidden"]


def test_threads_share_one_store(shared: Store, rows: Raw) -> None:
    shared.enqueue_many([NewJob(kind="k") for _ in range(200)])

    def work(_: int) -> int:
        done = 0
        while claims := shared.claim(3):
            done += sum(map(bool, shared.complete_many(claims)))
        return done

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(work, range(12))) == 200
    assert rows.count("state = 'completed' AND lease = 1") == 200
