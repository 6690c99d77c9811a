"""`trio-rpc mcp`: the MCP SDK's client starts it, and talks to it over stdio."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from trio_rpc import Room, RpcError
from trio_rpc.cli import main
from trio_rpc.cli.exits import ExitCode
from trio_rpc.typed.mcp import TOOL_FAILED, mount

from ..conftest import Join
from ..support.tokens import make_token
from .command import environment

pytestmark = [pytest.mark.anyio, pytest.mark.real_time]


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
