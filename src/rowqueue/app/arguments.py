"""A function's signature as the schema of its stored arguments: one object, by parameter name."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from rowqueue.app.encoding import Codec, Misfit, codec_of
from rowqueue.core.errors import ConfigurationError, InvalidArguments
from rowqueue.core.values import Json


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one call, checked and encoded; ``args()`` of a job makes them.

    Attributes:
        kind: of which job.
        values: JSON data by parameter name.
    """

    kind: str
    values: dict[str, Json] = field(repr=False)


class Signature:
    """Binds, checks and encodes the arguments of a call, and decodes them for the handler.

    Everything that can be known at decoration is worked out then; ``encode`` is one pass over
    the arguments. Defaults are not stored, so a changed default holds for jobs that wait, too.

    Args:
        kind: the job, for messages.
        function: whose parameters.
        context: the class whose instance is injected as first parameter, when it is annotated so.

    Raises:
        ConfigurationError: a parameter whose values could not be stored or read again.
    """

    def __init__(self, kind: str, function: Callable[..., Any], context: type) -> None:
        self.kind = kind
        signature, hints = annotations_of(kind, function)
        parameters = list(signature.parameters.values())
        self.takes_context = bool(parameters) and hints.get(parameters[0].name) is context
        self._reserved = parameters.pop(0).name if self.takes_context else None
        self.public = signature.replace(parameters=parameters)
        self._codecs: dict[str, Codec] = {}
        self._extra: Codec | None = None
        for parameter in parameters:
            codec = self._codec(parameter, hints.get(parameter.name, Any), context)
            if parameter.kind is parameter.VAR_KEYWORD:
                self._extra = codec
            else:
                self._codecs[parameter.name] = codec
        self._read(parameters)

    def _read(self, parameters: list[inspect.Parameter]) -> None:
        named = [one for one in parameters if one.kind is not one.VAR_KEYWORD]
        self._by_position = tuple(one.name for one in named if one.kind is not one.KEYWORD_ONLY)
        self._position_only = {one.name: one.default for one in named if one.kind is one.POSITIONAL_ONLY}
        self._required = tuple(one.name for one in named if one.default is one.empty)
        codecs = ((name, self._codecs[name]) for name in self._by_position)
        self._positions = tuple((name, codec, codec.plain) for name, codec in codecs)
        by_name = [name for name in self._required if name not in self._by_position]
        # So many positional arguments are all that must be given.
        self._enough = len(self._by_position) if not by_name else len(named) + 1
        if self._position_only and self._extra is not None:
            raise ConfigurationError(
                f"{self.kind} has positional-only parameters beside **{parameters[-1].name}, and both may use a name:"
                " remove the '/'"
            )

    def _codec(self, parameter: inspect.Parameter, annotation: Any, context: type) -> Codec:
        name = parameter.name
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise ConfigurationError(
                f"{self.kind} takes *{name}, but arguments are stored by name: take one list, {name}: list[...]"
            )
        if annotation is context:
            raise ConfigurationError(
                f"the context must be the first parameter of {self.kind}: move {name!r} to the front"
            )
        try:
            return codec_of(annotation)
        except Exception as error:  # noqa: BLE001 - an annotation may be anything at all
            raise ConfigurationError(
                f"parameter {name!r} of {self.kind} cannot be stored: {error}; annotate it with JSON types, datetime,"
                " UUID, Decimal, Enum, a dataclass, TypedDict, msgspec.Struct or pydantic model"
            ) from None

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Json]:
        """The arguments of a call as JSON data by parameter name.

        Raises:
            InvalidArguments: they do not fit the signature, or would not come back as they are.
        """
        stored: dict[str, Json] = {}
        codecs = self._codecs
        if args:
            if len(args) > len(self._by_position):
                self._refuse(f"takes {len(self._by_position)} positional arguments, not {len(args)}")
            for (name, codec, plain), value in zip(self._positions, args, strict=False):
                stored[name] = value if type(value) in plain else self._encode(name, value, codec)
            if not kwargs and len(args) >= self._enough:
                return stored
        for name, value in kwargs.items():
            known = codecs.get(name)
            if known is None or name in stored or name in self._position_only:
                known = self._unusual(name, stored)
            stored[name] = value if type(value) in known.plain else self._encode(name, value, known)
        for name in self._required:
            if name not in stored:
                self._refuse(f"needs {name!r}")
        return stored

    def decode(self, stored: Mapping[str, Json]) -> tuple[list[Any], dict[str, Any]]:
        """Stored arguments as positional and keyword arguments for the function.

        Raises:
            InvalidArguments: they do not fit the function, which has changed since the enqueue.
        """
        if not isinstance(stored, dict):
            self._refuse(
                f"was stored with a {type(stored).__name__} as arguments; it must be an object by name"
            )
        values: dict[str, Any] = {}
        for name, value in stored.items():
            codec = self._codecs.get(name) or self._extra
            if codec is None or name == self._reserved:
                self._refuse(f"was stored with {name!r}, which the function no longer takes")
            try:
                values[name] = value if type(value) in codec.plain else codec.decode(value)
            except Misfit as error:
                self._refuse(f"was stored with a {name!r} that {error}")
        for name in self._required:
            if name not in values:
                self._refuse(f"was stored without {name!r}, which the function needs now")
        return [values.pop(name, default) for name, default in self._position_only.items()], values

    def _encode(self, name: str, value: Any, codec: Codec) -> Json:
        try:
            return codec.encode(value)
        except Misfit as error:
            raise InvalidArguments(f"argument {name!r} of {self.kind} {error}") from None
        except RecursionError:
            raise InvalidArguments(
                f"argument {name!r} of {self.kind} is nested too deeply, or holds itself"
            ) from None

    def _unusual(self, name: str, stored: Mapping[str, Json]) -> Codec:
        if name in stored:
            self._refuse(f"got {name!r} twice")
        if name in self._position_only:
            self._refuse(f"takes {name!r} by position only")
        if self._extra is None or name == self._reserved:
            known = ", ".join(self._codecs) or "no arguments"
            self._refuse(f"does not take {name!r}; it takes {known}")
        return self._extra

    def _refuse(self, text: str) -> NoReturn:
        raise InvalidArguments(f"{self.kind} {text}")


def annotations_of(kind: str, function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    """A function's signature, and its annotations as types.

    Raises:
        ConfigurationError: they cannot be read.
    """
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(_annotated(function), include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"the annotation {error.name!r} of {kind} is not there at run time: import it outside of"
            " `if TYPE_CHECKING` and outside of functions"
        ) from None
    except Exception as error:  # noqa: BLE001 - an annotation may be anything at all
        raise ConfigurationError(f"the annotations of {kind} cannot be read: {error}") from None
    return signature, hints


def _annotated(function: Any) -> Any:
    """What holds the annotations: a callable object keeps them on its ``__call__``."""
    function = inspect.unwrap(function)
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__
