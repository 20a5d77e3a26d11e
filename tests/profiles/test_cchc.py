"""cchc's rules on its own tables, in its own words, on PostgreSQL and SQLite."""

import contextlib
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
import sqlalchemy as sa

from rowqueue.core.errors import ConfigurationError, LeaseLost, StoreError, UniqueConflict
from rowqueue.profiles.cchc import (
    ErrAllQueued,
    ErrNoJobs,
    ErrNotFound,
    ErrOthersHold,
    FullText,
    Repo,
    Status,
    new_full_text,
)
from tests.profiles.cchc_bench import Bench
from tests.support.session import plain_url


@pytest.fixture
def bench(database_url):
    with contextlib.ExitStack() as stack:
        yield Bench(database_url, stack)


@pytest.fixture
def pg(postgres_database):
    with contextlib.ExitStack() as stack:
        yield Bench(postgres_database, stack)


@pytest.fixture
def other(pg):
    """Another program's transaction."""
    with psycopg.connect(plain_url(pg.url)) as connection:
        yield connection


# the record


def test_jobs_db(bench):
    bench.add("a")
    job = new_full_text("a", "language")
    assert (job.status, job.started, job.finished) == (Status.READY, None, None)
    assert bench.repo.save_full_text(job) == job
    assert bench.repo.get_full_text(job.id) == job
    with pytest.raises(ErrNotFound):
        bench.repo.get_full_text(uuid.uuid4())


def test_jobs_status(bench):
    """Each verb sets its status, in any order; saving it makes it so."""
    bench.add("a")
    before = datetime.now(UTC)
    job = bench.repo.save_full_text(new_full_text("a", "d").start())
    assert (job.status, job.finished) == (Status.RUNNING, None)
    assert job.started >= before.replace(microsecond=before.microsecond // 1000 * 1000)
    for verb, status in (
        (FullText.fail, "failed"),
        (FullText.skip, "skipped"),
        (FullText.finish, "finished"),
    ):
        job = bench.repo.save_full_text(verb(job))
        assert job.status == status
        assert job.finished >= job.started
        assert bench.repo.get_full_text(job.id) == job


def test_an_item_has_one_job_for_each_destination(bench):
    bench.add("a")
    bench.repo.save_full_text(new_full_text("a", "d"))
    with pytest.raises(UniqueConflict):
        bench.repo.save_full_text(new_full_text("a", "d"))
    bench.repo.save_full_text(new_full_text("a", "e"))


# CreateJobForUnqueued


def test_enqueing_jobs(bench):
    """Six creators and 600 items: 600 jobs, each once, and no error."""
    bench.add_many(600)
    repos = [bench.open() for _ in range(6)]

    def create(repo):
        made = []
        while True:
            try:
                made.append(repo.create_job_for_unqueued("language"))
            except ErrOthersHold:
                continue
            except ErrAllQueued:
                return made

    with ThreadPoolExecutor(6) as threads:
        made = [job for jobs in threads.map(create, repos) for job in jobs]
    assert len(made) == len({job.id for job in made}) == 600
    assert set(Counter(job.item_id for job in made).values()) == {1}
    assert bench.rows.count("status = 'ready' AND destination = 'language'") == 600


def test_creators_do_not_wait_for_each_other(pg, other):
    """The original takes one lock for all destinations; here a creator passes over what another is at."""
    pg.add("a", "b")
    other.execute("SELECT id FROM items WHERE id = 'a' FOR NO KEY UPDATE")
    other.execute("SELECT pg_advisory_xact_lock(10)")  # as an original creator has it
    pg.rows.execute("SET statement_timeout = '5s'")
    assert pg.repo.create_job_for_unqueued("d").item_id == "b"
    with pytest.raises(ErrOthersHold, match="ask again soon"):
        pg.repo.create_job_for_unqueued("d")
    with pytest.raises(ErrAllQueued):
        pg.open(seed_answers=True).create_job_for_unqueued("d")
    other.rollback()
    assert pg.repo.create_job_for_unqueued("d").item_id == "a"
    with pytest.raises(ErrAllQueued):
        pg.repo.create_job_for_unqueued("d")


def test_an_insert_of_another_program_that_commits_meanwhile_is_no_error(pg, other):
    """It had no lock on the item: the unique constraint decides, and the next item is taken."""
    pg.add("a", "b")
    other.execute("INSERT INTO jobs.fulltext VALUES (gen_random_uuid(), 'a', 'd', NULL, NULL, 'ready')")
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(pg.repo.create_job_for_unqueued, "d")
        waits = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        while not pg.rows.rows(waits):
            assert not call.done()
        other.commit()
        assert call.result().item_id == "b"


def test_no_jobs_need_enqueuing(bench):
    with pytest.raises(ErrAllQueued, match="all items have been queued for 'd'"):
        bench.repo.create_job_for_unqueued("d")
    bench.add("not-eligible", api="NULL")
    with pytest.raises(ErrAllQueued):
        bench.repo.create_job_for_unqueued("d")
    bench.rows.execute("UPDATE items SET api = '{}'")  # its metadata was fetched
    assert bench.repo.create_job_for_unqueued("d").item_id == "not-eligible"


def test_eligible_is_a_condition_of_ones_own(bench):
    bench.add("a", "b")
    bench.rows.execute("UPDATE items SET title = 'x' WHERE id = 'b'")
    repo = bench.open(eligible=lambda item: item.c.title == sa.literal("x"))
    assert [job.item_id for job in repo.create_jobs_for_unqueued("d")] == ["b"]
    with pytest.raises(ErrAllQueued):
        repo.create_job_for_unqueued("d")


def test_many_jobs_at_once_in_the_order_of_items(bench):
    bench.add_many(25)
    made = bench.repo.create_jobs_for_unqueued("d", limit=10)
    assert [job.item_id for job in made] == [f"item-{n:04}" for n in range(10)]
    assert len(bench.repo.create_jobs_for_unqueued("d")) == 15
    assert len(bench.repo.create_jobs_for_unqueued("e", limit=1)) == 1
    for limit in (0, 10_001, "1"):
        with pytest.raises(ConfigurationError):
            bench.repo.create_jobs_for_unqueued("d", limit=limit)


# GetReadyJob


def test_getting_jobs_from_queue(bench):
    bench.add_many(10)
    bench.repo.create_jobs_for_unqueued("d")
    bench.repo.create_jobs_for_unqueued("e", limit=1)
    got = [bench.repo.get_ready_job("d") for _ in range(10)]
    assert [job.item_id for job in got] == [f"item-{n:04}" for n in range(10)]
    assert {(job.status, job.destination, job.finished) for job in got} == {(Status.RUNNING, "d", None)}
    assert all(job.started is not None for job in got)
    assert bench.repo.get_full_text(got[0].id) == got[0]
    with pytest.raises(ErrNoJobs, match="no ready jobs for 'd'"):
        bench.repo.get_ready_job("d")
    assert len(bench.repo.get_ready_jobs("e")) == 1
    with pytest.raises(ErrNoJobs):
        bench.repo.get_ready_job("nowhere")


def test_jobs_that_others_hold_are_not_none(pg, other):
    pg.add("a")
    pg.repo.create_job_for_unqueued("d")
    other.execute("SELECT id FROM jobs.fulltext FOR UPDATE")
    with pytest.raises(ErrOthersHold, match="hold the ready jobs"):
        pg.repo.get_ready_job("d")
    with pytest.raises(ErrNoJobs):
        pg.open(seed_answers=True).get_ready_job("d")
    other.rollback()
    assert pg.repo.get_ready_job("d").item_id == "a"


def test_each_job_is_got_once_by_eight(bench):
    bench.add_many(300)
    bench.repo.create_jobs_for_unqueued("d", limit=300)
    repos = [bench.open() for _ in range(8)]

    def drain(repo):
        got = []
        while True:
            try:
                got += repo.get_ready_jobs("d", limit=7)
            except ErrOthersHold:
                continue
            except ErrNoJobs:
                return got

    with ThreadPoolExecutor(8) as threads:
        counted = Counter(job.id for jobs in threads.map(drain, repos) for job in jobs)
    assert len(counted) == 300
    assert set(counted.values()) == {1}


# the ends of a job, and its fence


@pytest.mark.parametrize("verb, status", [("finish", "finished"), ("skip", "skipped"), ("fail", "failed")])
def test_a_worker_ends_its_job_by_verb_or_by_saving_it(bench, verb, status):
    job = bench.running("a")
    assert getattr(bench.repo, verb)(job)
    assert getattr(bench.repo, verb)(job).reason == "wrong_state"
    done = bench.repo.get_full_text(job.id)
    assert (done.status, done.started) == (status, job.started)
    assert done.finished >= job.started
    saved = bench.repo.save_full_text(getattr(bench.running("b"), verb)())
    assert (saved.status, saved.claim) == (status, None)


def test_a_job_that_was_not_got_cannot_be_ended(bench):
    bench.add("a")
    with pytest.raises(ConfigurationError, match="get_ready_job"):
        bench.repo.finish(bench.repo.create_job_for_unqueued("d"))


def test_a_worker_that_lost_its_job_cannot_write_it(bench):
    old = bench.running()
    bench.expire()
    assert bench.repo.rescue() == [old.id]
    new = bench.repo.get_ready_job("d")
    for verb in (bench.repo.finish, bench.repo.skip, bench.repo.fail):
        assert verb(old).reason == "lost"
    with pytest.raises(LeaseLost, match="worked by somebody else"):
        bench.repo.save_full_text(old.finish())
    with pytest.raises(LeaseLost):
        bench.repo.save_full_text(replace(old, claim=None, seen=None).finish())
    assert [outcome.reason for outcome in bench.repo.extend([old, new])] == ["lost", None]
    assert bench.repo.get_full_text(old.id) == new
    assert bench.repo.save_full_text(new.finish()).status is Status.FINISHED


def test_starting_again_keeps_the_job_as_the_predictor_does(bench):
    job = bench.running()
    again = bench.repo.save_full_text(job.start())
    assert again.started >= job.started
    assert again.claim == job.claim
    assert bench.repo.finish(again)


def test_a_save_of_what_changed_since_it_was_read_is_refused(bench):
    job = bench.running()
    seen = replace(bench.repo.get_full_text(job.id))
    assert bench.repo.finish(job)
    with pytest.raises(LeaseLost, match=r"written since it was read \(finished\): get it again"):
        bench.repo.save_full_text(seen.fail())
    assert bench.repo.get_full_text(job.id).status is Status.FINISHED
    blind = bench.open(seed_answers=True)
    assert blind.save_full_text(seen.fail()).status is Status.FAILED


def test_a_dead_workers_job_runs_again_and_a_living_ones_does_not(bench):
    dead, alive = bench.running("a"), bench.running("b")
    bench.expire()
    assert bench.repo.extend([alive])
    assert bench.repo.rescue() == [dead.id]
    assert bench.repo.get_full_text(dead.id).status is Status.READY
    assert bench.repo.get_ready_job("d").id == dead.id
    assert bench.repo.rescue() == []


def test_a_job_that_kills_its_workers_ends_failed(bench):
    repo = bench.open(max_rescues=3)
    job = bench.running()
    for crash in range(3):
        assert (crash == 0) or repo.get_ready_job("d").id == job.id
        bench.expire()
        assert repo.rescue() == [job.id]
    failed = repo.get_full_text(job.id)
    assert failed.status is Status.FAILED
    assert failed.finished is not None
    with pytest.raises(ErrNoJobs):
        repo.get_ready_job("d")


def test_jobs_that_cchcs_own_programs_run_are_left_to_them(bench):
    bench.add("a")
    bench.repo.create_job_for_unqueued("d")
    bench.rows.execute(f"UPDATE {bench.table} SET status = 'running', started = '2020-01-01 00:00:00'")
    assert bench.repo.rescue() == []
    job = bench.repo.get_full_text(uuid.UUID(str(bench.rows.rows(f"SELECT id FROM {bench.table}")[0]["id"])))
    assert job.started == datetime(2020, 1, 1, tzinfo=UTC)
    with pytest.raises(LeaseLost):
        bench.repo.save_full_text(job.finish())


# retry, status


def test_retry_keeps_the_results_of_skipped_and_failed_jobs(bench):
    bench.add("a", "b", "c")
    bench.repo.create_jobs_for_unqueued("d")
    finished, skipped, failed = bench.repo.get_ready_jobs("d")
    bench.repo.finish(finished)
    bench.repo.skip(skipped)
    bench.rows.execute(f"INSERT INTO {bench.results} VALUES ('{failed.id}', '{failed.item_id}', 'en', 3)")
    bench.repo.fail(failed)
    assert bench.repo.retry_jobs("elsewhere") == 0
    assert bench.repo.retry_jobs("d") == 2
    again = bench.repo.get_full_text(failed.id)
    assert (again.status, again.started, again.finished) == (Status.READY, None, None)
    assert len(bench.rows.rows(f"SELECT * FROM {bench.results}")) == 1
    assert {job.id for job in bench.repo.get_ready_jobs("d")} == {skipped.id, failed.id}
    assert bench.repo.retry_jobs() == 0


def test_retry_with_the_seeds_answers_deletes_and_meets_the_foreign_key(pg):
    job = pg.running()
    pg.repo.fail(job)
    seed = pg.open(seed_answers=True)
    pg.rows.execute(f"INSERT INTO {pg.results} VALUES ('{job.id}', 'a', 'en', 3)")
    with pytest.raises(StoreError, match="23503"):
        seed.retry_jobs()
    pg.rows.execute(f"DELETE FROM {pg.results}")
    assert seed.retry_jobs() == 1
    assert seed.create_job_for_unqueued("d").id != job.id


def test_job_status_counts_as_the_view_does(bench):
    assert bench.repo.job_status() == {}
    bench.add_many(5)
    bench.repo.create_jobs_for_unqueued("d")
    bench.repo.create_jobs_for_unqueued("e", limit=2)
    one, two, *_ = bench.repo.get_ready_jobs("d", limit=3)
    bench.repo.finish(one)
    bench.repo.skip(two)
    counts = bench.repo.job_status()
    assert counts == {"d": {"finished": 1, "ready": 2, "running": 1, "skipped": 1}, "e": {"ready": 2}}
    if not bench.rows.is_sqlite:
        view = bench.rows.rows("SELECT destination, status::text, n FROM stats.job_status_ft")
        assert {(row["destination"], row["status"], row["n"]) for row in view} == {
            (destination, status, count)
            for destination, found in counts.items()
            for status, count in found.items()
        }


def test_tables_that_are_missing_are_named(bench):
    with pytest.raises(ConfigurationError, match="no table of items 'nope'"):
        Repo(bench.url, items="nope")
    bench.rows.execute(f"ALTER TABLE {bench.table} RENAME TO elsewhere")
    with pytest.raises(ConfigurationError, match="no table or view 'fulltext'"):
        Repo(bench.url)
