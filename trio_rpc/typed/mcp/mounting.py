"""The tools of an MCP server as methods of ours (rule T11)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Final

import anyio
import msgspec
from attrs import define, field
from mcp import Client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types import TextContent
from mcp_types import Tool as McpTool
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from ... import concurrency
from ...errors import RpcError
from ...protocol.logs import peer_logger
from ...rpc.invocation_data import RpcInvocationData
from ..answer_streams import RESERVED_MEMBERS, AnswerStreams
from ..codec import InvalidValueError
from ..context import CallContext
from ..discovery import MAX_METHODS, MethodInfo
from ..errors import InvalidArguments
from ..room import Room
from ..signatures import members_of
from .changes import Changes, ToolChanges

logger = peer_logger(__name__)

#: The code of the error of a tool that failed.
TOOL_FAILED: Final = 7424
#: Seconds before a subscription that has ended is made again, at first and at most.
_SUBSCRIBE_AGAIN: Final = 1.0
_MAX_SUBSCRIBE_AGAIN: Final = 60.0


@asynccontextmanager
async def mount(
    room: Room, client: Client, *, prefix: str = "", changes: ToolChanges | None = None
) -> AsyncGenerator[list[str]]:
    """Make the tools of an MCP server methods of ours, for the block.

    The result of a method is the structured content of the tool's, or else its texts. When the
    server tells that its tools have changed, so do the methods; one whose name is taken or too long
    is left out then.

    Args:
        room: Our room.
        client: A client of the MCP server, which is connected.
        prefix: The prefix of the methods' names.
        changes: The message handler of the client, for servers of versions before 2026-07-28.

    Yields:
        The names of the methods, which change with the tools.

    Raises:
        MCPError: the server did not tell its tools.
        ValueError: a name is taken or too long, or there are more than 1,000 tools.
    """
    mounted = _Mounted(room, client, prefix)
    changed = Changes()
    try:
        with nullcontext() if changes is None else changes.noted_by(changed):
            async with concurrency.open_service_nursery() as nursery:
                if _tells_subscribers(client):
                    # A change after the list is told, since the subscription is older.
                    is_subscribed = anyio.Event()
                    nursery.start_soon(_subscribe, client, changed, is_subscribed)
                    await is_subscribed.wait()
                for error in mounted.replace(await _list_tools(client)):
                    raise error
                nursery.start_soon(mounted.follow, changed)
                yield mounted.names
    finally:
        mounted.clear()


def _tells_subscribers(client: Client) -> bool:
    tools = client.server_capabilities.tools
    is_modern = client.protocol_version in MODERN_PROTOCOL_VERSIONS
    return is_modern and tools is not None and bool(tools.list_changed)


async def _subscribe(client: Client, changed: Changes, is_subscribed: anyio.Event) -> None:
    """Note the changes that a server tells, and subscribe again when it ends that.

    Args:
        is_subscribed: Set as soon as the first subscription is there, or has failed.
    """
    delay = _SUBSCRIBE_AGAIN
    while True:
        try:
            async with client.listen(tools_list_changed=True) as events:
                if is_subscribed.is_set():
                    # Nobody has told us of those in between.
                    changed.note()
                is_subscribed.set()
                async for _ in events:
                    changed.note()
                    delay = _SUBSCRIBE_AGAIN
        except (MCPError, SubscriptionLost, TimeoutError) as error:
            logger.debug("the MCP server does not tell of changed tools: %s", error)
        is_subscribed.set()
        await anyio.sleep(delay)
        delay = min(2 * delay, _MAX_SUBSCRIBE_AGAIN)


async def _list_tools(client: Client) -> dict[str, McpTool]:
    """Return the tools of a server, by name.

    Raises:
        MCPError: the server did not tell them.
        ValueError: there are too many, or a list without an end.
    """
    tools: dict[str, McpTool] = {}
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor, cache_mode="refresh")
        known = len(tools)
        tools.update({tool.name: tool for tool in page.tools})
        if len(tools) > MAX_METHODS:
            raise ValueError(f"the MCP server has more than {MAX_METHODS:,} tools")
        cursor = page.next_cursor
        if cursor is None:
            return tools
        if len(tools) == known:
            raise ValueError("the list of the MCP server's tools does not end")


@define(eq=False)
class _Mounted:
    """The tools that are methods now; `names` are those of the methods."""

    room: Room
    client: Client
    prefix: str
    names: list[str] = field(factory=list[str])
    _methods: dict[str, _ToolMethod] = field(factory=dict[str, "_ToolMethod"])

    def replace(self, tools: Mapping[str, McpTool]) -> list[ValueError]:
        """Make these tools the methods, in place of those before.

        Returns:
            The errors of those whose names are taken or too long, which are left out.
        """
        infos = {name: self._describe(tool) for name, tool in tools.items()}
        for name, method in [*self._methods.items()]:
            if infos.get(name) != method.method_info:
                self._remove(name)
        errors: list[ValueError] = []
        for name, info in infos.items():
            if name not in self._methods:
                try:
                    self._add(name, info)
                except ValueError as error:
                    errors.append(error)
        return errors

    def _describe(self, tool: McpTool) -> MethodInfo:
        name = f"{self.prefix}{tool.name}"
        return MethodInfo(name, tool.description or "", tool.input_schema, tool.output_schema)

    def _add(self, tool: str, info: MethodInfo) -> None:
        method = _ToolMethod(self.room, self.client, tool, info)
        self.room.register_rpc_method(info.name, method)
        self._methods[tool] = method
        self.names.append(info.name)

    def _remove(self, tool: str) -> None:
        method = self._methods.pop(tool)
        name = method.method_info.name
        self.names.remove(name)
        # The program may have removed it itself.
        if self.room.rpc_methods.get(name) is method:
            self.room.unregister_rpc_method(name)

    def clear(self) -> None:
        """Remove all methods."""
        for tool in [*self._methods]:
            self._remove(tool)

    async def follow(self, changed: Changes) -> None:
        """Change the methods with the tools."""
        while True:
            await changed.wait()
            try:
                errors: Sequence[Exception] = self.replace(await _list_tools(self.client))
            except Exception as error:
                errors = [error]
            for each in errors:
                logger.warning("a changed tool is no method: %s", each)


@define(eq=False)
class _ToolMethod:
    """The handler of a method that is a tool of an MCP server."""

    room: Room
    client: Client
    tool: str
    method_info: MethodInfo

    async def __call__(self, invocation: RpcInvocationData) -> str:
        streams, arguments = self._load(invocation)
        deadline = concurrency.current().current_effective_deadline()
        async with CallContext(invocation, deadline, streams) as context:

            async def report(progress: float, total: float | None, message: str | None) -> None:
                if total and 0 <= progress <= total:
                    await context.progress(progress / total, message or "")

            try:
                result = await self.client.call_tool(self.tool, arguments, progress_callback=report)
            except MCPError as error:
                raise RpcError(TOOL_FAILED, "Tool failed", str(error)) from error
            except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
                code = RpcError.ErrorCode.RECIPIENT_DISCONNECTED
                raise RpcError.built_in(code, f"the MCP server of {self.tool!r} is gone") from error
        texts = [each.text for each in result.content if isinstance(each, TextContent)]
        if result.is_error:
            raise RpcError(TOOL_FAILED, "Tool failed", "\n".join(texts) or None)
        value = texts if result.structured_content is None else result.structured_content
        return msgspec.json.encode(value).decode()

    def _load(self, invocation: RpcInvocationData) -> tuple[AnswerStreams, dict[str, Any]]:
        try:
            members = members_of(invocation.payload)
            streams = AnswerStreams.of(invocation, members, self.room.open_call_stream)
            arguments = {
                name: msgspec.json.decode(each)
                for name, each in members.items()
                if name not in RESERVED_MEMBERS
            }
        except InvalidValueError as error:
            invalid = InvalidArguments(self.method_info.name, error.path, error.expected)
        except (UnicodeError, RecursionError) as error:
            invalid = InvalidArguments(self.method_info.name, "$", f"not JSON: {error}")
        else:
            return streams, arguments
        raise invalid
