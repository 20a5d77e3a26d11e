"""Held claims under one way of calling, and a process that dies in the middle of one.

`python -m tests.support.holding '{"url": …}'` holds one row, writes an effect, says which row it is, and waits for its
standard input to end, which it does not: it is killed.
"""

import asyncio
import contextlib
import inspect
import json
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import sqlalchemy as sa

from rowqueue.store.async_store import AsyncStore
from rowqueue.store.store import Store
from tests.support import nursery
from tests.support.stores import Awaited


@contextlib.asynccontextmanager
async def hold(store: Any, **options: Any) -> AsyncIterator[Any]:
    """`claim_in_transaction` of either store."""
    if isinstance(store, Awaited):
        with store.store.claim_in_transaction(**options) as held:
            yield held
    else:
        async with store.claim_in_transaction(**options) as held:
            yield held


async def execute(held: Any, command: str) -> Any:
    """A statement on a held claim's connection, sync or async."""
    result = held.connection.execute(sa.text(command))
    return (await result) if inspect.isawaitable(result) else result


@contextlib.contextmanager
def holder(url: str, *, asynchronous: bool = False, **options: Any) -> Iterator[tuple[Any, int]]:
    """A process that holds a row: itself and the row's key; killed at the end, if not before."""
    plan = json.dumps({"url": url, "asynchronous": asynchronous, "options": options})
    with nursery.start("tests.support.holding", plan, stdin=nursery.PIPE, stdout=nursery.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def _hold(url: str, options: dict[str, Any]) -> None:
    with Store(url).claim_in_transaction(**options) as held:
        assert held is not None
        held.connection.execute(sa.text("INSERT INTO effect VALUES (1)"))
        print(held.claim.key, flush=True)
        sys.stdin.read()


async def _hold_async(url: str, options: dict[str, Any]) -> None:
    async with AsyncStore(url).claim_in_transaction(**options) as held:
        assert held is not None
        await held.connection.execute(sa.text("INSERT INTO effect VALUES (1)"))
        print(held.claim.key, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    plan = json.loads(sys.argv[1])
    if plan["asynchronous"]:
        asyncio.run(_hold_async(plan["url"], plan["options"]))
    else:
        _hold(plan["url"], plan["options"])
