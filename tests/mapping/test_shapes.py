"""Whatever a user's table looks like, the verbs mean on it what they mean on ours."""

import dataclasses
import threading

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from rowqueue.core.errors import FeatureMissing
from rowqueue.core.states import State
from tests.mapping.shapes import KEYS, Made, Shape, made, shapes

PLAIN = Shape()
BARE = Shape(fence="none", expiry="none", optional=frozenset())
KNOWN = [
    PLAIN,
    BARE,
    Shape(key="composite", view=True, optional=frozenset({"scheduled_at", "failures"})),
    Shape(key="text", fence="attempted_at", expiry="heartbeat_at", view=True),
    Shape(key="uuid", table='Robert"); DROP TABLE canary;--', prefix="%s :x "),
    Shape(table="select", words=("queued", "processing", "done", "failed"), retryable="errored"),
]


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


def check_life(there: Made) -> None:
    """One row through each of a worker's verbs, with the right claim and a stale one."""
    store, shape = there.store, there.shape
    first, second, third, fourth = store.claim(4, worker="w1")
    assert [claim.record["note"] for claim in (first, second, third, fourth)] == [
        f"note {n}" for n in range(4)
    ]
    assert all(
        row["state"] == shape.words[1] for key, row in there.rows().items() if key in {first.key, second.key}
    )
    assert all(store.extend([first, second]))

    assert store.complete(first).state is State.COMPLETED
    again = store.complete(first)
    assert (again.done, again.reason) == (False, "wrong_state")

    failed = store.fail(second, "no luck")
    assert failed.done
    if shape.has("scheduled_at"):
        assert store.get(second.key).state is (State.RETRYABLE if shape.retryable else State.AVAILABLE)
        assert second.key not in {claim.key for claim in store.claim(1)}
        assert 0 < store.next_due() <= 30
    assert store.release(third).state is State.AVAILABLE
    assert store.fail(fourth, "never", state=State.DISCARDED).state is State.DISCARDED
    assert store.retry(fourth.key).done
    assert not store.complete(fourth)
    assert there.is_untouched()


def check_rescue(there: Made) -> None:
    """A crashed worker's rows run again, and what it still writes is refused."""
    store = there.store
    stale = store.claim(2, worker="w1")
    assert store.rescue() == []
    there.expire()
    assert {rescued.key for rescued in store.rescue()} == {claim.key for claim in stale}
    fresh = [claim for claim in store.claim(6, worker="w2") if claim.key in {old.key for old in stale}]
    assert len(fresh) == 2
    before = there.rows()
    refused = [
        *store.complete_many(stale),
        *store.release_many(stale),
        *store.fail_many(stale, ["late", "late"]),
        *store.extend(stale),
    ]
    assert {outcome.reason for outcome in refused} == {"lost"}
    assert there.rows() == before
    assert all(store.complete_many(fresh))


def check_crash_cap(there: Made) -> None:
    """Crashes are counted where there is a column for it, and end the row."""
    if not there.shape.has("rescues"):
        return
    for expected in (State.AVAILABLE, State.DISCARDED):
        (claim, *_) = there.store.claim(1)
        there.expire()
        (rescued,) = there.store.rescue()
        assert (rescued.key, rescued.state) == (claim.key, expected)
    assert claim.key not in {other.key for other in there.store.claim(6)}


def check_missing(there: Made) -> None:
    """What the table has no room for is refused in words."""
    with pytest.raises(FeatureMissing, match=r"pending|skipped"):
        there.store.skip(next(iter(there.rows())))
    if not there.shape.has("scheduled_at"):
        with pytest.raises(FeatureMissing, match="due"):
            there.store.snooze(there.store.claim(1)[0], 5)


CHECKS = (check_life, check_rescue, check_crash_cap, check_missing)


def check_all(url: str, shape: Shape) -> None:
    """Every check on one table, with its rows as they were: it is the tables that take long to make."""
    with made(url, shape) as there:
        for check in CHECKS:
            check(there)
            there.refill()


@pytest.mark.parametrize("shape", KNOWN, ids=range(len(KNOWN)))
def test_known_shapes(url, shape):
    check_all(url, shape)


def test_any_shape(url, long):
    # Each example makes tables in a real database: shrinking one would take minutes, the shape printed is enough.
    @settings(
        max_examples=(4 if url.startswith("mariadb") else 12) * (20 if long else 1),  # MariaDB's DDL is slow
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )
    @given(shapes)
    def any_shape(shape: Shape) -> None:
        check_all(url, shape)

    any_shape()


RACED = {
    # The sidecar's claims race too: these shapes have no room for a lease.
    **{
        f"{key}, sidecar": Shape(key=key, fence="none", expiry="none", optional=frozenset({"priority"}))
        for key in KEYS
    },
    "lease": Shape(),
    "claim time and heartbeat": Shape(
        fence="attempted_at", expiry="heartbeat_at", optional=frozenset({"attempt"})
    ),
}


@pytest.mark.parametrize("view", [False, True], ids=["table", "view"])
@pytest.mark.parametrize("name", RACED)
def test_eight_claimers_take_each_row_once(url, name, view, long):
    shape = dataclasses.replace(RACED[name], view=view)
    rows = 2_000 if long or name in {"lease", "integer, sidecar"} else 400
    with made(url, shape, rows=rows) as there:
        taken: list[object] = []

        def drain() -> None:
            while claims := there.store.claim(rows // 40):
                assert all(there.store.complete_many(claims))
                taken.extend(claim.key for claim in claims)

        threads = [threading.Thread(target=drain) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # A claim may come back empty while others hold the rest; what is left belongs to the last one.
        drain()
        assert len(taken) == rows
        assert set(taken) == set(there.rows())
