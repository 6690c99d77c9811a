"""Forwarding the tools of an agent to a participant (rule T12)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Literal, Protocol, Union, cast

from .discovery import DISCOVER, MethodInfo
from .errors import InvalidResponse
from .room import Room

__all__ = ["Tool", "forward_tool"]

_TYPES: Final[Mapping[str, Any]] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}
_NAME: Final = re.compile(r"\W", re.ASCII)


class Tool(Protocol):
    """A function that an agent framework takes as a tool."""

    __name__: str

    def __call__(self, *args: Any, **kwargs: Any) -> Awaitable[Any]: ...


async def forward_tool(
    room: Room,
    identity: str,
    method: str,
    *,
    timeout: float | None = None,  # noqa: ASYNC109
) -> Tool:
    """Return an async function that calls a method of a participant.

    Its name, docstring, parameters and annotations are those that the participant tells (T10), so
    that an agent framework can offer it to a model as it is: LiveKit Agents' `function_tool`, or
    the MCP SDK.

    Args:
        room: The room that the participant is in.
        identity: The identity of the participant, which may leave and join again.
        method: The name of its method.
        timeout: Seconds that a call of the function may take; 10 unless given.

    Raises:
        InvalidResponse: the schema of the method makes no signature.
        LookupError: the participant has no such method with types.
        RpcError: it did not tell its methods.
    """
    methods = {each.name: each for each in await room.discover(identity)}
    info = methods.get(method)
    if info is None or info.input_schema is None:
        raise LookupError(f"{identity!r} has no method {method!r} with types")
    try:
        signature = signature_from(info)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidResponse(DISCOVER, "$.methods", f"{method!r}: {error}") from error

    async def call(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs).arguments
        return await room.call_json(identity, method, arguments, timeout=timeout)

    call.__name__ = call.__qualname__ = _NAME.sub("_", method)
    call.__doc__ = info.description or None
    annotations = {name: each.annotation for name, each in signature.parameters.items()}
    call.__annotations__ = {**annotations, "return": signature.return_annotation}
    cast("Any", call).__signature__ = signature
    return cast("Tool", call)


def signature_from(info: MethodInfo) -> inspect.Signature:
    """Return the signature in Python of a method that was discovered."""
    schema = info.input_schema or {}
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    required = set(schema.get("required", ()))
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if name in required else each.get("default"),
            annotation=_annotation(each, definitions),
        )
        for name, each in cast("Mapping[str, Any]", schema.get("properties", {})).items()
    ]
    output = info.output_schema or {}
    result = list if info.streams else _annotation(output, output.get("$defs", {}))
    return inspect.Signature(parameters, return_annotation=result)


def _annotation(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int = 4) -> Any:
    """Return the type in Python of a JSON Schema, as far as that is told by one."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and depth:
        definition = definitions.get(reference.rpartition("/")[2], {})
        return _annotation(definition, definitions, depth - 1)
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return Literal[tuple(schema["enum"])]
    if isinstance(schema.get("anyOf"), list) and schema["anyOf"] and depth:
        members = tuple(_annotation(each, definitions, depth - 1) for each in schema["anyOf"])
        return Union[members]  # noqa: UP007
    kind = schema.get("type")
    if kind == "array" and isinstance(schema.get("items"), dict) and depth:
        return list[_annotation(schema["items"], definitions, depth - 1)]  # type: ignore[misc]
    return _TYPES.get(kind, Any) if isinstance(kind, str) else Any
