"""One value on its way through the database's text, and what it is without trusting `==`."""

from __future__ import annotations

import dataclasses
from datetime import datetime, time
from typing import Any

import msgspec

from rowqueue import Context
from rowqueue.app.arguments import Signature
from rowqueue.core import payload


def signature(annotation: Any) -> Signature:
    def function(value): ...

    function.__annotations__["value"] = annotation
    return Signature("job", function, Context)


def stored(annotation: Any, value: Any) -> Any:
    """The value in the handler, after the way through the database's text."""
    schema = signature(annotation)
    text = payload.encode(schema.encode((value,), {}), "the arguments")
    _, kwargs = schema.decode(payload.decode(text))
    return kwargs["value"]


def shape(value: Any) -> Any:
    """A value as text and types, for a comparison that owes nothing to `==` or to the code under test."""
    name = type(value).__name__
    if isinstance(value, datetime | time):
        return name, value.replace(tzinfo=None).isoformat(), str(value.utcoffset())
    if isinstance(value, dict):
        return name, [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, set | frozenset):
        return name, sorted(map(repr, map(shape, value)))
    if isinstance(value, list | tuple):
        return name, [shape(item) for item in value]
    if dataclasses.is_dataclass(value):
        return name, shape(vars(value))
    if isinstance(value, msgspec.Struct):
        return name, [shape(getattr(value, one)) for one in value.__struct_fields__]
    if hasattr(value, "model_dump"):
        return name, shape(dict(value))  # a datetime of pydantic's has another class for UTC
    return name, repr(value)
