"""One process of a system: `python -m benchmarks.peers.drive NAME setup|one|bulk|send|work URL [COUNT] [RATE]`."""

import asyncio
import importlib
import inspect
import json
import logging
import os
import sys
import time

logging.basicConfig(level=logging.WARNING)


async def produce(module, verb, url, count, rate):
    async with module.producer(url) as (one, bulk, *others):
        if verb == "bulk":
            began = time.perf_counter()
            await bulk(count)
            return {"rate": count / (time.perf_counter() - began)}
        if verb == "one":
            for number in range(10):
                await one(number)
            began = time.perf_counter()
            for number in range(count):
                await one(number)
            return {"rate": count / (time.perf_counter() - began)}
        send, sent = (others or [one])[0], []
        began = time.perf_counter()
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            sent.append(time.monotonic_ns())
            await send(number)
        return {"sent": sent}


def main(name, verb, url, count="0", rate="20"):
    module = importlib.import_module(f"benchmarks.peers.{name}_")
    if verb == "work":
        module.work(url)
        return
    if verb == "setup":
        made = module.setup(url)
        if inspect.isawaitable(made):
            asyncio.run(made)
        answer = {}
    else:
        import uvloop

        answer = uvloop.run(produce(module, verb, url, int(count), float(rate)))
    print("ANSWER " + json.dumps(answer), flush=True)
    os._exit(0)  # some systems keep threads


if __name__ == "__main__":
    main(*sys.argv[1:])
