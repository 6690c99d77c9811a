"""`trio-rpc mcp`: the MCP SDK's client starts it, and talks to it over stdio."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from typing import Any, Literal

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.session import IncomingMessage
from mcp_types import ToolListChangedNotification

from trio_rpc import Room, RpcError
from trio_rpc.cli import main
from trio_rpc.cli.exits import ExitCode
from trio_rpc.typed.mcp import TOOL_FAILED, ToolChanges, mount

from ..conftest import Join
from ..support.tokens import make_token
from .command import environment

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


Mode = Literal["auto", "legacy"]
COMMAND = ("-m", "trio_rpc", "mcp", "bob", "--allow", "numbers.*")


async def double(number: int) -> int:
    """Double a number."""
    return 2 * number


@pytest.mark.rule("T11")
async def test_the_methods_of_a_participant_are_tools_over_stdio(url: str) -> None:
    bob = Room()
    bob.method("numbers.double")(double)
    bob.method("secret")(double)
    parameters = StdioServerParameters(
        command=sys.executable,
        args=[*COMMAND, "--url", url, "--token", make_token("desktop")],
        env={**environment()},
    )
    async with bob.connect(url, make_token("bob")), Client(parameters) as client:
        tools = (await client.list_tools()).tools
        assert [(tool.name, tool.description) for tool in tools] == [
            ("numbers.double", "Double a number.")
        ]
        result: Any = await client.call_tool("numbers.double", {"number": 4})
        assert result.structured_content == {"result": 8}


@pytest.mark.rule("T11")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_changed_methods_are_told_over_stdio(url: str, mode: Mode) -> None:
    told = anyio.Event()

    async def take(message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            told.set()

    bob = Room()
    parameters = StdioServerParameters(
        command=sys.executable,
        args=[*COMMAND, "--url", url, "--token", make_token("desktop")],
        env={**environment()},
    )
    async with (
        bob.connect(url, make_token("bob", can_update_own_metadata=True)),
        Client(parameters, mode=mode, message_handler=take) as client,
        AsyncExitStack() as stack,
    ):
        assert (await client.list_tools()).tools == []
        assert client.server_capabilities.tools is not None
        assert client.server_capabilities.tools.list_changed
        if mode == "auto":
            await stack.enter_async_context(client.listen(tools_list_changed=True))
        bob.method("numbers.double")(double)
        await told.wait()
        assert [each.name for each in (await client.list_tools()).tools] == ["numbers.double"]


LEARNING = """
from typing import Any
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("learning")

async def double(number: int) -> int:
    return 2 * number

@server.tool()
async def learn(context: Context[Any]) -> str:
    server.add_tool(double)
    await context.notify_tools_changed()
    # For clients of versions before 2026-07-28
    await context.session.send_tool_list_changed()
    return "done"

server.run("stdio")
"""


@pytest.mark.rule("T11")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_changed_tools_change_the_methods_over_stdio(join: Join, mode: Mode) -> None:
    parameters = StdioServerParameters(command=sys.executable, args=["-c", LEARNING])
    changes = ToolChanges()
    async with (
        join("bob") as bob,
        join("alice") as alice,
        Client(parameters, mode=mode, message_handler=changes) as client,
        mount(bob, client, changes=changes) as names,
    ):
        assert names == ["learn"]
        assert await alice.call_json("bob", "learn", {}) == {"result": "done"}
        await alice.wait_for_method("bob", "double")
        assert await alice.call_json("bob", "double", {"number": 4}) == {"result": 8}


DYING = """
import os
from mcp.server.mcpserver import MCPServer

server = MCPServer("dying")

@server.tool()
async def die() -> str:
    os._exit(1)

server.run("stdio")
"""


@pytest.mark.rule("T11")
async def test_a_server_of_tools_that_dies_in_a_call_is_an_error_and_the_room_goes_on(
    join: Join,
) -> None:
    parameters = StdioServerParameters(command=sys.executable, args=["-c", DYING])
    async with join("bob") as bob, join("alice") as alice:
        bob.method("numbers.double")(double)
        async with Client(parameters) as client, mount(bob, client) as names:
            assert names == ["die"]
            with pytest.raises(RpcError) as caught:
                await alice.call_json("bob", "die", {})
            assert caught.value.code in {TOOL_FAILED, RpcError.ErrorCode.RECIPIENT_DISCONNECTED}
            assert await alice.call_json("bob", "numbers.double", {"number": 2}) == 4
        assert await alice.call_json("bob", "numbers.double", {"number": 3}) == 6


def test_the_extra_is_named_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trio_rpc.typed.mcp", None)
    monkeypatch.delattr("trio_rpc.typed.mcp", raising=False)
    code = main(["mcp", "bob", "--allow", "*", "--dev", "--room", "demo"])
    assert code == ExitCode.USAGE
    assert "pip install 'trio-rpc[mcp]'" in capsys.readouterr().err
