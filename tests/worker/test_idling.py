"""When a worker says that it is idle, and when it takes that back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import pytest

from rowqueue.worker.events import Events
from rowqueue.worker.idling import AFTER, HOLD, UNSAID, Idling
from rowqueue.worker.patience import Patience
from tests.worker.harness import PATIENCE


class Said:
    """An ``Idling`` with what it said and asked for."""

    def __init__(self) -> None:
        self.listens = True
        self.said: list[Mapping[str, float]] = []
        self.looks: list[tuple[float, ...]] = []
        self.idling = Idling(
            self._say, lambda: self.listens, lambda *delays: self.looks.append(delays), Patience(Events())
        )

    async def _say(self, seconds: Mapping[str, float]) -> None:
        self.said.append(seconds)

    async def until(self, *said: Mapping[str, float]) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.said != list(said):
                assert len(self.said) <= len(said), self.said
                await asyncio.sleep(0.001)


@pytest.fixture
async def said() -> AsyncIterator[Said]:
    said = Said()
    task = asyncio.create_task(said.idling.run())
    yield said
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_it_is_said_once_after_a_while_and_the_worker_looks_again(said: Said):
    for _ in range(5):
        said.idling.rests(["a", "b"], after_work=True)
    assert said.said == []
    await said.until({"a": HOLD, "b": HOLD})
    said.idling.works()
    said.idling.rests(["a", "b"], after_work=True)
    said.idling.rests(["a"], after_work=True)
    assert said.looks == [UNSAID, AFTER]


async def test_another_queue_is_said_later(said: Said):
    said.idling.rests(["a"], after_work=True)
    await said.until({"a": HOLD})
    said.idling.rests(["a", "b"], after_work=True)
    await said.until({"a": HOLD}, {"b": HOLD})


async def test_a_queue_that_is_full_is_said_no_more(said: Said):
    said.idling.rests(["a", "b"], after_work=True)
    await said.until({"a": HOLD, "b": HOLD})
    said.idling.rests(["b"], after_work=True)
    await said.until({"a": HOLD, "b": HOLD}, {"a": 0.0})


async def test_a_worker_that_keeps_up_rests_shortly_and_is_told_nothing(said: Said):
    said.idling.rests(["a"], after_work=True)
    await said.until({"a": HOLD})
    async with asyncio.timeout(PATIENCE):
        while len(said.said) < 2:
            said.idling.works()
            await asyncio.sleep(0.001)
            said.idling.rests(["a"], after_work=True)
            await asyncio.sleep(0.001)
    assert said.said[1] == {"a": 0.0}
    said.idling.works()
    said.looks.clear()
    said.idling.rests(["a"], after_work=True)
    assert said.looks == [UNSAID]


async def test_a_claim_that_gave_nothing_is_not_repeated_soon(said: Said):
    """A look shows a row that is locked, a claim passes it over: over and over, if looks followed."""
    said.idling.rests(["a"], after_work=False)
    assert said.looks == []
    await said.until({"a": HOLD})


async def test_nothing_is_said_while_nobody_listens(said: Said):
    said.listens = False
    said.idling.rests(["a"], after_work=True)
    await asyncio.sleep(0.1)
    assert said.said == []
    said.listens = True
    said.idling.up()
    await said.until({"a": HOLD})
    said.idling.up()  # the listener was away, and is back
    await said.until({"a": HOLD}, {"a": HOLD})
