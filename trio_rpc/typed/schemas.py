"""JSON Schemas of several types in one object, as a tool of MCP's has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

_DEFS = "#/$defs/"


def object_schema(properties: Mapping[str, dict[str, Any]], required: list[str]) -> dict[str, Any]:
    """Return the schema of an object, with the definitions of its properties in one place.

    Args:
        properties: The schemas of the properties, each with `$defs` of its own.
        required: The names of those that have to be there.
    """
    definitions: dict[str, Any] = {}
    merged = {name: _merge(schema, definitions) for name, schema in properties.items()}
    schema: dict[str, Any] = {"type": "object", "properties": merged}
    if required:
        schema["required"] = required
    schema["additionalProperties"] = False
    if definitions:
        schema["$defs"] = definitions
    return schema


def _merge(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Move the definitions of a schema into others, under other names where these are taken."""
    own: dict[str, Any] = schema.get("$defs", {})
    names: dict[str, str] = {}
    for name, definition in own.items():
        free, number = name, 2
        while definitions.get(free, definition) != definition:
            free, number = f"{name}{number}", number + 1
        names[f"{_DEFS}{name}"] = f"{_DEFS}{free}"
    for name, definition in own.items():
        definitions[names[f"{_DEFS}{name}"].removeprefix(_DEFS)] = _renamed(definition, names)
    rest = {key: value for key, value in schema.items() if key != "$defs"}
    return cast("dict[str, Any]", _renamed(rest, names))


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    """Return a schema with references to other names."""
    if isinstance(schema, dict):
        members = cast("dict[str, Any]", schema)
        return {
            key: names.get(value, value) if key == "$ref" else _renamed(value, names)
            for key, value in members.items()
        }
    if isinstance(schema, list):
        return [_renamed(each, names) for each in cast("list[Any]", schema)]  # type: ignore[redundant-cast]
    return schema
