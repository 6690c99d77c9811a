"""The signature of a method: its arguments in JSON, and its result (rules T1, T13)."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Mapping,
)
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec
from attrs import field, frozen

from .answer_streams import RESERVED_MEMBERS
from .codec import Codec, InvalidValueError
from .context import CallContext
from .schemas import object_schema

_STREAMS: Final = (AsyncIterator, AsyncGenerator, AsyncIterable)
_AWAITABLES: Final = (Awaitable, Coroutine)
_EMPTY: Final = inspect.Parameter.empty
_BAD_KINDS: Final = {
    "POSITIONAL_ONLY": "is positional-only, and arguments travel by name",
    "VAR_POSITIONAL": "takes any number of arguments",
    "VAR_KEYWORD": "takes any arguments",
}
#: Cuts an object into the JSON of its members; a codec sees one argument at a time.
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


@frozen(eq=False)
class Signature:
    """The signature of a method.

    Attributes:
        method: The name of the method, for messages.
        types: The types of the arguments, by name.
        required: The names of those without a default.
        positional: The names of those that may be given by position, in order.
        context: The name of the parameter that takes a `CallContext`; None without one.
        result: The type of the result, or of the items if it streams.
        streams: Whether its answer is a stream of items.
        is_async: Whether it is called with `await`, or `async for`.
        description: The docstring.
        python: Its signature in Python, without `self` and the context.
    """

    method: str
    types: Mapping[str, Any]
    required: frozenset[str]
    positional: tuple[str, ...]
    context: str | None
    result: Any
    streams: bool
    is_async: bool
    description: str
    python: inspect.Signature = field(repr=False)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return arguments by name.

        Raises:
            TypeError: they do not fit the signature.
        """
        values = dict(zip(self.positional, args, strict=False))
        count = len(values) + len(kwargs)
        values.update(kwargs)
        if (
            len(values) == count
            and len(args) <= len(self.positional)
            and self.required <= values.keys() <= self.types.keys()
        ):
            return values
        # Raises what Python would raise.
        return dict(self.python.bind(*args, **kwargs).arguments)

    def load_arguments(self, codec: Codec, members: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
        """Return the arguments of a call, by name (T1).

        Args:
            members: The members of its payload.

        Raises:
            InvalidValueError: they do not fit.
        """
        values: dict[str, Any] = {}
        for name, raw in members.items():
            if name not in self.types:
                if name in RESERVED_MEMBERS:
                    continue
                raise InvalidValueError("$", f"there is no argument {name[:100]!r}")
            try:
                values[name] = codec.loads(self.types[name], bytes(raw).decode())
            except InvalidValueError as error:
                path = error.path.replace("$", f"$.{name}", 1)
                invalid = InvalidValueError(path, error.expected)
            else:
                continue
            raise invalid
        if missing := self.required - values.keys():
            raise InvalidValueError("$", f"the argument {min(missing)!r} is missing")
        return values

    def input_schema(self, codec: Codec) -> dict[str, Any]:
        """Return the JSON Schema of the arguments."""
        properties = {name: codec.schema(each) for name, each in self.types.items()}
        for name, parameter in self.python.parameters.items():
            if parameter.default is not _EMPTY:
                properties[name]["default"] = msgspec.json.decode(codec.dumps(parameter.default))
        return object_schema(properties, [name for name in self.types if name in self.required])

    def output_schema(self, codec: Codec) -> dict[str, Any]:
        """Return the JSON Schema of the result, or of an item if it streams."""
        return codec.schema(self.result)


def members_of(payload: str) -> dict[str, msgspec.Raw]:
    """Return the members of a payload, a JSON object of arguments by name.

    Raises:
        InvalidValueError: it is none.
    """
    try:
        return _MEMBERS.decode(payload) if payload else {}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    raise InvalidValueError("$", "a JSON object of arguments by name was expected")


def signature_of(
    function: Callable[..., Any], method: str, codec: Codec, *, has_self: bool = False
) -> Signature:
    """Return the signature of a function, or of a method of a class.

    Args:
        function: The function.
        method: The name of the method, for messages.
        codec: The codec, which has to know all types.
        has_self: Whether its first parameter is `self`.

    Raises:
        TypeError: it cannot be called with arguments in JSON (T13).
    """
    python = inspect.signature(function)
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:
        raise TypeError(f"an annotation of method {method!r} cannot be read: {error}") from None
    parameters = [*python.parameters.values()][1 if has_self else 0 :]
    context: str | None = None
    types: dict[str, Any] = {}
    for each in parameters:
        _check_kind(method, each)
        if each.name not in hints:
            raise TypeError(f"the parameter {each.name!r} of method {method!r} has no annotation")
        if hints[each.name] is CallContext:
            context = each.name
        else:
            types[each.name] = hints[each.name]
            _check_type(codec, hints[each.name], f"the parameter {each.name!r}", method)
    if "return" not in hints:
        raise TypeError(f"the result of method {method!r} has no annotation")
    result, streams, is_async = _result_of(function, hints["return"])
    _check_type(codec, result, "an item" if streams else "the result", method)
    kept = [each for each in parameters if each.name != context]
    signature = Signature(
        method=method,
        types=types,
        required=frozenset(each.name for each in kept if each.default is _EMPTY),
        positional=tuple(
            each.name for each in kept if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ),
        context=context,
        result=result,
        streams=streams,
        is_async=is_async,
        description=inspect.getdoc(function) or "",
        python=python.replace(parameters=kept),
    )
    for each in kept:
        if each.default is not _EMPTY:
            _check_default(codec, each, method)
    return signature


def _check_kind(method: str, parameter: inspect.Parameter) -> None:
    if (what := _BAD_KINDS.get(parameter.kind.name)) is not None:
        raise TypeError(f"the parameter {parameter.name!r} of method {method!r} {what}")


def _check_type(codec: Codec, annotation: Any, what: str, method: str) -> None:
    try:
        codec.schema(annotation)
    except Exception as error:
        raise TypeError(
            f"{what} of method {method!r} is of type {annotation!r}, which has no form in JSON: "
            f"{error}"
        ) from None


def _check_default(codec: Codec, parameter: inspect.Parameter, method: str) -> None:
    try:
        codec.dumps(parameter.default)
    except Exception as error:
        raise TypeError(
            f"the default of the parameter {parameter.name!r} of method {method!r} has no form in "
            f"JSON: {error}"
        ) from None


def _result_of(function: Callable[..., Any], annotation: Any) -> tuple[Any, bool, bool]:
    """Return the type of a result, whether it is that of items, and whether it is awaited."""
    origin = get_origin(annotation)
    if origin in _STREAMS:
        return get_args(annotation)[0], True, True
    if inspect.iscoroutinefunction(function):
        return annotation, False, True
    if origin in _AWAITABLES:
        return get_args(annotation)[-1], False, True
    return annotation, False, False
