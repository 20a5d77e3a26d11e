"""Noticing writes to a file: told by the system, or by asking for its times."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rowqueue import App, NewJob
from rowqueue.operations.wake import Look, look
from rowqueue.worker.inotify import Inotify
from rowqueue.worker.watching import Times, Watching, Writes, best_writes
from tests.worker.harness import PATIENCE

LINUX = os.uname().sysname == "Linux"
MAKERS = [Times] + ([Inotify] if LINUX else [])


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[[Path], Writes]:
    maker: Callable[[Path], Writes] = request.param
    return maker


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ä name-wal"


@pytest.fixture
def writes(make, path: Path) -> Iterator[Writes]:
    with contextlib.closing(make(path)) as writes:
        yield writes


def test_a_file_that_is_made_written_and_made_anew(writes: Writes, path: Path):
    assert not writes.wait(0.0)
    path.write_text("a")
    assert writes.wait(PATIENCE)
    writes.wait(0.0)
    path.write_text("more")
    assert writes.wait(PATIENCE)
    writes.wait(0.0)
    path.unlink()
    path.write_text("once more, and longer")
    assert writes.wait(PATIENCE)
    writes.wait(0.0)
    with path.open("a") as file:
        file.write("and on")
    assert writes.wait(PATIENCE)


def test_other_files_are_nobodys_business(writes: Writes, path: Path):
    path.with_name("another").write_text("a")
    assert not writes.wait(0.05)


def test_a_wait_is_ended_from_another_thread(writes: Writes):
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(writes.wait(None)))
    thread.start()
    writes.wake()
    thread.join(PATIENCE)
    assert answers == [False]


@pytest.mark.skipif(not LINUX, reason="only Linux tells")
def test_linux_tells_and_a_directory_that_is_not_there_is_asked_for(path: Path):
    with contextlib.closing(best_writes(path)) as writes:
        assert isinstance(writes, Inotify)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert isinstance(best_writes(path.parent / "missing" / "x"), Times)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_what_was_committed_is_seen_and_a_busy_worker_sees_it_later(make, sqlite_url: str):
    app = App(sqlite_url)
    app.init()
    seen: asyncio.Queue[Look | None] = asyncio.Queue()
    watching = Watching(app.async_store, look(["a"]), seen.put_nowait, make)
    task = asyncio.create_task(watching.run())
    async with asyncio.timeout(PATIENCE):
        watching.rests(["a"], after_work=True)
        await asyncio.to_thread(app.store.enqueue, NewJob(kind="k", queue="a"))
        assert await seen.get() == Look(("a",), None)
        watching.works()
        while not seen.empty():
            seen.get_nowait()
        claims = await asyncio.to_thread(app.store.claim)
        await asyncio.to_thread(app.store.complete_many, claims)
        await asyncio.to_thread(app.store.enqueue, NewJob(kind="k", queue="a", delay=50))
        watching.rests(["a"], after_work=True)
        while (found := await seen.get()) is None or found.ready:
            pass
        assert found.due is not None
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await app.aclose()
