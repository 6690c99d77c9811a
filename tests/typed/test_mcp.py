"""MCP both ways, and tools that are forwarded: with the MCP SDK, in process."""

from __future__ import annotations

import inspect
import json
from typing import Any, Literal, Protocol, get_type_hints

import anyio
import pytest
from mcp import Client
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError

from trio_rpc import CallContext, InvalidResponse, MethodInfo, Room, RpcError, RpcInvocationData
from trio_rpc.typed.forwarding import forward_tool, signature_from
from trio_rpc.typed.mcp import TOOL_FAILED, mount, server_of

from ..conftest import Join
from .conftest import Pair

pytestmark = pytest.mark.anyio

LEEK = {"vegetable": "leek", "length_mm": 1}
CARROT = {"vegetable": "carrot", "length_mm": 9}


# A participant's methods as tools


@pytest.mark.rule("T11")
async def test_the_methods_that_are_allowed_are_tools(pair: Pair) -> None:
    async def secret() -> str:
        return "secret"

    pair.bob.method(secret)
    async with Client(server_of(pair.alice, "bob", allow=["s?ice", "watch"])) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert [*tools] == ["slice", "watch"]
        assert tools["slice"].description == "Slice a vegetable."
        assert tools["slice"].input_schema["required"] == ["order"]
        output = tools["watch"].output_schema
        assert output is not None
        assert output["properties"]["result"] == {"type": "array", "items": {"type": "number"}}
        for name in "secret", "nothing", "rpc.discover":
            with pytest.raises(MCPError, match="there is no tool"):
                await client.call_tool(name)


@pytest.mark.rule("T11")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    "liar",
    [
        {"name": "lie", "inputSchema": {}},
        {"name": "lie", "inputSchema": {"type": "array"}},
        {"name": "lie", "inputSchema": {"type": "object", "properties": 7}},
        {"name": "lie", "inputSchema": {"type": "object"}, "outputSchema": {"$defs": 7}},
        {"name": "lie" * 100, "inputSchema": {"type": "object"}},
        {"name": "", "inputSchema": {"type": "object"}},
    ],
)
async def test_a_method_whose_description_lies_is_no_tool(
    join: Join, mode: Literal["auto", "legacy"], liar: dict[str, Any]
) -> None:
    honest = {"name": "honest", "inputSchema": {"type": "object"}}

    async def discover(data: RpcInvocationData) -> str:
        return json.dumps({"methods": [honest, liar]})

    async with join("bob", room=Room(discoverable=False)) as bob, join("alice") as alice:
        bob.register_rpc_method("rpc.discover", discover)
        await alice.wait_for_participant("bob")
        async with Client(server_of(alice, "bob", allow=["*"]), mode=mode) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["honest"]
            with pytest.raises(MCPError, match="there is no tool"):
                await client.call_tool("lie" * 100)


@pytest.mark.rule("T11")
async def test_a_tool_calls_the_method(pair: Pair) -> None:
    async with Client(server_of(pair.alice, "bob", allow=["*"])) as client:
        result = await client.call_tool("slice", {"order": CARROT, "times": 2})
        assert not result.is_error
        assert result.structured_content == {"result": [3, 3]}
        assert [each.text for each in result.content if each.type == "text"] == ["[3,3]"]
        result = await client.call_tool("watch", {"pan": "1"})
        assert result.structured_content == {"result": [0.0, 0.5, 1.0]}
        result = await client.call_tool("rest")
        assert result.structured_content == {"result": None}


@pytest.mark.rule("T11")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"order": LEEK}, "leek"), ({"order": {}}, "$.order"), ({}, "'order' is missing")],
)
async def test_errors_are_errors_of_the_tool(
    pair: Pair, arguments: dict[str, Any], message: str
) -> None:
    async with Client(server_of(pair.alice, "bob", allow=["*"])) as client:
        result = await client.call_tool("slice", arguments)
        assert result.is_error
        assert message in json.dumps([each.model_dump() for each in result.content])
        await pair.bob.disconnect()
        result = await client.call_tool("slice", {"order": CARROT})
        assert result.is_error


@pytest.mark.rule("T11")
async def test_progress_deadlines_and_cancellation_go_through(pair: Pair) -> None:
    reports: list[tuple[float, float | None, str | None]] = []
    events: list[str] = []

    async def bake(call: CallContext) -> str:
        await call.progress(0.5, "half")
        return "bread"

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            events.append("ended")

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, total, message))

    pair.bob.method(bake)
    pair.bob.method(wait)
    async with Client(server_of(pair.alice, "bob", allow=["*"], timeout=5)) as client:
        result = await client.call_tool("bake", progress_callback=on_progress)
        assert result.structured_content == {"result": "bread"}
        assert reports == [(0.5, 1.0, "half")]
        started = anyio.current_time()
        result = await client.call_tool("wait")
        assert result.is_error
        assert anyio.current_time() - started == pytest.approx(5, abs=0.1)
        assert events == ["ended"]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "wait")
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert events == ["ended", "ended"]
        assert pair.bob.statistics().running_handlers == 0


# Tools as methods


def tools() -> MCPServer:
    server = MCPServer("tools")

    @server.tool()
    async def add(one: int, two: int = 2) -> int:
        """Add two numbers."""
        return one + two

    @server.tool()
    async def fail() -> str:
        raise ValueError("it does not work")

    @server.tool()
    async def bake(context: Context[Any]) -> str:
        await context.report_progress(1, 4, "a quarter")
        return "bread"

    return server


class Tools(Protocol):
    async def add(self, one: int, two: int = 2) -> dict[str, int]: ...
    async def fail(self) -> dict[str, str]: ...
    async def bake(self) -> dict[str, str]: ...


@pytest.mark.rule("T11")
async def test_the_tools_of_a_server_are_methods(join: Join) -> None:
    reports: list[tuple[float, str]] = []
    async with join("bob") as bob, join("alice") as alice, Client(tools()) as client:
        async with mount(bob, client, prefix="tools.") as names:
            assert names == ["tools.add", "tools.fail", "tools.bake"]
            caller = alice.with_options(
                prefix="tools.", on_progress=lambda *report: reports.append(report)
            )
            assert await caller.call(Tools.add, "bob", 1) == {"result": 3}
            assert await caller.call(Tools.bake, "bob") == {"result": "bread"}
            assert reports == [(0.25, "a quarter")]
            with pytest.raises(RpcError, match="Error executing tool fail") as caught:
                await caller.call(Tools.fail, "bob")
            assert caught.value.code == TOOL_FAILED
            with pytest.raises(RpcError) as caught:
                await alice.local_participant.perform_rpc(
                    destination_identity="bob", method="tools.add", payload="[1]"
                )
            assert caught.value.code == 7422
            infos = {each.name: each for each in await alice.discover("bob")}
            assert infos["tools.add"].description == "Add two numbers."
            assert infos["tools.add"].input_schema is not None
            assert infos["tools.add"].input_schema["required"] == ["one"]
        assert [*bob.rpc_methods] == ["rpc.discover"]


@pytest.mark.rule("T11")
async def test_mounting_is_all_or_nothing(join: Join) -> None:
    async with join("bob") as bob, Client(tools()) as client:

        @bob.method("bake")
        async def bake() -> None: ...

        with pytest.raises(ValueError, match="registered already"):
            async with mount(bob, client):
                pass
        assert [*bob.rpc_methods] == ["rpc.discover", "bake"]


@pytest.mark.rule("T11")
async def test_a_method_goes_both_ways(pair: Pair, join: Join) -> None:
    async with join("carol") as carol:
        server: Server[Any] = server_of(pair.alice, "bob", allow=["slice"])
        async with Client(server) as client, mount(carol, client, prefix="bobs."):
            await pair.bob.wait_for_participant("carol")
            result = await pair.bob.call_json("carol", "bobs.slice", {"order": CARROT})
            assert result == {"result": [3]}


# Forwarding


@pytest.mark.rule("T12")
async def test_a_forwarded_tool_has_the_signature_of_the_method(pair: Pair) -> None:
    tool = await forward_tool(pair.alice, "bob", "slice")
    assert tool.__name__ == "slice"
    assert inspect.getdoc(tool) == "Slice a vegetable."
    parameters = inspect.signature(tool).parameters
    assert [*parameters] == ["order", "times"]
    assert parameters["times"].default == 1
    hints = get_type_hints(tool)
    assert hints == {"order": dict, "times": int, "return": list[int]}
    assert await tool(order=CARROT, times=2) == [3, 3]
    assert await tool(order=CARROT) == [3]
    with pytest.raises(TypeError):
        await tool(times=2)


@pytest.mark.rule("T12")
async def test_a_forwarded_tool_may_be_given_to_the_mcp_sdk(pair: Pair) -> None:
    server = MCPServer("agent")
    tool = await forward_tool(pair.alice, "bob", "slice")
    server.add_tool(tool)
    async with Client(server) as client:
        [listed] = (await client.list_tools()).tools
        assert (listed.name, listed.description) == ("slice", "Slice a vegetable.")
        result = await client.call_tool("slice", {"order": CARROT, "times": 2})
        assert result.structured_content == {"result": [3, 3]}


class Described:
    """A method that tells what those of a page tell, and returns its payload."""

    method_info = MethodInfo(
        "ui.confirm",
        "Ask the user.",
        {
            "type": "object",
            "properties": {
                "question": {"type": "string", "description": "The question,\nin a sentence."},
                "title": {"type": "string"},
                "times": {"type": "integer", "default": 1},
            },
            "required": ["question"],
        },
    )

    async def __call__(self, data: RpcInvocationData) -> str:
        if "fail" in data.payload:
            raise RpcError(1, "No")
        return data.payload


@pytest.mark.rule("T12")
async def test_a_forwarded_tool_describes_its_parameters(pair: Pair) -> None:
    pair.bob.register_rpc_method("ui.confirm", Described())
    tool = await forward_tool(pair.alice, "bob", "ui.confirm")
    assert tool.__name__ == "ui_confirm"
    assert tool.__doc__ == "Ask the user.\n\nArgs:\n    question: The question, in a sentence."
    assert get_type_hints(tool)["title"] == str | None
    assert await tool(question="Tea?", title=None, times=2) == {"question": "Tea?", "times": 2}
    assert await tool(question="Tea?", title="T") == {"question": "Tea?", "title": "T"}


@pytest.mark.rule("T12")
async def test_the_error_of_a_forwarded_tool_may_become_another(pair: Pair) -> None:
    pair.bob.register_rpc_method("ui.confirm", Described())
    tool = await forward_tool(
        pair.alice, "bob", "ui.confirm", on_error=lambda error: KeyError(str(error))
    )
    with pytest.raises(KeyError, match="No") as caught:
        await tool(question="fail")
    assert isinstance(caught.value.__cause__, RpcError)


class TheirParticipant:
    """A participant of LiveKit's Python SDK, as far as a tool needs it."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def perform_rpc(
        self,
        *,
        destination_identity: str,
        method: str,
        payload: str,
        response_timeout: float | None = None,
    ) -> str:
        return await self._room.local_participant.perform_rpc(
            destination_identity=destination_identity,
            method=method,
            payload=payload,
            response_timeout=response_timeout,
        )


class TheirRoom:
    def __init__(self, room: Room) -> None:
        self.local_participant = TheirParticipant(room)


@pytest.mark.rule("T12")
async def test_a_room_of_another_sdk_may_forward(pair: Pair) -> None:
    tool = await forward_tool(TheirRoom(pair.alice), "bob", "slice", timeout=5)
    assert await tool(order=CARROT, times=2) == [3, 3]
    with pytest.raises(RpcError) as caught:
        await tool(order=LEEK)
    assert caught.value.code == 9001


@pytest.mark.rule("T12")
async def test_what_cannot_be_forwarded_is_an_error(pair: Pair) -> None:
    async def greet(data: RpcInvocationData) -> str:
        return ""

    class Liar:
        method_info = MethodInfo("lie", "", {"properties": {"no name": {}}})

        async def __call__(self, data: RpcInvocationData) -> str:  # noqa: ARG002
            return ""

    pair.bob.register_rpc_method("greet", greet)
    pair.bob.register_rpc_method("lie", Liar())
    for method in "greet", "nothing":
        with pytest.raises(LookupError, match="has no method"):
            await forward_tool(pair.alice, "bob", method)
    with pytest.raises(InvalidResponse, match="no name"):
        await forward_tool(pair.alice, "bob", "lie")


@pytest.mark.rule("T12")
def test_types_of_schemas_are_those_of_python() -> None:
    properties: dict[str, Any] = {
        "a": {"type": "string"},
        "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "c": {"enum": ["red", "green"]},
        "d": {"$ref": "#/$defs/Colour"},
        "e": {"type": "array", "items": {"type": "number"}},
        "f": {},
        "g": {"$ref": "#/$defs/Loop"},
    }
    definitions = {"Colour": {"enum": ["red"]}, "Loop": {"$ref": "#/$defs/Loop"}}
    info = MethodInfo("m", "", {"properties": properties, "$defs": definitions}, streams=True)
    signature = signature_from(info)
    assert signature.return_annotation is list
    assert {name: each.annotation for name, each in signature.parameters.items()} == {
        "a": str | None,
        "b": int | None,
        "c": Literal["red", "green"] | None,
        "d": Literal["red"] | None,
        "e": list[float] | None,
        "f": Any | None,
        "g": Any | None,
    }
