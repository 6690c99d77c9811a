"""Forwarding the tools of an agent to a participant (rule T12)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, Optional, Protocol, Union, cast

import msgspec

from .discovery import DISCOVER, MethodInfo, discover
from .errors import InvalidResponse
from .room import Room

__all__ = ["AnyRoom", "Tool", "forward_tool"]

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


class Caller(Protocol):
    """A participant that calls methods: `LocalParticipant`, or LiveKit's class of this name."""

    async def perform_rpc(
        self,
        *,
        destination_identity: str,
        method: str,
        payload: str,
        response_timeout: float | None = None,
    ) -> str: ...


class AnyRoom(Protocol):
    """A room of ours, or one of LiveKit's Python SDK, such as that of an agent."""

    @property
    def local_participant(self) -> Caller: ...


async def forward_tool(
    room: AnyRoom,
    identity: str,
    method: str,
    *,
    timeout: float | None = None,  # noqa: ASYNC109
    on_error: Callable[[Exception], Exception] | None = None,
) -> Tool:
    """Return an async function that calls a method of a participant.

    Its name, docstring, parameters and annotations are those that the participant tells (T10), so
    that an agent framework can offer it to a model as it is: LiveKit Agents' `function_tool`, or
    the MCP SDK. The descriptions of the parameters are in the docstring, and an optional parameter
    without a default is None unless given.

    Args:
        room: The room that the participant is in; an agent's own, of LiveKit's SDK, does as well.
        identity: The identity of the participant, which may leave and join again.
        method: The name of its method.
        timeout: Seconds that a call of the function may take; 10 unless given.
        on_error: Makes what the function raises of the error of a call, such as LiveKit Agents'
            `ToolError`, whose text a model gets to read.

    Raises:
        InvalidResponse: the schema of the method makes no signature.
        LookupError: the participant has no such method with types.
        RpcError: it did not tell its methods.
    """

    async def perform(name: str, payload: str) -> str:
        return await room.local_participant.perform_rpc(
            destination_identity=identity, method=name, payload=payload, response_timeout=timeout
        )

    async def call_method(arguments: dict[str, Any]) -> Any:
        if isinstance(room, Room):
            return await room.call_json(identity, method, arguments, timeout=timeout)
        return msgspec.json.decode(await perform(method, msgspec.json.encode(arguments).decode()))

    found = await discover(lambda payload: perform(DISCOVER, payload))
    info = next((each for each in found if each.name == method), None)
    if info is None or info.input_schema is None:
        raise LookupError(f"{identity!r} has no method {method!r} with types")
    try:
        signature = signature_from(info)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidResponse(DISCOVER, "$.methods", f"{method!r}: {error}") from error

    return _make_tool(info, signature, call_method, on_error)


def _make_tool(
    info: MethodInfo,
    signature: inspect.Signature,
    call_method: Callable[[dict[str, Any]], Awaitable[Any]],
    on_error: Callable[[Exception], Exception] | None,
) -> Tool:
    without_default = _without_default(info)

    async def call(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs).arguments
        given = {
            name: each
            for name, each in arguments.items()
            if each is not None or name not in without_default
        }
        try:
            return await call_method(given)
        except Exception as error:
            if on_error is None:
                raise
            raise on_error(error) from error

    call.__name__ = call.__qualname__ = _NAME.sub("_", info.name)
    call.__doc__ = _docstring(info) or None
    annotations = {name: each.annotation for name, each in signature.parameters.items()}
    call.__annotations__ = {**annotations, "return": signature.return_annotation}
    cast("Any", call).__signature__ = signature
    return cast("Tool", call)


def signature_from(info: MethodInfo) -> inspect.Signature:
    """Return the signature in Python of a method that was discovered."""
    schema = info.input_schema or {}
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    required = set(schema.get("required", ()))
    without_default = _without_default(info)
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if name in required else each.get("default"),
            annotation=_annotation(each, definitions, optional=name in without_default),
        )
        for name, each in _properties(info).items()
    ]
    output = info.output_schema or {}
    result = list if info.streams else _annotation(output, output.get("$defs", {}))
    return inspect.Signature(parameters, return_annotation=result)


def _properties(info: MethodInfo) -> Mapping[str, Mapping[str, Any]]:
    """Return the schemas of the arguments of a method."""
    return cast("Mapping[str, Mapping[str, Any]]", (info.input_schema or {}).get("properties", {}))


def _without_default(info: MethodInfo) -> set[str]:
    """Return the names of the arguments that may be left out, and have no default."""
    required = (info.input_schema or {}).get("required", ())
    return {
        name
        for name, each in _properties(info).items()
        if name not in required and "default" not in each
    }


def _docstring(info: MethodInfo) -> str:
    """Return the description of a method and of its arguments, in Google's style."""
    described = [
        f"    {name}: {' '.join(str(each['description']).split())}"
        for name, each in _properties(info).items()
        if each.get("description")
    ]
    return "\n".join(
        [info.description, "", "Args:", *described] if described else [info.description]
    )


def _annotation(
    schema: Mapping[str, Any],
    definitions: Mapping[str, Any],
    depth: int = 4,
    *,
    optional: bool = False,
) -> Any:
    """Return the type in Python of a JSON Schema, as far as that is told by one."""
    if optional:
        return Optional[_annotation(schema, definitions, depth)]  # noqa: UP045
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
