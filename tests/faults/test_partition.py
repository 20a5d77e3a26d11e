"""A worker that is cut off from its database for longer than its lease, and comes back (reliability #13)."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.scene import Scene, scene
from tests.support.places import Cable, PlaceUnavailable, cable
from tests.support.postgres import PrivatePostgres
from tests.support.waiting import wait_until

LEASE = 1.5
NAME = "a worker's network is cut and healed"


def reachable(server: PrivatePostgres, through: Cable) -> str:
    """Let in who comes by the cable; the URL for there."""
    with (server.data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 10.0.0.0/8 scram-sha-256\n")
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")
    return server.url.replace("@127.0.0.1:", f"@{through.address}:")


def staffed(stage: Scene, through: Cable, url: str, cut: float, **options: Any) -> Callable[[float], bool]:
    """One worker at the end of the cable and one here, who takes over and is still at it when the cable is mended.

    Returns:
        Whether the first claimed since a moment.
    """
    (far,) = stage.hire(1, *through.inside, url=url, slow=1.0, slow_every=1, **options)
    stage.hire(1, slow=cut + 2.0, slow_every=1, concurrency=60, listen=False, poll=1.0)
    stage.produce(10**9, pause=0.4, batch=2, kinds=["told"])

    def claimed_since(moment: float) -> bool:
        said = stage.lines_of(far.pid)
        return any(line["what"] == "Claimed" and line["at"] > moment for line in said)

    wait_until(lambda: claimed_since(0), "the far worker to claim")
    return claimed_since


def test_a_worker_that_was_cut_off_changes_nothing_that_is_not_its_own(
    new_private_postgres: Callable[..., PrivatePostgres], tmp_path: Path, publish: Any, long: bool
) -> None:
    cut = 90.0 if long else 2 * LEASE
    options: dict[str, Any] = {"lease": LEASE, "renew": 0.4}
    try:
        with cable() as through:
            server = new_private_postgres(listen_addresses="*")
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE control")
            url = reachable(server, through)
            with (
                scene(server.url, tmp_path / "fenced", **options) as stage,
                scene(server.url_of("control"), tmp_path / "unfenced", **options) as unfenced,
            ):
                claimed = staffed(stage, through, url, cut)
                staffed(unfenced, through, url.removesuffix("postgres") + "control", cut, without="fence")
                threading.Event().wait(1.0)  # so that slow jobs run there
                for each in (stage, unfenced):
                    assert each.producer is not None
                    each.producer.pause = max(
                        each.producer.pause, cut / 15
                    )  # no more than the other has slots for
                through.pull()
                threading.Event().wait(cut)
                through.plug()
                healed = time.time()
                wait_until(lambda: claimed(healed), "the far worker to claim again", 60)
                back = time.time() - healed
                verdict, control = (finished(each, cut + 60) for each in (stage, unfenced))
    except PlaceUnavailable as problem:
        publish.cannot_run("#13", NAME, str(problem), promise=4)
    refused = verdict.report.stale_refused
    publish(
        "#13",
        NAME,
        f"{verdict.report.starts} starts, cut for {cut:g} s, lease {LEASE:g} s: overlap {len(verdict.report.overlap)}, "
        f"stale accepted {len(verdict.report.stale_accepted)}, refused {refused}; it works again after {back:.1f} s "
        f"({verdict})",
        value=len(verdict.report.violations()),
        bound="violations = 0",
        promise=4,
        control=f"no lease in the guard: stale accepted {len(control.report.stale_accepted)}",
        on="PostgreSQL",
    )
    publish(
        "#13",
        "it works again after",
        f"{back:.1f} s",
        value=back,
        bound="<= 20 s",
        promise=6,
        on="PostgreSQL",
    )
    assert refused > 0, "too gentle: no stale write was tried"
    assert control.report.stale_accepted, "the control did not fail"


def finished(stage: Scene, seconds: float) -> Any:
    """Let it end, and judge."""
    assert stage.producer is not None
    stage.producer.stopped.set()
    stage.drain(seconds)
    stage.stop()
    return stage.judge()
