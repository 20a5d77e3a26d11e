"""Whether a value came back from storage as it went in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec


def same(before: Any, after: Any, *, loose: bool) -> bool:
    """Compare field by field, because ``==`` says too little (1 == True) or too much (``eq=False``).

    Args:
        before: what was passed.
        after: what decoding the stored form gave.
        loose: the annotation names an abstract collection (Sequence, Mapping, Set): a list may
            come back for a tuple, a set for a frozenset, a dict for another mapping.

    Returns:
        True when a handler cannot tell them apart. Two differences are let through, which a type
        checker lets through as well: an int where a float of the same value comes back, and a
        member of a text or int Enum where its plain value does.
    """
    kind: type[Any] = type(before)
    if kind is not type(after):
        return _same_but_for_type(before, after, loose=loose)
    if issubclass(kind, datetime | time):
        # == is never true between zones in the hour that the clock repeats, and ignores what RFC 3339 cannot say.
        return bool(
            before.replace(tzinfo=None) == after.replace(tzinfo=None)
            and before.utcoffset() == after.utcoffset()
        )
    if issubclass(kind, Decimal):
        return bool(before.as_tuple() == after.as_tuple())
    if issubclass(kind, list | tuple):
        return _same_items(before, after, loose=loose)
    if issubclass(kind, dict):
        return len(before) == len(after) and all(
            key in after and same(item, after[key], loose=loose) for key, item in before.items()
        )
    if issubclass(kind, msgspec.Struct):
        return all(same(getattr(before, f), getattr(after, f), loose=loose) for f in kind.__struct_fields__)
    if dataclasses.is_dataclass(kind) and not hasattr(kind, "__pydantic_validator__"):
        fields = dataclasses.fields(kind)
        return all(same(getattr(before, f.name), getattr(after, f.name), loose=loose) for f in fields)
    return bool(before == after)


def _same_but_for_type(before: Any, after: Any, *, loose: bool) -> bool:
    if type(after) is float:
        return type(before) is int and before == after
    if isinstance(before, Enum):
        return type(after) in {str, int} and bool(before == after)
    if not loose:
        return False
    if isinstance(after, list | tuple):
        return isinstance(before, list | tuple) and _same_items(before, after, loose=True)
    if type(after) is dict:
        return isinstance(before, Mapping) and same(dict(before), after, loose=True)
    return isinstance(after, AbstractSet) and isinstance(before, AbstractSet) and before == after


def _same_items(before: Any, after: Any, *, loose: bool) -> bool:
    return len(before) == len(after) and all(
        same(one, other, loose=loose) for one, other in zip(before, after, strict=True)
    )
