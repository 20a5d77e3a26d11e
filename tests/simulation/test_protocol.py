"""Reliability #6: the lease protocol, every state of it; and what is wrong with it when a part is taken away."""

import pytest

from tests.simulation.protocol import LEASES, Variant, search
from tests.support.figures import Publisher

PROPERTIES = 9
"""Seven of safety (`_broken`), two of liveness."""
BROKEN = {
    "writes do not name the lease": (
        Variant(fenced=False),
        "a worker that lost its lease changes the job",
        6,
    ),
    "a rescue leaves the lease as it is": (Variant(bumps=False), "a worker takes for done what was not", 6),
    "a lost reply is taken for a no": (Variant(rereads=False), "a worker takes for refused what was done", 6),
    "nobody rescues": (Variant(rescues=False), "no more: every job can still end", 1000),
}


def test_every_state_of_the_lease_protocol_is_safe_and_has_a_way_on(publish: Publisher) -> None:
    space = search(Variant())
    publish(
        "#6",
        "lease protocol, closed state space",
        f"2 workers x 2 jobs x {LEASES} leases: {space.states:,} states, {space.edges:,} steps, the farthest after "
        f"{space.longest}; {PROPERTIES} properties, broken: {[wrong.what for wrong in space.wrong] or 'none'}",
        value=len(space.wrong),
        bound="properties broken = 0",
        promise=4,
        on="the table of transitions",
    )
    assert space.states > 100_000


@pytest.mark.parametrize("name", BROKEN)
def test_control_a_broken_protocol_has_a_counterexample(name: str, publish: Publisher) -> None:
    variant, expected, deepest = BROKEN[name]
    space = search(variant, deepest)
    print(f"{name}: {space.states:,} states")
    found = {wrong.what: wrong.path for wrong in space.wrong}
    assert expected in found
    for step in found[expected]:
        print("  ", step)
    publish.control(
        "#6",
        f"lease protocol: {name}",
        f"{expected}, after {len(found[expected])} steps: {'; '.join(found[expected])}",
        value=len(space.wrong),
        bound="properties broken >= 1",
        on="the table of transitions",
    )
