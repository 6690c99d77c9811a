"""Tools that change while an MCP server runs, both ways; see `test_mcp` for the rest."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import anyio
import pytest
from attrs import define, field
from mcp import Client
from mcp.client.session import IncomingMessage
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    InitializedNotification,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolListChangedNotification,
)

from trio_rpc import Room, RpcError
from trio_rpc.typed.mcp import ToolChanges, mount, server_of

from ..conftest import Join

pytestmark = pytest.mark.anyio

Mode = Literal["auto", "legacy"]
#: Clients of the protocol 2026-07-28, which subscribe; and of earlier versions.
every_version = pytest.mark.parametrize("mode", ["auto", "legacy"])


async def slice_(times: int = 1) -> int:
    return times


async def cook() -> str:
    return "soup"


# A participant's methods as tools


class Told:
    """A client that counts how often it is told that the tools have changed."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.times = 0

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self.client.list_tools()).tools]


@asynccontextmanager
async def told(server: Server[Any], mode: Mode) -> AsyncGenerator[Told]:
    async def take(message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            client.times += 1

    async with AsyncExitStack() as stack:
        connected = Client(server, mode=mode, message_handler=take)
        client = Told(await stack.enter_async_context(connected))
        assert connected.server_capabilities.tools is not None
        assert connected.server_capabilities.tools.list_changed
        if mode == "auto":
            await stack.enter_async_context(connected.listen(tools_list_changed=True))
        await anyio.wait_all_tasks_blocked()
        yield client


@pytest.mark.rule("T11")
@every_version
async def test_a_client_is_told_of_changed_methods(join: Join, mode: Mode) -> None:
    async with join("alice") as alice, join("bob", can_update_own_metadata=True) as bob:
        await alice.wait_for_participant("bob")
        async with told(server_of(alice, "bob", allow=["s*"]), mode) as client:
            assert await client.tools() == []
            bob.method("slice")(slice_)
            await anyio.wait_all_tasks_blocked()
            assert client.times == 1
            assert await client.tools() == ["slice"]
            bob.method("cook")(cook)
            bob.unregister_rpc_method("slice")
            await anyio.sleep(2)
            assert client.times == 2
            assert await client.tools() == []
            # An attribute of something else
            await bob.local_participant.set_attributes({"mood": "good"})
            await anyio.sleep(2)
            assert client.times == 2


@pytest.mark.rule("T11")
@every_version
async def test_a_client_is_told_that_the_participant_comes_and_leaves(
    join: Join, mode: Mode
) -> None:
    async with join("alice") as alice, told(server_of(alice, "bob", allow=["*"]), mode) as client:
        assert await client.tools() == []
        async with join("carol"):
            pass
        bob = Room()
        bob.method("slice")(slice_)
        # Without the permission to set attributes
        async with join("bob", room=bob):
            await anyio.sleep(2)
            assert client.times == 1
            assert await client.tools() == ["slice"]
        await anyio.sleep(2)
        assert client.times == 2
        assert await client.tools() == []


@pytest.mark.rule("T11")
@every_version
async def test_a_flood_of_changes_is_told_once_a_second(join: Join, mode: Mode) -> None:
    async with join("alice") as alice, join("bob", can_update_own_metadata=True) as bob:
        await alice.wait_for_participant("bob")
        async with told(server_of(alice, "bob", allow=["*"]), mode) as client:
            for number in range(100):
                await bob.local_participant.set_attributes({"trio_rpc.methods": str(number)})
                await anyio.sleep(0.1)
            await anyio.sleep(2)
            assert 9 <= client.times <= 12


@pytest.mark.rule("T11")
@every_version
async def test_nothing_is_left_of_clients_that_are_gone(join: Join, mode: Mode) -> None:
    async with join("alice") as alice, join("bob", can_update_own_metadata=True) as bob:
        await alice.wait_for_participant("bob")
        server = server_of(alice, "bob", allow=["*"])
        async with told(server, mode) as first:
            async with told(server, mode) as second:
                bob.method("slice")(slice_)
                await anyio.wait_all_tasks_blocked()
                assert (first.times, second.times) == (1, 1)
            bob.method("cook")(cook)
            await anyio.sleep(2)
            assert (first.times, second.times) == (2, 1)
        bob.unregister_rpc_method("cook")
        await anyio.sleep(2)
        assert (first.times, second.times) == (2, 1)


@pytest.mark.rule("T11")
async def test_a_client_that_is_initialized_again_and_again_is_told_once(join: Join) -> None:
    async with join("alice") as alice, join("bob", can_update_own_metadata=True) as bob:
        await alice.wait_for_participant("bob")
        async with told(server_of(alice, "bob", allow=["*"]), "legacy") as client:
            for _ in range(100):
                await client.client.session.send_notification(InitializedNotification())
            bob.method("slice")(slice_)
            await anyio.sleep(5)
            assert client.times == 1


# Tools as methods


@define
class Toolbox:
    """An MCP server whose tools a test changes; `lists` counts how often it was asked for them."""

    tools: dict[str, str] = field(factory=lambda: {"add": "Add.", "fail": "Fail."})
    lists: int = 0
    pages_without_end: bool = False
    fails: bool = False
    subscribers: list[Callable[[], Any]] = field(factory=list[Callable[[], Any]])
    bus: InMemorySubscriptionBus = field(factory=InMemorySubscriptionBus)
    listen: ListenHandler = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.listen = ListenHandler(self.bus)

    async def list(
        self, context: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        self.lists += 1
        if context.session.send_tool_list_changed not in self.subscribers:
            self.subscribers.append(context.session.send_tool_list_changed)
        if self.fails:
            raise RuntimeError("no list")
        names = [*self.tools]
        cursor = params.cursor if params is not None else None
        number = 0 if cursor is None else int(cursor)
        page = [
            Tool(name=name, description=self.tools[name], input_schema={"type": "object"})
            for name in names[number : number + 1]
        ]
        more = number + 1 < len(names) or self.pages_without_end
        return ListToolsResult(tools=page, next_cursor=str(number + 1) if more else None)

    async def call(
        self, _: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        if params.name == "wait":
            await anyio.sleep(5)
        return CallToolResult(content=[TextContent(text=params.name)])

    async def tell(self, mode: Mode) -> None:
        """Tell the clients that the tools have changed."""
        if mode == "auto":
            await self.bus.publish(ToolsListChanged())
        else:
            await self.subscribers[0]()

    @property
    def server(self) -> Server[Any]:
        server: Server[Any] = Server(
            "toolbox",
            on_list_tools=self.list,
            on_call_tool=self.call,
            on_subscriptions_listen=self.listen,
        )
        options = server.create_initialization_options(NotificationOptions(tools_changed=True))
        server.create_initialization_options = lambda *_, **__: options  # type: ignore[method-assign]
        return server


@asynccontextmanager
async def mounted(room: Room, toolbox: Toolbox, mode: Mode) -> AsyncGenerator[list[str]]:
    changes = ToolChanges()
    async with (
        Client(toolbox.server, mode=mode, message_handler=changes) as client,
        mount(room, client, prefix="tools.", changes=changes) as names,
    ):
        yield names


@pytest.mark.rule("T11")
@every_version
async def test_the_methods_change_with_the_tools(join: Join, mode: Mode) -> None:
    toolbox = Toolbox()
    async with (
        join("bob", can_update_own_metadata=True) as bob,
        join("alice") as alice,
        mounted(bob, toolbox, mode) as names,
    ):
        await alice.wait_for_participant("bob")
        assert names == ["tools.add", "tools.fail"]
        await anyio.sleep(1)
        announced = alice.remote_participants["bob"].attributes["trio_rpc.methods"]
        toolbox.tools = {"add": "Add numbers.", "new": "New."}
        await toolbox.tell(mode)
        await anyio.sleep(2)
        assert sorted(names) == ["tools.add", "tools.new"]
        infos = {each.name: each.description for each in await alice.discover("bob")}
        assert infos == {"tools.add": "Add numbers.", "tools.new": "New."}
        assert await alice.call_json("bob", "tools.new", {}) == ["new"]
        with pytest.raises(RpcError) as caught:
            await alice.call_json("bob", "tools.fail", {})
        assert caught.value.code == RpcError.ErrorCode.UNSUPPORTED_METHOD
        # Alice is told as well.
        assert alice.remote_participants["bob"].attributes["trio_rpc.methods"] != announced
    assert [*bob.rpc_methods] == ["rpc.discover"]


@pytest.mark.rule("T11")
@every_version
async def test_a_call_of_a_tool_that_is_gone_ends_as_it_would_have(join: Join, mode: Mode) -> None:
    toolbox = Toolbox({"wait": ""})
    async with join("bob") as bob, join("alice") as alice, mounted(bob, toolbox, mode):
        await alice.wait_for_participant("bob")
        answers: list[Any] = []

        async def call() -> None:
            answers.append(await alice.call_json("bob", "tools.wait", {}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            toolbox.tools = {}
            await toolbox.tell(mode)
            await anyio.wait_all_tasks_blocked()
            assert [*bob.rpc_methods] == ["rpc.discover"]
        assert answers == [["wait"]]


@pytest.mark.rule("T11")
@every_version
async def test_a_new_tool_whose_name_does_not_do_is_left_out(
    join: Join, mode: Mode, caplog: pytest.LogCaptureFixture
) -> None:
    toolbox = Toolbox()
    async with join("bob") as bob, mounted(bob, toolbox, mode) as names:
        bob.method("tools.cook")(cook)
        toolbox.tools = {"cook": "", "x" * 70: "", "new": "", "add": "Add."}
        await toolbox.tell(mode)
        await anyio.sleep(2)
        assert names == ["tools.add", "tools.new"]
        assert "'tools.cook' is registered already" in caplog.text
        assert "1 to 64 UTF-8 bytes" in caplog.text
    assert [*bob.rpc_methods] == ["rpc.discover", "tools.cook"]


@pytest.mark.rule("T11")
@every_version
@pytest.mark.parametrize("wrong", ["fails", "pages_without_end", "many"])
async def test_a_list_that_is_wrong_leaves_the_methods_as_they_are(
    join: Join, mode: Mode, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    toolbox = Toolbox()
    many = {f"tool-{number}": "" for number in range(1_001)}
    async with join("bob") as bob:
        async with mounted(bob, toolbox, mode) as names:
            before = toolbox.tools
            toolbox.tools = many if wrong == "many" else {}
            toolbox.fails = wrong == "fails"
            toolbox.pages_without_end = wrong == "pages_without_end"
            await toolbox.tell(mode)
            await anyio.sleep(5)
            assert names == ["tools.add", "tools.fail"]
            assert "is no method" in caplog.text
            toolbox.tools = {"new": "", **before}
            toolbox.fails = toolbox.pages_without_end = False
            await toolbox.tell(mode)
            await anyio.sleep(5)
            assert names == ["tools.add", "tools.fail", "tools.new"]
        assert toolbox.lists < 2_000
        assert [*bob.rpc_methods] == ["rpc.discover"]
        if wrong == "many":
            toolbox.tools = many
            async with Client(toolbox.server, mode=mode) as client:
                with pytest.raises(ValueError, match="more than 1,000 tools"):
                    async with mount(bob, client):
                        pass
            assert [*bob.rpc_methods] == ["rpc.discover"]


@pytest.mark.rule("T11")
@every_version
async def test_a_server_that_tells_without_end_is_asked_once_a_second(
    join: Join, mode: Mode
) -> None:
    toolbox = Toolbox({"add": ""})
    async with join("bob") as bob, mounted(bob, toolbox, mode):
        for _ in range(100):
            await toolbox.tell(mode)
            await anyio.sleep(0.1)
        await anyio.sleep(2)
        assert 10 <= toolbox.lists <= 13


@pytest.mark.rule("T11")
async def test_a_subscription_that_ends_is_made_again(join: Join) -> None:
    toolbox = Toolbox()
    async with join("bob") as bob, mounted(bob, toolbox, "auto") as names:
        toolbox.listen.close()
        # Nobody is told of it.
        toolbox.tools = {"new": ""}
        await anyio.sleep(3)
        assert names == ["tools.new"]
        toolbox.tools = {"newer": ""}
        await toolbox.tell("auto")
        await anyio.sleep(2)
        assert names == ["tools.newer"]


@pytest.mark.rule("T11")
async def test_tools_of_a_server_that_tells_of_no_changes(join: Join) -> None:
    server = MCPServer("tools", subscriptions=False)

    @server.tool()
    async def add(context: Context[Any]) -> int:
        return 3

    async with join("bob") as bob, Client(server) as client, mount(bob, client) as names:
        assert names == ["add"]
        await anyio.sleep(5)
        # The program may remove one itself.
        bob.unregister_rpc_method("add")
    assert [*bob.rpc_methods] == ["rpc.discover"]
