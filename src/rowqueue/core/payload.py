"""Values to JSON text and back: identical after the round trip, or refused with a reason."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from types import NoneType
from typing import Any

from rowqueue.core.errors import InvalidArguments, PayloadTooLarge

PAYLOAD_LIMIT = 1024 * 1024
DEPTH_LIMIT = 64

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
_decoder = json.JSONDecoder()


def _writer() -> Callable[[Any], str]:
    """What encodes plain data: json's own encoder in C, made once and not at every call, where there is one."""
    make = getattr(json.encoder, "c_make_encoder", None)
    quote = getattr(json.encoder, "encode_basestring", None)
    if make is None:
        return _encoder.encode
    encode_parts = make(None, _encoder.default, quote, None, ":", ",", False, False, False)
    return lambda value: "".join(encode_parts(value, 0))


_write = _writer()
_PLAIN = frozenset({str, int, bool, NoneType})
"""What JSON can hold whatever its value; a number of too many digits is found by the writer."""

_OUTSIDE = re.compile(r'"(?:[^"\\]|\\.)*"')


def encode(value: Any, what: str, *, limit: int = PAYLOAD_LIMIT) -> str:
    """Encode a value as JSON text.

    Args:
        value: dicts with text keys, lists, tuples, text, numbers, booleans and None.
        what: its name in the message ("the arguments of mail.send"); the value is never shown.
        limit: the longest text allowed (bytes of UTF-8).

    Returns:
        JSON text without spaces.

    Raises:
        InvalidArguments: NaN, infinity, bytes, lone surrogates, keys that are not text, other types.
        PayloadTooLarge: longer than the limit.
    """
    if type(value) not in _PLAIN:
        _check(value, what, 0)
    try:
        text = _write(value)
    except ValueError:  # Python's own limit, which its decoder has, too
        raise InvalidArguments(f"{what} hold a number of thousands of digits: pass it as text") from None
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise InvalidArguments(
            f"{what} hold a lone surrogate, which is no text: decode with errors='replace' first"
        ) from None
    if size > limit:
        raise PayloadTooLarge(
            f"{what} take {size:,} bytes, the limit is {limit:,}: store them elsewhere and pass their name"
        )
    return text


def depth_of(text: str) -> int:
    """How deep JSON text is nested, as ``encode`` wrote it; a flat list is 1 deep."""
    depth = deepest = 0
    for mark in _OUTSIDE.sub("", text):
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def decode(text: str) -> Any:
    """Decode what ``encode`` wrote, or what another program did."""
    if text.startswith(("{", "[")):  # raw_decode takes a quarter of the time, but no space before the value
        return _decoder.raw_decode(text)[0]
    return json.loads(text)


def _check(value: Any, what: str, depth: int) -> None:
    """Refuse a value that is not plain, or what it holds; who calls has looked at plain ones, which are most."""
    kind = type(value)
    if kind is float:
        if not math.isfinite(value):
            raise InvalidArguments(f"{what} hold {value!r}, which JSON has no word for: pass None or text")
        return
    if depth >= DEPTH_LIMIT:
        raise InvalidArguments(f"{what} are nested deeper than {DEPTH_LIMIT} levels")
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise InvalidArguments(f"{what} have a key of type {type(key).__name__}: JSON keys are text")
            if type(item) not in _PLAIN:
                _check(item, what, depth + 1)
    elif kind is list or kind is tuple:
        for item in value:
            if type(item) not in _PLAIN:
                _check(item, what, depth + 1)
    else:
        hint = (
            "encode bytes as base64 text" if kind is bytes else "pass plain data, or annotate the parameter"
        )
        raise InvalidArguments(f"{what} hold a {kind.__name__}, which JSON cannot: {hint}")
