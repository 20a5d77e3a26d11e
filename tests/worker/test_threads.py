"""Threads for handlers, and the way back into the loop: nothing is lost, nothing waits for what it need not wait for."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from rowqueue.worker.threads import Returns, Threads
from tests.support.waiting import wait_until

LIMIT = 8


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(LIMIT, "these")
    yield made
    made.close()
    wait_until(lambda: not alive(), "all have ended")


def alive() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("these-")]


def test_calls_that_wait_for_each_other_all_run(threads: Threads):
    for _ in range(3):  # with new threads, and with idle ones
        met = threading.Barrier(LIMIT + 1)
        for _ in range(LIMIT):
            threads.run(lambda met=met: met.wait(10))
        met.wait(10)
    assert len(alive()) == LIMIT


def test_there_are_no_more_than_the_limit_and_the_others_wait(threads: Threads):
    go, running, most = threading.Event(), Counter[str](), []
    lock = threading.Lock()

    def call() -> None:
        with lock:
            running["now"] += 1
            running["ever"] += 1
            most.append(running["now"])
        go.wait(10)
        with lock:
            running["now"] -= 1

    for _ in range(5 * LIMIT):
        threads.run(call)
    wait_until(lambda: running["now"] == LIMIT, "as many as there may be")
    go.set()
    wait_until(lambda: running["ever"] == 5 * LIMIT, "all ran")
    assert max(most) == LIMIT


def test_what_was_given_before_the_end_is_run(threads: Threads):
    go, ran = threading.Event(), list[int]()
    for number in range(3 * LIMIT):
        threads.run(lambda number=number: (go.wait(10), ran.append(number)))
    threads.close()
    go.set()
    wait_until(lambda: len(ran) == 3 * LIMIT, "all ran")


def test_where_the_system_gives_no_more_threads_those_that_there_are_do_the_work(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
):
    go, ran = threading.Event(), list[int]()
    threads.run(lambda: go.wait(10))
    wait_until(alive, "the first one")

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for number in range(LIMIT):
            threads.run(lambda number=number: ran.append(number))
        none = Threads(LIMIT, "none")
        with pytest.raises(RuntimeError, match="start new thread"):
            none.run(lambda: None)
    go.set()
    wait_until(lambda: len(ran) == LIMIT, "all ran")


def test_every_call_from_a_thread_comes_back_once(threads: Threads):
    calls = 20_000

    async def main() -> list[int]:
        returns, got, done = Returns(asyncio.get_running_loop()), list[int](), asyncio.Event()

        def came(number: int) -> None:
            got.append(number)
            if len(got) == calls:
                done.set()

        for first in range(LIMIT):

            def send(first: int = first) -> None:
                for number in range(first, calls, LIMIT):
                    returns.call(came, number)

            threads.run(send)
        await asyncio.wait_for(done.wait(), 30)
        return got

    assert sorted(asyncio.run(main())) == list(range(calls))


def test_the_loop_is_woken_once_for_many_and_one_that_raises_keeps_none_from_coming():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wakes, got, failed = list[object](), list[int](), list[object]()
        loop.set_exception_handler(lambda _, context: failed.append(context["exception"]))
        usual = loop.call_soon_threadsafe

        def counted(*values: object) -> object:
            wakes.append(values)
            return usual(*values)  # type: ignore[arg-type]

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign, assignment]
        returns = Returns(loop)

        def send() -> None:
            for number in range(100):
                returns.call(got.append, number)
            returns.call(lambda: 1 / 0)
            returns.call(got.append, 100)

        sender = threading.Thread(target=send)
        sender.start()
        sender.join()  # the loop does not look meanwhile
        while len(got) < 101:  # noqa: ASYNC110 - its calls are the loop's own
            await asyncio.sleep(0)
        assert got == list(range(101))
        assert len(wakes) == 1
        assert [type(error) for error in failed] == [ZeroDivisionError]

    asyncio.run(main())
