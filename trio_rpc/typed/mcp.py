"""MCP both ways: a participant's methods as tools, and tools as methods (rule T11).

This needs the extra `mcp`: `pip install 'trio-rpc[mcp]'`. The MCP SDK runs on anyio, so on trio and
on asyncio.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import Any, Final

import anyio
import msgspec
from attrs import define
from mcp import Client
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    METHOD_NOT_FOUND,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)
from mcp_types import Tool as McpTool

from .. import concurrency
from ..errors import RpcError
from ..rpc.invocation_data import RpcInvocationData
from .answer_streams import RESERVED_MEMBERS, AnswerStreams
from .codec import InvalidValueError
from .context import CallContext
from .discovery import MethodInfo
from .errors import InvalidArguments
from .room import Room
from .signatures import members_of

__all__ = ["TOOL_FAILED", "mount", "server_of"]

#: The code of the error of a tool that failed.
TOOL_FAILED: Final = 7424
#: The member of a structured result that has the result of a method.
_RESULT: Final = "result"


# A participant's methods as tools


def server_of(
    room: Room,
    identity: str,
    *,
    allow: Sequence[str],
    timeout: float | None = None,
    name: str | None = None,
) -> Server[Any]:
    """Return an MCP server whose tools are the methods of a participant.

    The methods are asked for with each list. The results of a tool are in `structured_content`, as
    the member `result`; items of a stream are a list.

    Args:
        room: The room that the participant is in.
        identity: The identity of the participant.
        allow: The patterns of the names of methods, such as `"kitchen.*"`; others do not exist.
        timeout: Seconds that a call may take; 10 unless given.
        name: The name of the server; that of the participant unless given.
    """

    def is_allowed(method: str) -> bool:
        return any(fnmatchcase(method, pattern) for pattern in allow)

    async def list_tools(
        _: ServerRequestContext[Any],
        params: PaginatedRequestParams | None,  # noqa: ARG001
    ) -> ListToolsResult:
        methods = await room.discover(identity, timeout=timeout)
        tools = [
            _tool(each)
            for each in methods
            if is_allowed(each.name) and each.input_schema is not None
        ]
        return ListToolsResult(tools=tools)

    async def call_tool(
        context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        if not is_allowed(params.name):
            raise MCPError(METHOD_NOT_FOUND, f"there is no tool {params.name!r}")
        call = _ToolCall(room, identity, timeout, context)
        return await call.run(params.name, params.arguments or {})

    return Server(name or identity, on_list_tools=list_tools, on_call_tool=call_tool)


def _tool(info: MethodInfo) -> McpTool:
    output: dict[str, Any] | None = None
    if info.output_schema is not None:
        schema = {key: each for key, each in info.output_schema.items() if key != "$defs"}
        if info.streams:
            schema = {"type": "array", "items": schema}
        output = {"type": "object", "properties": {_RESULT: schema}, "required": [_RESULT]}
        if "$defs" in info.output_schema:
            output["$defs"] = info.output_schema["$defs"]
    return McpTool(
        name=info.name,
        description=info.description or None,
        input_schema=info.input_schema or {"type": "object"},
        output_schema=output,
    )


@define
class _ToolCall:
    """One call of a tool, which is passed on to the participant."""

    room: Room
    identity: str
    timeout: float | None
    context: ServerRequestContext[Any]

    async def run(self, name: str, arguments: Mapping[str, Any]) -> CallToolResult:
        send, receive = anyio.create_memory_object_stream[tuple[float, str]](math.inf)
        result: CallToolResult | None = None
        async with anyio.create_task_group() as tasks:

            async def report() -> None:
                async with receive:
                    async for progress, message in receive:
                        await self.context.session.report_progress(progress, 1.0, message or None)

            tasks.start_soon(report)

            def on_progress(progress: float, message: str) -> None:
                send.send_nowait((progress, message))

            with send:
                result = await self._call(name, arguments, on_progress)
        assert result is not None
        return result

    async def _call(
        self, name: str, arguments: Mapping[str, Any], on_progress: Any
    ) -> CallToolResult:
        try:
            value = await self.room.call_json(
                self.identity, name, arguments, timeout=self.timeout, on_progress=on_progress
            )
        except Exception as error:
            if not isinstance(error, self.room.errors.travelling):
                raise
            # A class of the program's says more by its repr.
            text = str(error) if isinstance(error, RpcError) else repr(error)
            return CallToolResult(content=[TextContent(text=text)], is_error=True)
        text = msgspec.json.encode(value).decode()
        return CallToolResult(content=[TextContent(text=text)], structured_content={_RESULT: value})


# Tools as methods


@asynccontextmanager
async def mount(room: Room, client: Client, *, prefix: str = "") -> AsyncGenerator[list[str]]:
    """Make the tools of an MCP server methods of ours, for the block.

    The result of a method is the structured content of the tool's, or else its texts.

    Args:
        room: Our room.
        client: A client of the MCP server, which is connected.
        prefix: The prefix of the methods' names.

    Yields:
        The names of the methods.

    Raises:
        ValueError: a name is taken or too long.
    """
    names: list[str] = []
    try:
        cursor: str | None = None
        while True:
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                name = f"{prefix}{tool.name}"
                info = MethodInfo(
                    name, tool.description or "", tool.input_schema, tool.output_schema
                )
                room.register_rpc_method(name, _ToolMethod(room, client, tool.name, info))
                names.append(name)
            cursor = page.next_cursor
            if cursor is None:
                break
        yield names
    finally:
        for name in names:
            room.unregister_rpc_method(name)


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
