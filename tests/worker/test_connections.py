"""A PostgreSQL server without room for all of a worker's connections."""

import contextlib
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy.engine import make_url

from rowqueue import App
from rowqueue.worker import events
from tests.support.waiting import wait_until
from tests.worker.harness import PATIENCE, Running, raw_connection


@pytest.fixture
def narrow(postgres_database: str) -> Iterator[str]:
    """A database with our tables, for a role that may have two connections at once."""
    with contextlib.closing(App(postgres_database)) as app:
        app.init()
    role = f"rowqueue_narrow_{uuid.uuid4().hex[:8]}"
    with raw_connection(postgres_database) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'narrow' CONNECTION LIMIT 2")
        owner.execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        for what in ("TABLES", "SEQUENCES"):
            owner.execute(f"GRANT ALL ON ALL {what} IN SCHEMA public TO {role}")
        try:
            url = make_url(postgres_database).set(username=role, password="narrow")
            yield url.render_as_string(hide_password=False)
        finally:
            owner.execute(f"DROP OWNED BY {role}")
            owner.execute(f"DROP ROLE {role}")


def test_a_job_keeps_its_lease_because_the_renewals_have_their_connection_from_the_start(
    narrow: str, postgres_database: str
) -> None:
    release = threading.Event()
    app, other = App(narrow), App(postgres_database)
    for each in (app, other):

        @each.job(kind="blocks")
        def blocks() -> None:
            release.wait(PATIENCE)

    job = other.jobs["blocks"].enqueue()
    with contextlib.closing(other), Running(app, lease=2, renew=0.1, listen=False) as running:
        running.wait_for(events.Started, job)

        def beyond() -> bool:
            row = other.store.get(job.job.id)
            assert row is not None
            assert row.leased_until is not None
            assert row.attempted_at is not None
            return row.leased_until > row.attempted_at + timedelta(seconds=4.5)

        wait_until(beyond, "more than two leases to pass")
        release.set()
        running.wait_for(events.Completed, job)
        row = other.store.get(job.job.id)
    assert row is not None
    assert (row.attempt, row.rescues) == (1, 0)
    assert not [each for each in running.said(events.Reconnecting) if each.doing == "renewing leases"]
