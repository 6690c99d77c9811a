"""Arguments of a typed method on a command line: `--arg name=value`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from .exits import UsageError

_REFERENCE: Final = "#/$defs/"
#: The types of Python for those of JSON Schema.
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def parse_arguments(texts: Sequence[str], schema: Mapping[str, Any] | None) -> str:
    """Return the JSON of arguments.

    A value is JSON, such as `3` or `{"x": 1}`; where the method wants a string, it is that.

    Args:
        texts: The arguments, each `name=value`.
        schema: The JSON Schema of all of them; None if it is not known.

    Raises:
        UsageError: one has no name, or does not fit the schema.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--arg takes NAME=VALUE, not {text!r}")
        if name in values:
            raise UsageError(f"--arg {name} is there twice")
        values[name] = _value(value, name, schema)
    if schema is not None:
        missing = [name for name in schema.get("required", ()) if name not in values]
        if missing:
            raise UsageError(f"the method takes --arg {missing[0]}=VALUE as well")
    return json.dumps(values)


def _value(text: str, name: str, schema: Mapping[str, Any] | None) -> Any:
    types = None if schema is None else _types_of(name, schema)
    if types == {"string"}:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if types is not None and not any(_is_of(each, value) for each in types):
        raise UsageError(f"--arg {name} is of type {' or '.join(sorted(types))}, not {text!r}")
    return value


def _is_of(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES.get(name, (object,)))


def _types_of(name: str, schema: Mapping[str, Any]) -> set[str] | None:
    """Return the types of JSON Schema that an argument may have; None for any."""
    properties: Mapping[str, Any] = schema.get("properties", {})
    if name not in properties:
        known = ", ".join(properties) or "none"
        raise UsageError(f"the method has no argument {name!r}; it takes {known}")
    return _types_in(properties[name], schema.get("$defs", {}))


def _types_in(schema: Any, definitions: Mapping[str, Any]) -> set[str] | None:
    if not isinstance(schema, dict):
        return None
    members = cast("dict[str, Any]", schema)
    reference = members.get("$ref")
    if isinstance(reference, str):
        # Of one step only: a definition is an object or an enumeration, and a peer's may be a loop.
        definition = definitions.get(reference.removeprefix(_REFERENCE))
        kind = cast("dict[str, Any]", definition).get("type") if definition else None
        return {kind} if isinstance(kind, str) else None
    alternatives = members.get("anyOf")
    if isinstance(alternatives, list):
        found: set[str] = set()
        for each in cast("list[Any]", alternatives):  # type: ignore[redundant-cast]
            types = None if each == schema else _types_in(each, definitions)
            if types is None:
                return None
            found |= types
        return found
    kind = members.get("type")
    return {kind} if isinstance(kind, str) else None
