"""Many processes that begin at the same moment: `python -m tests.support.together NAME COUNT ARGUMENTS-AS-JSON`.

Forked from one Python that has imported everything, so eight of them cost eight forks and not eight imports. Each writes
one line of JSON, its answer; the lines come back in any order.
"""

import json
import os
import random
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from rowqueue.core.states import UNFINISHED, State
from rowqueue.core.values import NewJob
from rowqueue.store import pools
from rowqueue.store.store import Store
from tests.support.session import ROOT


def claim_all(number: int, url: str, batch: int) -> Any:
    """Claim until there is nothing left, completing as it goes; the keys in the order of the claims."""
    store = Store(url)
    keys: list[int] = []
    empty = 0
    while empty < 3:  # others may hold what is left for a moment
        claims = store.claim(batch, queues=["default"], worker=f"w-{number}")
        keys += [claim.key for claim in claims]
        refused = [outcome for outcome in store.complete_many(claims) if not outcome]
        if refused:
            raise AssertionError(refused)
        empty = 0 if claims else empty + 1
    store.close()
    return keys


def finish_in_any_order(number: int, url: str, batch: int) -> Any:
    """Claim until there is nothing left, and complete what was claimed in a random order; retries are counted."""
    store = Store(url)
    retries = 0
    pause = pools._pause

    def counted(tries: int) -> float:
        nonlocal retries
        retries += 1
        return pause(tries)

    pools._pause = counted
    chance = random.Random(number)
    keys: list[int] = []
    held: list[Any] = []
    empty = 0
    while empty < 3 or held:
        claims = store.claim(batch, queues=["default"], worker=f"w-{number}") if len(held) < 5 * batch else []
        keys += [claim.key for claim in claims]
        held += claims
        empty = 0 if claims else empty + 1
        chance.shuffle(held)
        ending, held = (held[:batch], held[batch:]) if claims else (held, [])
        refused = [outcome for outcome in store.complete_many(ending) if not outcome]
        if refused:
            raise AssertionError(refused)
    store.close()
    return {"keys": keys, "retries": retries}


def produce(number: int, url: str, keys: int, threads: int, step: int) -> Any:
    """Enqueue every unique key, in an order of one's own, from several threads; what each was told."""
    store = Store(url)
    wide = UNFINISHED | {State.COMPLETED}

    def one(thread: int) -> list[tuple[str, int, bool]]:
        told = []
        mine = number * threads + thread
        order = [(mine * 7 + position) % keys for position in range(keys)]
        for begin in range(0, keys, step):
            jobs = [
                NewJob(kind="k", unique_key=f"u-{key}", unique_states=wide if key % 2 else None)
                for key in order[begin : begin + step]
            ]
            answers = [store.enqueue(jobs[0])] if step == 1 else store.enqueue_many(jobs)
            told += [(answer.job.unique_key or "", answer.job.id, answer.inserted) for answer in answers]
        return told

    with ThreadPoolExecutor(threads) as pool:
        told = [answer for answers in pool.map(one, range(threads)) for answer in answers]
    store.close()
    return told


def retry_all(number: int, url: str, keys: list[int]) -> Any:
    """Retry the same jobs, one by one, in an order of one's own."""
    store = Store(url)
    turned = [keys[(position + number * 3) % len(keys)] for position in range(len(keys))]
    answers = [store.retry(key) for key in turned]
    store.close()
    return [(answer.key, answer.reason, answer.conflict) for answer in answers]


def upkeep(number: int, url: str, rounds: int) -> Any:
    """Promote and rescue beside others; how many each."""
    store = Store(url)
    promoted = rescued = 0
    for _ in range(rounds):
        promoted += sum(store.promote_due(limit=50).values())
        rescued += len(store.rescue(limit=50))
    store.close()
    return [promoted, rescued]


def together(what: Callable[..., Any], count: int, timeout: float = 100, **arguments: Any) -> list[Any]:
    """Run a function of this module in so many processes at once; their answers."""
    command = [sys.executable, "-m", __name__, what.__name__, str(count), json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == count
    return answers


def main(name: str, count: int, arguments: dict[str, Any]) -> None:
    what = globals()[name]
    with closing(Store(arguments["url"])) as store:
        store.check_schema()
        store.statements()
    gate, open_gate = os.pipe()
    results = []
    for number in range(count):
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.close(open_gate)
            os.read(gate, 1)  # closed at once for all
            os.close(reading)
            try:
                with os.fdopen(writing, "w") as answer:
                    json.dump(what(number, **arguments), answer)
                    answer.flush()
                os._exit(0)
            except BaseException:  # noqa: BLE001 - a fork must not run its parent's code
                traceback.print_exc()
                os._exit(1)
        os.close(writing)
        results.append(reading)
    os.close(gate)
    os.close(open_gate)
    for reading in results:
        with os.fdopen(reading) as answer:
            print(answer.read())
    failed = sum(os.wait()[1] != 0 for _ in range(count))
    sys.exit(f"{failed} of {count} processes failed" if failed else 0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
