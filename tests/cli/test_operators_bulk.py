"""Verbs on one job, several, or all that fit a filter: what they change, what they leave, when they ask."""

import os
import pty
import select
import subprocess
from pathlib import Path

import pytest

from rowqueue import NewJob, State, Store
from tests.cli.operating import Run, runner
from tests.cli.running import COMMAND, environment


@pytest.fixture
def store(database_url: str):
    store = Store(database_url)
    store.init()
    yield store
    store.close()


@pytest.fixture
def run(store: Store, database_url: str, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys, "--database", database_url)


def states(store: Store) -> dict[int, State]:
    return {job.id: job.state for job in store.list().jobs}


def in_every_state(store: Store) -> dict[State, int]:
    """One job in each state, by state."""
    store.enqueue(NewJob(kind="k", queue="q", max_attempts=1))
    for end in (store.complete, lambda claim: store.fail(claim, "no")):
        (claim,) = store.claim()
        end(claim)
        store.enqueue(NewJob(kind="k", queue="q", max_attempts=1))
    store.cancel(store.enqueue(NewJob(kind="k", queue="q")).job.id)
    store.skip(store.enqueue(NewJob(kind="k", queue="q")).job.id)
    (claim,) = store.claim()  # runs
    store.enqueue(NewJob(kind="k", queue="q"))
    (claim,) = store.claim()
    store.fail(claim, "again", delay=60)
    store.enqueue_many(
        [
            NewJob(kind="k", queue="q"),
            NewJob(kind="k", queue="q", delay=60),
            NewJob(kind="k", queue="q", pending=True),
        ]
    )
    found = {job.state: job.id for job in store.list().jobs}
    assert set(found) == set(State)
    return found


TAKEN = {
    "retry": {State.RETRYABLE, State.DISCARDED},
    "promote": {State.PENDING, State.SCHEDULED, State.RETRYABLE},
    "cancel": {State.PENDING, State.SCHEDULED, State.AVAILABLE, State.RETRYABLE, State.RUNNING},
    "discard": {State.PENDING, State.SCHEDULED, State.AVAILABLE, State.RETRYABLE, State.RUNNING},
    "skip": {State.PENDING, State.SCHEDULED, State.AVAILABLE, State.RETRYABLE},
    "delete": {State.COMPLETED, State.CANCELLED, State.DISCARDED, State.SKIPPED},
}
BECOMES = {
    "retry": "available",
    "promote": "available",
    "cancel": "cancelled",
    "discard": "discarded",
    "skip": "skipped",
}


@pytest.mark.parametrize("verb", TAKEN)
def test_a_filter_takes_the_states_that_the_verb_is_for(run: Run, store: Store, verb: str):
    jobs = in_every_state(store)
    other = store.enqueue(NewJob(kind="k", queue="other")).job.id
    before = states(store)
    wanted = {jobs[state] for state in TAKEN[verb]}
    assert set(run("jobs", verb, "--queue", "q", "--dry-run", "--json").json["ids"]) == wanted
    assert states(store) == before
    answer = run("jobs", verb, "--queue", "q", "--json")
    assert (answer.code, answer.json["done"]) == (0, len(wanted))
    after = states(store)
    for key, state in before.items():
        if key not in wanted:
            assert after[key] == state
        elif verb == "delete":
            assert key not in after
        elif verb == "cancel" and state is State.RUNNING:
            assert after[key] == State.RUNNING  # its worker is asked
            job = store.get(key)
            assert job is not None
            assert job.cancel_requested_at is not None
        else:
            assert after[key] == BECOMES[verb]
    assert after[other] == State.AVAILABLE


def test_a_state_that_is_named_is_taken(run: Run, store: Store):
    jobs = in_every_state(store)
    assert (
        run("jobs", "retry", "--state", "completed", "--json").json["jobs"][0]["id"] == jobs[State.COMPLETED]
    )
    job = store.get(jobs[State.COMPLETED])
    assert job is not None
    assert job.state is State.AVAILABLE


def test_ids_are_answered_one_by_one(run: Run, store: Store):
    jobs = in_every_state(store)
    answer = run(
        "jobs", "cancel", jobs[State.AVAILABLE], jobs[State.COMPLETED], 999, "--reason", "not wanted"
    )
    assert (answer.code, answer.out) == (1, "1 job cancelled\n")
    assert answer.err.splitlines() == [
        f"job {jobs[State.COMPLETED]} was left alone: it is completed",
        "job 999 was left alone: there is no such job",
    ]
    job = store.get(jobs[State.AVAILABLE])
    assert job is not None
    assert job.errors[-1].error == "not wanted"
    told = run("jobs", "cancel", jobs[State.RUNNING])
    assert (told.code, told.out) == (0, "1 running job asked to end\n")


def test_a_conflict_names_the_other_job(run: Run, store: Store):
    first = store.enqueue(NewJob(kind="k", unique_key="u")).job.id
    store.cancel(first)
    second = store.enqueue(NewJob(kind="k", unique_key="u")).job.id
    answer = run("jobs", "retry", first)
    assert answer.code == 1
    assert f"job {second} has its unique key" in answer.err
    assert run("jobs", "retry", first, "--json").json["jobs"][0]["conflict"] == second


def test_more_than_one_batch_and_a_limit(run: Run, store: Store):
    store.enqueue_many([NewJob(kind="k") for _ in range(1201)])
    assert run("jobs", "cancel", "--kind", "k", "--limit", "1").out.startswith("1 job cancelled")
    assert run("jobs", "cancel", "--kind", "k", "--yes").out.startswith("1,200 jobs cancelled")
    assert store.stats().total(State.CANCELLED) == 1201
    answer = run("jobs", "cancel", *range(1, 1202))
    assert answer.code == 1
    assert len(answer.err.splitlines()) == 21
    assert answer.err.splitlines()[-1] == "and 1,181 more jobs: 1,181 wrong_state"


def test_a_filter_that_fits_nothing(run: Run):
    answer = run("jobs", "retry", "--queue", "none")
    assert (answer.code, answer.out, answer.err) == (0, "0 jobs made available again\n", "")


@pytest.mark.parametrize(
    "arguments, says",
    [
        ([], "which jobs?"),
        (["1", "--queue", "q"], "not both"),
        (["x"], "x"),
        (["0"], "0"),
        ([str(2**63)], str(2**63)),
        (["--state", "done"], "--state"),
        (["--tag", ""], "tag"),
        (["--queue", "q\x00"], "NUL"),
    ],
)
def test_refused(run: Run, arguments: list[str], says: str):
    assert says in run("jobs", "retry", *arguments).refusal


def on_terminal(*arguments: str, typed: str, cwd: Path) -> tuple[int, str]:
    """Run the command on a terminal, where somebody types an answer to its question."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=cwd,
            env=environment(TERM="dumb"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = b""
        while True:
            assert select.select([ours], [], [], 60)[0], shown
            try:
                read = os.read(ours, 4096)
            except OSError:  # Linux: the other end is closed
                break
            if not read:
                break
            shown += read
        return process.wait(60), shown.decode().replace("\r\n", "\n")
    finally:
        os.close(ours)


@pytest.mark.parametrize(
    "arguments, typed, asks, changes",
    [
        (["1"], "", False, True),
        (["1", "2"], "y\n", True, True),
        (["1", "2"], "n\n", True, False),
        (["1", "2"], "\n", True, False),
        (["--queue", "default"], "n\n", True, False),
        (["--queue", "default", "--yes"], "", False, True),
        (["--queue", "default", "--dry-run"], "", False, False),
    ],
)
def test_it_asks_before_more_than_one_on_a_terminal(
    tmp_path: Path, sqlite_url: str, arguments: list[str], typed: str, asks: bool, changes: bool
):
    store = Store(sqlite_url)
    store.init()
    store.enqueue_many([NewJob(kind="k"), NewJob(kind="k")])
    code, shown = on_terminal(
        "jobs", "cancel", *arguments, "--database", sqlite_url, typed=typed, cwd=tmp_path
    )
    assert ("cancel 2 jobs (1, 2)?" in shown) is asks
    assert ("nothing was changed" in shown) is (asks and not changes)
    assert code == (0 if changes or not asks else 1)
    assert (store.stats().total(State.CANCELLED) > 0) is changes
    store.close()
