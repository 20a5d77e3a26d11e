"""One worker process of the demo: ``python -m rowqueue.demo.worker``, started by ``crew``."""

from __future__ import annotations

import gc
import logging
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

from rowqueue.cli.lifeline import on_parent_death
from rowqueue.cli.target import DATABASE_VARIABLE
from rowqueue.core.values import Job
from rowqueue.demo.jobs import CONCURRENCY, LEASE, QUEUE, Demo, open_demo
from rowqueue.worker import Worker
from rowqueue.worker.events import LeaseLost, Refused


def main(prefix: str, schema: str, name: str) -> None:
    """Work the demo's queue until the parent says stop, or is gone."""
    warnings.simplefilter("ignore")  # what the compiler thinks of the files that are indexed
    gc.set_threshold(100_000, 20, 20)  # syntax trees are many objects without cycles: a quarter of the time
    logging.getLogger("rowqueue").setLevel(logging.ERROR)  # that jobs fail and leases are lost is the show
    demo = open_demo(os.environ[DATABASE_VARIABLE], prefix=prefix, schema=schema or None)
    worker = Worker(demo.app, queues={QUEUE: CONCURRENCY}, lease=LEASE, poll=0.2, worker_id=name)
    on_parent_death(worker.stop)
    with ThreadPoolExecutor(1) as recorder:  # the worker's loop does not wait for it
        worker.on(lambda event: recorder.submit(record_stale, demo, event.job), LeaseLost, Refused)
        worker.run()
    demo.close()


def record_stale(demo: Demo, job: Job) -> None:
    """Remember for the report that an attempt was stopped because another worker has the job by now.

    It heard so when it renewed its lease, or had its write refused; often both.
    """
    with demo.engine.begin() as connection:
        connection.execute(demo.tables.stale.insert(), {"job_id": job.id, "lease": job.lease})


if __name__ == "__main__":
    main(*sys.argv[1:])
