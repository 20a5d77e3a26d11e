"""One parameter's values to plain JSON data and back, by its annotation."""

from __future__ import annotations

import collections.abc
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, NoReturn, TypeAlias, Union, get_args, get_origin

import msgspec
import msgspec.inspect

from rowqueue.app.fidelity import same
from rowqueue.core.values import Json

_PLAIN: frozenset[type] = frozenset({int, float, str, bool, NoneType})
_ABSTRACT = tuple(
    getattr(collections.abc, name)
    for name in (
        "Sequence",
        "MutableSequence",
        "Collection",
        "Mapping",
        "MutableMapping",
        "Set",
        "MutableSet",
    )
)
# Only messages made of types and field names may be shown: others repeat the value, or what a user's check says of it.
_TYPES_ONLY = re.compile(
    r"Expected `[^`]*`(, got `[\w ]+`| (of length|matching regex|>|<|==|that's a multiple of|with a timezone).*)?"
    r"( - at `[\w$.\[\]]+`)?|Object missing required field `[^`]*`( - at `[\w$.\[\]]+`)?"
)
_PATH = re.compile(r" - at `[\w$.\[\]]+`\Z")


class Misfit(Exception):
    """A value does not fit; the message begins with a verb and never shows the value."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How the values of one parameter are stored.

    Attributes:
        plain: values of exactly these types are stored as they are (the fast path).
        encode: any other value to JSON data; raises Misfit.
        decode: stored JSON data to the value; raises Misfit.
    """

    plain: frozenset[type]
    encode: Callable[[Any], Json]
    decode: Callable[[Json], Any]


def codec_of(annotation: Any) -> Codec:
    """The codec of an annotation; ``Any`` and ``object`` take plain JSON data.

    Raises:
        TypeError: values of that type cannot be stored; the message names the type.
    """
    if annotation is Any or annotation is object:
        return Codec(_PLAIN, _checked, lambda stored: stored)
    if any(map(_is_pydantic, _parts(annotation))):
        return _by_pydantic(annotation)
    return _by_msgspec(annotation)


def _by_msgspec(annotation: Any) -> Codec:
    _refuse_unknown(msgspec.inspect.type_info(annotation), set())
    loose = any(part in _ABSTRACT for part in _parts(annotation))

    def encode(value: Any) -> Json:
        try:
            stored = _listed(msgspec.to_builtins(value, str_keys=True))
            again = decode(stored)
        except Misfit:
            raise
        except Exception as error:  # noqa: BLE001 - a value may be anything at all
            raise Misfit(
                f"is a {type(value).__name__} that cannot be stored ({type(error).__name__})"
            ) from None
        if not same(value, again, loose=loose):
            _refuse_changed(value, again)
        return stored

    def decode(stored: Json) -> Any:
        try:
            return msgspec.convert(stored, annotation, strict=True, str_keys=True)
        except msgspec.ValidationError as error:
            raise Misfit(f"does not fit: {_safe(str(error))}") from None

    return Codec(_plain_types(annotation), encode, decode)


def _by_pydantic(annotation: Any) -> Codec:
    pydantic: Any = import_module("pydantic")  # loaded already, because the annotation comes from it
    adapter = pydantic.TypeAdapter(annotation)

    def encode(value: Any) -> Json:
        try:
            stored = adapter.dump_python(value, mode="json", by_alias=True, round_trip=True, warnings="error")
            again = decode(stored)
        except Misfit:
            raise
        except Exception:  # noqa: BLE001 - a model's own code runs here
            raise Misfit(f"is a {type(value).__name__}, which its pydantic annotation cannot store") from None
        if not same(value, again, loose=True):
            _refuse_changed(value, again)
        return stored

    def decode(stored: Json) -> Any:
        # By way of JSON text, because there a strict model takes a date from text.
        try:
            return adapter.validate_json(json.dumps(stored))
        except pydantic.ValidationError as error:
            faults = sorted({fault["type"] for fault in error.errors(include_url=False, include_input=False)})
            raise Misfit(f"does not fit its pydantic annotation ({', '.join(faults)})") from None

    return Codec(frozenset(), encode, decode)


def _checked(value: Any) -> Json:
    """Plain JSON data as it is; anything that JSON would change or cannot hold is refused."""
    kind: type[Any] = type(value)
    if kind in _PLAIN:
        return value
    if kind is list:
        for item in value:
            _checked(item)
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise Misfit(f"has a dict key of type {type(key).__name__}: JSON keys are text")
            _checked(item)
    else:
        raise Misfit(f"holds a {kind.__name__}, which is no JSON: annotate the parameter, or pass plain data")
    return value


def _listed(value: Any) -> Json:
    """Tuples as the lists that JSON makes of them, so that what is checked is what will be read."""
    kind: type[Any] = type(value)
    if issubclass(kind, list | tuple):
        return [_listed(item) for item in value]
    if kind is dict:
        return {key: _listed(item) for key, item in value.items()}
    return value


def _refuse_changed(before: Any, after: Any) -> NoReturn:
    one, other = type(before).__name__, type(after).__name__
    if one != other:
        raise Misfit(f"is a {one} and would come back as a {other}: convert it, or annotate the parameter so")
    raise Misfit(
        f"is a {one} that would come back changed: not all of it can be stored as its annotation says"
    )


def _safe(message: str) -> str:
    if _TYPES_ONLY.fullmatch(message):
        return message
    place = _PATH.search(message)
    return f"invalid value{place.group() if place else ''}"


_Node: TypeAlias = Any


def _parts(annotation: Any) -> Iterator[_Node]:
    """The annotation, its origin and its arguments, all the way down, metadata of Annotated included."""
    annotation = getattr(annotation, "__supertype__", annotation)  # NewType
    yield annotation
    if (origin := get_origin(annotation)) is not None:
        yield origin
        yield from getattr(annotation, "__metadata__", ())
    for argument in get_args(annotation):
        yield from _parts(argument)


def _is_pydantic(part: Any) -> bool:
    owner = part if isinstance(part, type) else type(part)
    return (
        hasattr(part, "__get_pydantic_core_schema__")
        or hasattr(part, "__pydantic_validator__")
        or (owner.__module__.partition(".")[0] == "pydantic")
    )


def _plain_types(annotation: Any) -> frozenset[type]:
    annotation = getattr(annotation, "__supertype__", annotation)
    if annotation is None:
        return frozenset({NoneType})
    if get_origin(annotation) in {Union, UnionType}:
        return frozenset().union(*map(_plain_types, get_args(annotation)))
    return frozenset({annotation}) if isinstance(annotation, type) and annotation in _PLAIN else frozenset()


def _refuse_unknown(node: Any, seen: set[int]) -> None:
    """msgspec lets through any class, to be handled by hooks; ours has none, so it would fail at the first call."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, msgspec.inspect.CustomType):
        raise TypeError(f"values of type {getattr(node.cls, '__name__', node.cls)} have no stored form")
    if isinstance(node, msgspec.inspect.Type | msgspec.inspect.Field):
        for name in node.__struct_fields__:
            _refuse_unknown(getattr(node, name), seen)
    elif isinstance(node, tuple):
        for item in node:
            _refuse_unknown(item, seen)
