"""The command line of the MCP inspector, which starts `trio-rpc mcp` and uses its tools."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from trio_rpc import CallContext, Room

from ..cli.command import environment
from ..support.tokens import make_token
from .pairs import SERVERS, ServerName
from .programs import command_of_inspector
from .server import Server

ROOM = "an inspector's"


async def slice_(vegetable: str, times: int = 1) -> list[str]:
    """Slice a vegetable."""
    return [f"a slice of {vegetable}"] * times


async def watch(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def bake(call: CallContext) -> str:
    await call.progress(0.5, "half")
    return f"bread for {call.caller_identity}"


async def inspect(server: Server, era: str, *arguments: str) -> tuple[int, Any]:
    """Run the inspector, and return its exit code and result."""
    token = make_token("desktop", room=ROOM)
    command = [
        *command_of_inspector(),
        *("--cli", "--quiet", "--format", "json", "--protocol-era", era),
        *arguments,
        *("--", sys.executable, "-m", "trio_rpc", "mcp", "bob", "--allow", "kitchen.*"),
        *("--url", server.url, "--token", token),
    ]
    ran = await anyio.run_process(command, env=environment(), check=False)
    return ran.returncode, json.loads(ran.stdout or ran.stderr)


async def use_tools(server: Server, era: str) -> None:
    code, listed = await inspect(server, era, "--method", "tools/list")
    assert code == 0
    tools = {tool["name"]: tool for tool in listed["result"]["tools"]}
    assert [*tools] == ["kitchen.bake", "kitchen.slice", "kitchen.watch"]
    assert tools["kitchen.slice"]["description"] == "Slice a vegetable."
    assert tools["kitchen.slice"]["inputSchema"]["required"] == ["vegetable"]

    async def call(tool: str, **arguments: object) -> tuple[int, Any]:
        return await inspect(
            server,
            era,
            *("--method", "tools/call", "--tool-name", tool),
            *("--tool-args-json", json.dumps(arguments)),
        )

    code, sliced = await call("kitchen.slice", vegetable="carrot", times=2)
    assert (code, sliced["result"]["structuredContent"]) == (
        0,
        {"result": ["a slice of carrot"] * 2},
    )
    code, watched = await call("kitchen.watch", count=3)
    assert (code, watched["result"]["structuredContent"]) == (0, {"result": [0, 1, 2]})
    code, baked = await call("kitchen.bake")
    assert (code, baked["result"]["structuredContent"]) == (0, {"result": "bread for desktop"})
    code, failed = await call("kitchen.slice", vegetable=3)
    assert code != 0
    assert "$.vegetable" in json.dumps(failed)
    code, unknown = await call("secret")
    assert code != 0
    assert "secret" in json.dumps(unknown)


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("server", SERVERS)
def test_the_inspector_uses_the_tools_of_a_participant(
    server_of: Callable[[ServerName], Server], server: ServerName, era: str
) -> None:
    room = Room()
    room.method("kitchen.slice")(slice_)
    room.method("kitchen.watch")(watch)
    room.method("kitchen.bake")(bake)
    room.method("secret")(slice_)
    running = server_of(server)

    async def main() -> None:
        async with room.connect(running.url, make_token("bob", room=ROOM)):
            await use_tools(running, era)

    anyio.run(main, backend="trio")
