"""A participant's methods as the tools of an MCP server (rule T11).

Clients hear of changed tools in two ways. Those of the protocol 2026-07-28 subscribe to changes;
those of earlier versions get a notification without having asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from fnmatch import fnmatchcase
from typing import Any, Final

import anyio
import msgspec
from attrs import define, field, frozen
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    NotificationParams,
    PaginatedRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    TextContent,
)
from mcp_types import Tool as McpTool

from ... import concurrency
from ...errors import RpcError
from ...events import EventName
from ...participant import Participant
from ...protocol.limits import MAX_METHOD_BYTES, utf8_length
from ..discovery import METHODS_ATTRIBUTE, MethodInfo
from ..room import Room
from .changes import Changes

#: The member of a structured result that has the result of a method.
_RESULT: Final = "result"
#: The most reports of progress that a client has not read; further ones are left out.
_MAX_REPORTS: Final = 64


@frozen
class _Told:
    """The clients that are told of changes.

    Attributes:
        listen: Tells those that subscribe.
        connected: The ids of the introductions of those of earlier versions.
    """

    bus: InMemorySubscriptionBus
    listen: ListenHandler
    connected: set[int] = field(factory=set[int])


_Context = ServerRequestContext[_Told]


def server_of(
    room: Room,
    identity: str,
    *,
    allow: Sequence[str],
    timeout: float | None = None,
    name: str | None = None,
) -> Server[Any]:
    """Return an MCP server whose tools are the methods of a participant.

    The methods are asked for with each list; a participant that is not in the room has none.
    Clients are told when it comes or leaves, and of each change that it announces (T10). The
    results of a tool are in `structured_content`, as the member `result`; items of a stream are a
    list.

    Args:
        room: The room that the participant is in.
        identity: The identity of the participant.
        allow: The patterns of the names of methods, such as `"kitchen.*"`; others do not exist.
        timeout: Seconds that a call may take; 10 unless given.
        name: The name of the server; that of the participant unless given.
    """
    return _ParticipantServer(_Tools(room, identity, tuple(allow), timeout), name or identity)


class _ParticipantServer(Server[_Told]):
    """An MCP server whose tools may change."""

    def __init__(self, tools: _Tools, name: str) -> None:
        super().__init__(
            name,
            lifespan=lambda _: _telling(tools),
            on_list_tools=tools.list,
            on_call_tool=tools.call,
            on_subscriptions_listen=_listen,
        )
        self.add_notification_handler(
            "notifications/initialized", NotificationParams, _tell_changes
        )

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """Return the options for a client of an earlier version; it is told of changed tools."""
        options = notification_options or NotificationOptions(tools_changed=True)
        return super().create_initialization_options(options, experimental_capabilities, extensions)


@frozen
class _Tools:
    """The methods of a participant that are tools."""

    room: Room
    identity: str
    allow: tuple[str, ...]
    timeout: float | None

    def is_allowed(self, method: str) -> bool:
        is_name = 1 <= utf8_length(method) <= MAX_METHOD_BYTES
        return is_name and any(fnmatchcase(method, pattern) for pattern in self.allow)

    async def list(
        self,
        _: ServerRequestContext[Any],
        params: PaginatedRequestParams | None,  # noqa: ARG002
    ) -> ListToolsResult:
        if self.identity not in self.room.remote_participants:
            return ListToolsResult(tools=[])
        try:
            methods = await self.room.discover(self.identity, timeout=self.timeout)
        except RpcError as error:
            raise MCPError(INTERNAL_ERROR, f"the tools are not known: {error}") from error
        allowed = [each for each in methods if self.is_allowed(each.name) and _takes_object(each)]
        return ListToolsResult(tools=[_tool(each) for each in allowed])

    async def call(
        self, context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        if not self.is_allowed(params.name):
            raise MCPError(METHOD_NOT_FOUND, f"there is no tool {params.name!r}")
        call = _ToolCall(self.room, self.identity, self.timeout, context)
        return await call.run(params.name, params.arguments or {})

    @contextmanager
    def noted_by(self, changes: Changes) -> Generator[None]:
        """Note the changes of the methods in `changes`, for the block."""

        def come_or_gone(participant: Participant) -> None:
            if participant.identity == self.identity:
                changes.note()

        def attributes_changed(changed: dict[str, str], participant: Participant) -> None:
            if METHODS_ATTRIBUTE in changed:
                come_or_gone(participant)

        listeners: dict[EventName, Callable[..., None]] = {
            "participant_active": come_or_gone,
            "participant_disconnected": come_or_gone,
            "participant_attributes_changed": attributes_changed,
        }
        for event, listener in listeners.items():
            self.room.on(event, listener)
        try:
            yield
        finally:
            for event, listener in listeners.items():
                self.room.off(event, listener)


# Telling of changes


@asynccontextmanager
async def _telling(tools: _Tools) -> AsyncGenerator[_Told]:
    """Tell the clients of a server of changes, for as long as it runs."""
    bus = InMemorySubscriptionBus()
    changes = Changes()

    async def publish() -> None:
        while True:
            await changes.wait()
            await bus.publish(ToolsListChanged())

    with tools.noted_by(changes):
        async with concurrency.open_service_nursery() as nursery:
            nursery.start_soon(publish)
            yield _Told(bus, ListenHandler(bus))


async def _listen(
    context: _Context, params: SubscriptionsListenRequestParams
) -> SubscriptionsListenResult:
    return await context.lifespan_context.listen(context, params)


async def _tell_changes(context: _Context, _: NotificationParams) -> None:
    """Tell a client of an earlier version of changes, until it is gone."""
    told, introduction = context.lifespan_context, context.session.client_params
    # A connection has one introduction, and may say any number of times that it is initialized.
    if introduction is None or id(introduction) in told.connected:
        return
    told.connected.add(id(introduction))
    changes = Changes()
    unsubscribe = told.bus.subscribe(lambda _: changes.note())
    try:
        while True:
            await changes.wait()
            await context.session.send_tool_list_changed()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return
    finally:
        unsubscribe()
        told.connected.discard(id(introduction))


# Lists and calls


def _takes_object(info: MethodInfo) -> bool:
    """Whether a method tells arguments as MCP wants them; a list with another would be refused."""
    schema = info.input_schema
    if schema is None or schema.get("type") != "object":
        return False
    return isinstance(schema.get("properties", {}), dict) and _is_schema(info.output_schema)


def _is_schema(schema: dict[str, Any] | None) -> bool:
    return schema is None or isinstance(schema.get("$defs", {}), dict)


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
        input_schema=info.input_schema or {},
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
        send, receive = anyio.create_memory_object_stream[tuple[float, str]](_MAX_REPORTS)
        result: CallToolResult | None = None
        async with anyio.create_task_group() as tasks:

            async def report() -> None:
                async with receive:
                    async for progress, message in receive:
                        await self.context.session.report_progress(progress, 1.0, message or None)

            tasks.start_soon(report)

            def on_progress(progress: float, message: str) -> None:
                # A client that does not read misses some of them.
                with suppress(anyio.WouldBlock):
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
