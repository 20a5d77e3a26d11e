"""Every parser of text that comes from outside, and what it may say no by."""

import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any

import click

from rowqueue.app.loading import load_app
from rowqueue.cli.commands import enqueue as enqueue_command
from rowqueue.cli.commands.work import named_slots
from rowqueue.cli.options import Duration
from rowqueue.core import names, payload
from rowqueue.core.errors import RowqueueError
from rowqueue.core.values import NewJob
from rowqueue.operations import decode, reading
from rowqueue.store.database import Database
from rowqueue.worker.wire import Wire

REFUSALS = (RowqueueError, click.UsageError, click.BadParameter)


def url(text: str) -> None:
    """A database URL: whatever it is, nothing connects."""
    Database(text)


def app_path(text: str) -> None:
    """A path to an app; only what names no module at all is tried here, because importing is what it is for."""
    load_app("_no_such_module_" + text)


def moment(text: str) -> None:
    """A time: it must be one that databases hold."""
    found = enqueue_command._moment(text)
    names.instant(found, "--at")
    from rowqueue.sql.types import microseconds

    microseconds(found)


def arguments(text: str) -> None:
    """ARGS-JSON, and the payload that becomes of it."""
    value = enqueue_command._object(text, "the arguments")
    assert json.loads(payload.encode(value, "the arguments")) == value


def cursor(text: str) -> None:
    """The cursor of a listing."""
    reading._cursor(text)


def filters(text: str) -> None:
    """States, names and tags of a listing."""
    reading._states(text)
    reading._states([text])
    names.text(text, "queue")


def stored(text: str) -> None:
    """JSON in rows: never an error."""
    decode.json_of(text)
    decode.tags_of(text)
    decode.errors_of(text)
    decode.progress_of(text)


def wire(text: str) -> None:
    """A line from a child, which is ours or what a handler wrote into the descriptor."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(text.encode("utf-8", "replace")[:1000] + b"\n")
        theirs.close()
        receiving = Wire(ours)
        while receiving.receive(timeout=1) is not None:
            pass


def prefixes(text: str) -> None:
    """A table prefix, and a schema's name."""
    with contextlib.suppress(RowqueueError):
        names.prefix(text)
    names.schema(text)


def slots(text: str) -> None:
    """--queue NAME=SLOTS."""
    named_slots("--queue", (text, "mail=3"), None)


def duration(text: str) -> None:
    """90, 5min, 2h."""
    seconds = Duration().convert(text, None, None)
    NewJob(kind="k", delay=seconds)


PARSERS: dict[str, Callable[[str], None]] = {
    parser.__name__: parser
    for parser in (
        url,
        app_path,
        moment,
        arguments,
        cursor,
        filters,
        stored,
        wire,
        prefixes,
        slots,
        duration,
    )
}


def tried(parser: Callable[[str], None], text: str) -> bool:
    """Whether it was taken; any error that is not a refusal in words passes through."""
    try:
        parser(text)
    except REFUSALS as refusal:
        said = str(refusal) or getattr(refusal, "message", "")
        assert said, "a refusal without words"
        return False
    return True


def run(text: str, chosen: Any = None) -> None:
    """All of them."""
    for parser in PARSERS.values():
        tried(parser, text)
