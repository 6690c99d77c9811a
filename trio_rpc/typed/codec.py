"""Values to JSON, and back into what an annotation says.

msgspec does the work: it takes attrs classes, dataclasses, TypedDicts, unions, and the types of the
standard library. A pydantic model goes through pydantic's own `TypeAdapter`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final, Protocol, cast

import attrs
import msgspec
import msgspec.inspect

from ..errors import RoomError

#: The characters of a description of a mistake, at most: it travels.
_MAX_EXPECTED: Final = 500
#: CPython's flag of types that are not built in (Py_TPFLAGS_HEAPTYPE).
_MADE_IN_PYTHON: Final = 1 << 9


class InvalidValueError(RoomError, ValueError):
    """A value that does not fit its type.

    Attributes:
        path: The place in the JSON, such as `$.order.length_mm`; `$` is all of it.
        expected: The mistake, for people.
    """

    def __init__(self, path: str, expected: str) -> None:
        super().__init__(path, expected)
        self.path = path
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.expected} - at {self.path}"


class Codec(Protocol):
    """The conversion between values and JSON; `Room(codec=…)` takes another."""

    def loads(self, annotation: Any, text: str) -> Any:
        """Return the value of a type that a JSON text has.

        Raises:
            InvalidValueError: it is not JSON, or does not fit.
        """
        ...

    def dumps(self, value: Any) -> str:
        """Return a value as JSON.

        Raises:
            TypeError: it has no form in JSON.
        """
        ...

    def schema(self, annotation: Any) -> dict[str, Any]:
        """Return the JSON Schema of a type, with `$defs` and references to them where needed.

        Raises:
            TypeError: the type has no form in JSON.
        """
        ...


class JsonCodec:
    """The codec that is used unless a program brings another."""

    def __init__(self) -> None:
        self._decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
        self._encoder = msgspec.json.Encoder(enc_hook=_encode_other)

    def loads(self, annotation: Any, text: str) -> Any:
        """Return the value of a type that a JSON text has; see `Codec`."""
        try:
            decoder = self._decoders.get(annotation) or self._add_decoder(annotation)
        except TypeError:
            # It is not hashable.
            decoder = msgspec.json.Decoder(annotation, dec_hook=_decode_other)
        try:
            return decoder.decode(text)
        except msgspec.ValidationError as error:
            invalid = _invalid(error)
        except (msgspec.DecodeError, UnicodeError):
            invalid = InvalidValueError("$", "JSON was expected")
        except RecursionError:
            invalid = InvalidValueError("$", "the value is nested too deeply")
        except Exception as error:
            # Of a converter or a validator: its text is not for others.
            invalid = InvalidValueError("$", f"a {type(error).__name__} was raised for the value")
        # Not in the handlers above: their errors hold what was decoded.
        raise invalid

    def _add_decoder(self, annotation: Any) -> msgspec.json.Decoder[Any]:
        decoder: msgspec.json.Decoder[Any]
        decoder = msgspec.json.Decoder(annotation, dec_hook=_decode_other)
        self._decoders[annotation] = decoder
        return decoder

    def dumps(self, value: Any) -> str:
        """Return a value as JSON; see `Codec`."""
        return self._encoder.encode(value).decode()

    def schema(self, annotation: Any) -> dict[str, Any]:
        """Return the JSON Schema of a type; see `Codec`."""
        _check_classes(annotation)
        schema = msgspec.json.schema(annotation, schema_hook=_schema_of_other)
        # Makes sure that it can be decoded: a few types have a schema and no decoder.
        msgspec.json.Decoder(annotation, dec_hook=_decode_other)
        definitions: dict[str, Any] = {}
        _collect_definitions(schema, definitions)
        return {**schema, "$defs": definitions} if definitions else schema


def _invalid(error: msgspec.ValidationError) -> InvalidValueError:
    expected, _, where = str(error).rpartition(" - at ")
    if not expected:
        expected, where = where, "`$`"
    path = where.replace("`", "")
    if isinstance(error.__cause__, _InvalidModelError):
        path += error.__cause__.path
    return InvalidValueError(path[:_MAX_EXPECTED], expected[:_MAX_EXPECTED])


def _check_classes(annotation: Any) -> None:
    """Refuse attrs classes and dataclasses that msgspec takes, and cannot bring across.

    It makes instances without calling a built-in base, and they crash the interpreter later: a
    decoded exception does when its text is asked for. And it leaves out private fields of attrs
    classes.

    Raises:
        TypeError: there is one in the type.
    """
    for each in _classes_in(msgspec.inspect.type_info(annotation)):
        names = [field.name for field in attrs.fields(each)] if attrs.has(each) else []
        if private := [name for name in names if name.startswith("_")]:
            raise TypeError(f"the field {private[0]!r} of {each.__name__} is private")
        for base in each.__mro__[:-1]:
            if not base.__flags__ & _MADE_IN_PYTHON:
                raise TypeError(f"{each.__name__} is derived from {base.__name__}")


def _classes_in(root: msgspec.inspect.Type) -> Iterator[type]:
    """Yield the attrs classes and dataclasses in the description of a type."""
    stack: list[object] = [root]
    seen: set[int] = set()
    while stack:
        each = stack.pop()
        if isinstance(each, tuple | list):
            stack.extend(cast("tuple[object, ...]", each))
        elif (
            isinstance(each, msgspec.inspect.Type | msgspec.inspect.Field) and id(each) not in seen
        ):
            seen.add(id(each))
            stack.extend(getattr(each, name) for name in each.__struct_fields__)
            if isinstance(each, msgspec.inspect.DataclassType):
                yield each.cls


# pydantic's models


class _InvalidModelError(ValueError):
    """A value that does not fit a model of pydantic's; `path` is the place in the model."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


def _adapter(annotation: Any) -> Any:
    """Return pydantic's adapter for a model; None if it is none."""
    pydantic: Any = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(annotation, type):
        return None
    is_model = issubclass(annotation, pydantic.BaseModel)
    return pydantic.TypeAdapter(annotation) if is_model else None


def _decode_other(annotation: Any, value: Any) -> Any:
    adapter = _adapter(annotation)
    if adapter is None:
        raise NotImplementedError(f"{annotation!r} has no form in JSON")
    try:
        return adapter.validate_json(msgspec.json.encode(value))
    except ValueError as error:
        first = cast("Any", error).errors(include_url=False, include_input=False)[0]
        path = "".join(
            f"[{each}]" if isinstance(each, int) else f".{each}" for each in first["loc"]
        )
        failure = _InvalidModelError(first["msg"], path)
    raise failure


def _encode_other(value: Any) -> Any:
    if _adapter(type(value)) is None:
        raise TypeError(f"a {type(value).__name__} has no form in JSON")
    return value.model_dump(mode="json")


def _schema_of_other(annotation: Any) -> dict[str, Any]:
    adapter = _adapter(annotation)
    if adapter is None:
        raise NotImplementedError(f"{annotation!r} has no form in JSON")
    schema: dict[str, Any] = adapter.json_schema()
    return schema


def _collect_definitions(schema: Any, found: dict[str, Any]) -> None:
    """Move the definitions in a schema, at any depth, to where references expect them."""
    if isinstance(schema, dict):
        members = cast("dict[str, Any]", schema)
        definitions = members.pop("$defs", {})
        for each in members.values():
            _collect_definitions(each, found)
        for name, definition in definitions.items():
            _collect_definitions(definition, found)
            found[name] = definition
    elif isinstance(schema, list):
        for each in cast("list[Any]", schema):  # type: ignore[redundant-cast]
            _collect_definitions(each, found)
