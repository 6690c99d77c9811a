"""Discovery: the methods of a participant, and what they take and return (rule T10).

The answer of `rpc.discover` has the shape of MCP's list of tools, and comes in pages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, cast

import msgspec
from attrs import frozen

from ..errors import RpcError
from ..protocol.limits import MAX_PAYLOAD_BYTES
from ..rpc.invocation_data import RpcInvocationData
from .errors import InvalidArguments, InvalidResponse
from .serving import TypedMethod

#: The name of the built-in method.
DISCOVER: Final = "rpc.discover"
#: The attribute of a participant that changes with its methods.
METHODS_ATTRIBUTE: Final = "trio_rpc.methods"
#: The most methods that a caller takes of one participant.
MAX_METHODS: Final = 1_000
#: The most bytes of their descriptions: those of as many full pages.
_MAX_LIST_BYTES: Final = MAX_METHODS * MAX_PAYLOAD_BYTES

_ANY_OBJECT: Final[dict[str, Any]] = {"type": "object"}


@frozen
class MethodInfo:
    """The description of a method.

    Attributes:
        name: The name.
        description: The description for people and models.
        input_schema: The JSON Schema of the arguments; None for a method that takes any string.
        output_schema: The JSON Schema of the result, or of an item; None if it is not known.
        streams: Whether it answers with a stream of items.
    """

    name: str
    description: str = ""
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    streams: bool = False


class _Entry(msgspec.Struct, rename="camel", omit_defaults=True):
    """A method on the wire."""

    name: str
    description: str = ""
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    streams: bool = False


class _Page(msgspec.Struct, rename="camel", omit_defaults=True):
    """A part of the list on the wire; the cursor is the name of the last method on the page."""

    methods: list[_Entry]
    next_cursor: str | None = None


class _Cursor(msgspec.Struct):
    """The arguments of `rpc.discover`."""

    cursor: str = ""


class DescribedMethod(Protocol):
    """A handler that describes its method itself."""

    @property
    def method_info(self) -> MethodInfo: ...


def describe(name: str, handler: Callable[..., Any]) -> MethodInfo | None:
    """Return the description of a method; None if it is hidden, or the built-in one."""
    if not isinstance(handler, TypedMethod):
        if hasattr(handler, "method_info"):
            return cast("DescribedMethod", handler).method_info
        return None if name == DISCOVER else MethodInfo(name, (handler.__doc__ or "").strip())
    if handler.hidden:
        return None
    return MethodInfo(name, handler.description, *handler.schemas, handler.signature.streams)


def is_described(handler: Callable[..., Any]) -> bool:
    """Whether a handler has more to tell than its name."""
    return isinstance(handler, TypedMethod) or hasattr(handler, "method_info")


def fingerprint(methods: Mapping[str, Callable[..., Any]]) -> str:
    """Return a short text that changes with the methods that discovery shows."""
    described = [describe(name, methods[name]) for name in sorted(methods)]
    text = msgspec.json.encode([_entry(each) for each in described if each is not None])
    return hashlib.sha256(text).hexdigest()[:12]


def _entry(info: MethodInfo) -> _Entry:
    return _Entry(info.name, info.description, info.input_schema, info.output_schema, info.streams)


def answer(methods: Mapping[str, Callable[..., Any]], invocation: RpcInvocationData) -> str:
    """Answer `rpc.discover`.

    Args:
        methods: All handlers, by name.

    Raises:
        InvalidArguments: there is no such cursor.
    """
    try:
        arguments = msgspec.json.decode(invocation.payload or "{}", type=_Cursor)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise InvalidArguments(DISCOVER, "$", "a JSON object with `cursor` was expected") from None
    page = _Page([])
    # Of the brackets, the name of the next page, and the names of both members.
    size = 512
    for name in sorted(each for each in methods if each > arguments.cursor):
        info = describe(name, methods[name])
        if info is None:
            continue
        entry = _fitting(_entry(info))
        size += len(msgspec.json.encode(entry)) + 1
        if page.methods and size > MAX_PAYLOAD_BYTES:
            page.next_cursor = page.methods[-1].name
            break
        page.methods.append(entry)
    return msgspec.json.encode(page).decode()


def _fitting(entry: _Entry) -> _Entry:
    """Leave out of a description what makes it larger than an answer may be."""
    room = MAX_PAYLOAD_BYTES - 1_024
    if len(msgspec.json.encode(entry)) > room:
        entry.output_schema = None
    if len(msgspec.json.encode(entry)) > room and entry.input_schema is not None:
        entry.input_schema = _ANY_OBJECT
    if len(msgspec.json.encode(entry)) > room:
        entry.description = entry.description[:1_000]
    return entry


async def discover(perform: Callable[[str], Any]) -> list[MethodInfo]:
    """Ask a participant for all its methods.

    Args:
        perform: Calls `rpc.discover` with a payload, and returns the response.

    Raises:
        InvalidResponse: an answer does not fit, or has too many methods.
        RpcError: a call failed.
    """
    found: dict[str, MethodInfo] = {}
    cursor = ""
    size = 0
    while True:
        text = await perform(msgspec.json.encode(_Cursor(cursor)).decode() if cursor else "")
        size += len(text)
        if size > _MAX_LIST_BYTES:
            raise InvalidResponse(DISCOVER, "$.methods", f"more than {_MAX_LIST_BYTES:,} bytes")
        page = _load(text)
        for each in page.methods:
            found[each.name] = MethodInfo(
                each.name, each.description, each.input_schema, each.output_schema, each.streams
            )
        if len(found) > MAX_METHODS:
            raise InvalidResponse(DISCOVER, "$.methods", f"more than {MAX_METHODS:,} methods")
        if page.next_cursor is None:
            return [*found.values()]
        if not page.methods or page.next_cursor <= cursor:
            raise InvalidResponse(DISCOVER, "$.nextCursor", "a page that goes on was expected")
        cursor = page.next_cursor


def _load(text: str) -> _Page:
    try:
        return msgspec.json.decode(text, type=_Page)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        expected, _, path = str(error).rpartition(" - at ")
    raise InvalidResponse(DISCOVER, path.strip("`") if expected else "$", expected or path)


def is_unreachable(error: RpcError) -> bool:
    """Whether a participant that failed to answer may answer later."""
    codes = RpcError.ErrorCode
    return error.code in {
        codes.RECIPIENT_NOT_FOUND,
        codes.CONNECTION_TIMEOUT,
        codes.RESPONSE_TIMEOUT,
        codes.RECIPIENT_DISCONNECTED,
        codes.SEND_FAILED,
    }
