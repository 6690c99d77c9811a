"""Callers and callees of SDKs that give a program no attributes of requests, as LiveKit's do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import models
from mcp import Client
from mcp.server.mcpserver import Context, MCPServer

from trio_rpc import (
    CallContext,
    InvalidArguments,
    InvalidValueError,
    Room,
    RoomStatistics,
    RpcError,
    RpcInvocationData,
    TextStreamReader,
)
from trio_rpc.typed.answer_streams import AnswerStreams
from trio_rpc.typed.mcp import mount
from trio_rpc.typed.signatures import members_of

from ..conftest import Join
from ..support.scripted_server import ScriptedServer, participant_info
from .conftest import Pair
from .kitchen import Kitchen

pytestmark = pytest.mark.anyio

TIMED_OUT = RpcError.ErrorCode.RESPONSE_TIMEOUT


class Page:
    """A caller that knows calls of strings, text streams and JSON."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.received: dict[str, str] = {}
        self.ended: set[str] = set()
        for topic in "trio_rpc.items", "trio_rpc.progress":
            room.register_text_stream_handler(topic, self.take)

    async def take(self, reader: TextStreamReader, sender: str) -> None:
        assert sender == "bob"
        name = reader.info.attributes["lk.rpc_request_id"]
        async for piece in reader:
            self.received[name] = self.received.get(name, "") + piece
        self.ended.add(name)

    async def call(self, method: str, arguments: dict[str, Any], timeout: float = 60) -> str:  # noqa: ASYNC109
        return await self.room.local_participant.perform_rpc(
            destination_identity="bob",
            method=method,
            payload=json.dumps(arguments),
            response_timeout=timeout,
        )

    async def confirm(self, name: str, text: str) -> None:
        await self.room.local_participant.send_text(
            text,
            topic="trio_rpc.taken",
            attributes={"lk.rpc_request_id": name},
            destination_identities=["bob"],
        )


def accepting(accepts: Any, request_id: Any, **arguments: Any) -> dict[str, Any]:
    return {**arguments, "trio_rpc.accepts": accepts, "trio_rpc.request_id": request_id}


async def count(size: int) -> AsyncIterator[str]:
    """Count for ever."""
    number = 0
    while True:
        yield f"{number:>{size}}"
        number += 1
        await anyio.lowlevel.checkpoint()


# Callers


@pytest.mark.rule("T15", "T8")
async def test_calls_that_ask_in_their_arguments_get_items(pair: Pair) -> None:
    page = Page(pair.alice)
    async with anyio.create_task_group() as tasks:

        async def call(name: str, number: int) -> None:
            arguments = accepting("items", name, pan="pan 1", count=number)
            assert await page.call("watch", arguments) == "null"

        tasks.start_soon(call, "S1", 2)
        tasks.start_soon(call, "S2", 3)
    await anyio.wait_all_tasks_blocked()
    assert page.received == {"S1": "0.0\n0.5\n", "S2": "0.0\n0.5\n1.0\n"}
    assert page.ended == {"S1", "S2"}
    assert pair.bob.statistics() == RoomStatistics()


@pytest.mark.rule("T15", "T9")
async def test_calls_that_ask_in_their_arguments_get_progress(pair: Pair) -> None:
    async def bake(minutes: int, call: CallContext) -> str:
        await call.progress(0.5, "half")
        return "bread"

    pair.bob.method(bake)
    page = Page(pair.alice)
    assert await page.call("bake", accepting("progress", "S1", minutes=2)) == '"bread"'
    await anyio.wait_all_tasks_blocked()
    assert page.received == {"S1": '{"progress":0.5,"message":"half"}\n'}


@pytest.mark.rule("T15", "T9")
async def test_reports_of_a_method_that_fails_end_well(pair: Pair) -> None:
    async def bake(minutes: int, call: CallContext) -> str:
        await call.progress(0.5)
        raise RpcError(1, "Burnt")

    pair.bob.method(bake)
    page = Page(pair.alice)
    with pytest.raises(RpcError, match="Burnt"):
        await page.call("bake", accepting("progress", "S1", minutes=2))
    await anyio.wait_all_tasks_blocked()
    assert page.received == {"S1": '{"progress":0.5,"message":""}\n'}
    assert page.ended == {"S1"}


@pytest.mark.rule("T15", "T11")
async def test_tools_that_are_mounted_report_to_calls_that_ask_in_their_arguments(
    pair: Pair,
) -> None:
    server = MCPServer("kitchen")

    @server.tool()
    async def bake(minutes: int, context: Context) -> str:
        await context.report_progress(minutes / 2, minutes)
        return "bread"

    page = Page(pair.alice)
    async with Client(server) as client, mount(pair.bob, client):
        assert await page.call("bake", accepting("progress", "S1", minutes=2)) == (
            '{"result":"bread"}'
        )
        await anyio.wait_all_tasks_blocked()
        assert page.received == {"S1": '{"progress":0.5,"message":""}\n'}
        with pytest.raises(RpcError) as caught:
            await page.call("bake", accepting(1, "S1", minutes=2))
        assert InvalidArguments.of(caught.value).path == "$.trio_rpc.accepts"


@pytest.mark.rule("T15", "T1")
async def test_methods_without_streams_pass_over_what_a_caller_accepts(pair: Pair) -> None:
    page = Page(pair.alice)
    order = {"vegetable": "carrot", "length_mm": 150}
    assert await page.call("slice", accepting("items progress", "S1", order=order)) == "[50]"
    assert await page.call("watch", accepting("progress", "S1", pan="pan 1")) == "[0.0,0.5,1.0]"
    assert page.received == {}


@pytest.mark.rule("T15", "T2")
@pytest.mark.parametrize(
    ("accepts", "request_id", "path"),
    [
        (1, "S1", "$.trio_rpc.accepts"),
        (None, "S1", "$.trio_rpc.accepts"),
        ("items " * 200, "S1", "$.trio_rpc.accepts"),
        ("items", "", "$.trio_rpc.request_id"),
        ("items", ["S1"], "$.trio_rpc.request_id"),
        ("items", "S" * 101, "$.trio_rpc.request_id"),
    ],
)
async def test_wrong_members_are_refused(
    pair: Pair, accepts: Any, request_id: Any, path: str
) -> None:
    with pytest.raises(RpcError) as caught:
        await Page(pair.alice).call("watch", accepting(accepts, request_id, pan="pan 1"))
    error = InvalidArguments.of(caught.value)
    assert (caught.value.code, error.method, error.path) == (7422, "watch", path)
    assert pair.service.events == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.rule("T15", "T2")
@given(JSON, JSON, st.booleans())
def test_whatever_the_members_are_they_are_taken_or_refused(
    accepts: Any, request_id: Any, escapes: bool
) -> None:
    payload = json.dumps(accepting(accepts, request_id), ensure_ascii=escapes)
    invocation = RpcInvocationData("R1", "alice", payload, 10.0)
    try:
        members = members_of(payload)
        streams = AnswerStreams.of(invocation, members, Room().open_call_stream)
    except InvalidValueError:
        return
    assert streams.accepts == tuple(accepts.split())
    assert streams.request_id == request_id
    assert 1 <= len(request_id) <= 100


@pytest.mark.rule("T15")
async def test_an_id_of_a_call_in_flight_is_refused(pair: Pair) -> None:
    page = Page(pair.alice)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(page.call, "watch", accepting("items", "S1", pan="for ever"))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RpcError) as caught:
            await page.call("watch", accepting("items", "S1", pan="pan 1"))
        assert caught.value.code == 7422
        assert pair.bob.statistics().running_handlers == 1
        tasks.cancel_scope.cancel()
    await anyio.wait_all_tasks_blocked()
    assert await page.call("watch", accepting("items", "S1", pan="pan 1")) == "null"
    assert pair.bob.statistics() == RoomStatistics()


@pytest.mark.rule("T15", "T8")
async def test_the_error_of_a_method_comes_after_a_stream_that_ends_well(pair: Pair) -> None:
    page = Page(pair.alice)
    with pytest.raises(RpcError) as caught:
        await page.call("watch", accepting("items", "S1", pan="broken"))
    assert caught.value.code == 9001
    await anyio.wait_all_tasks_blocked()
    # A stream that breaks off would take with it what LiveKit's SDK for browsers has not read.
    assert page.received == {"S1": "0.0\n0.5\n1.0\n"}
    assert page.ended == {"S1"}


@pytest.mark.rule("T15", "T8")
@pytest.mark.parametrize("taken", ["200\n", ""])
async def test_the_end_of_the_confirmations_cancels_the_handler(pair: Pair, taken: str) -> None:
    pair.bob.method(count)
    page = Page(pair.alice)
    async with anyio.create_task_group() as tasks:

        async def call() -> None:
            with pytest.raises(RpcError, match="the caller takes no more items") as caught:
                await page.call("count", accepting("items window=100", "S1", size=7))
            assert caught.value.code == TIMED_OUT

        tasks.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        assert len(page.received["S1"]) == 100
        await page.confirm("S1", taken)
    assert pair.bob.statistics() == RoomStatistics()
    assert len(page.received["S1"]) in {100, 200}
    assert page.ended == set()


@pytest.mark.rule("T15", "T8")
@pytest.mark.parametrize("accepts", ["items", "items window=100"])
async def test_a_caller_that_leaves_takes_no_more_items(join: Join, accepts: str) -> None:
    async with join("bob") as bob:
        bob.method(count)
        async with join("alice") as alice, anyio.create_task_group() as tasks:
            page = Page(alice)

            async def call() -> None:
                with pytest.raises(RpcError):
                    await page.call("count", accepting(accepts, "S1", size=7), 3600)

            tasks.start_soon(call)
            while "S1" not in page.received:
                await anyio.lowlevel.checkpoint()
            assert bob.statistics().running_handlers == 1
            await alice.disconnect()
        await anyio.sleep(1)
        assert bob.statistics() == RoomStatistics()


# Callees


class Callee:
    """A callee "bob" without our library, which a test scripts."""

    def __init__(self) -> None:
        self.server = ScriptedServer(others=())
        self.server.join.other_participants.append(participant_info("bob", client_protocol=2))
        self.arguments: dict[str, Any] = {}
        self.request_id = ""

    async def expect_request(self) -> None:
        header = (await self.server.expect_packet("stream_header")).stream_header
        self.request_id = header.attributes["lk.rpc_request_id"]
        self.arguments = json.loads(header.inline_content)
        self.server.send_from("bob", rpc_ack=models.RpcAck(request_id=self.request_id))

    async def expect_end(self) -> None:
        """Expect to be told that no more items are taken."""
        header = (await self.server.expect_packet("stream_header")).stream_header
        assert header.topic == "trio_rpc.taken"
        assert header.attributes["lk.rpc_request_id"] == self.request_id
        trailer = (await self.server.expect_packet("stream_trailer")).stream_trailer
        assert trailer.stream_id == header.stream_id

    def respond(self, payload: str) -> None:
        response = models.RpcResponse(request_id=self.request_id, payload=payload)
        self.server.send_from("bob", rpc_response=response)


@pytest.mark.rule("T15", "T8")
async def test_a_callee_of_another_sdk_is_asked_in_the_arguments() -> None:
    callee = Callee()
    async with (
        Room().connect(callee.server, "a token", reconnect=None) as room,
        room.stream(Kitchen.watch, "bob", "pan 1", count=2) as items,
    ):
        await callee.expect_request()
        callee.respond("[1.5]")
        assert [item async for item in items] == [1.5]
    assert callee.arguments == {
        "pan": "pan 1",
        "count": 2,
        "trio_rpc.accepts": "items window=262144",
    }


@pytest.mark.rule("T15", "T9")
async def test_a_callee_of_another_sdk_is_asked_for_progress() -> None:
    callee = Callee()
    async with (
        Room().connect(callee.server, "a token", reconnect=None) as room,
        anyio.create_task_group() as tasks,
    ):

        async def call() -> None:
            caller = room.with_options(on_progress=print)
            assert await caller.call_json("bob", "bake", {"minutes": 2}) == "bread"

        tasks.start_soon(call)
        await callee.expect_request()
        callee.respond('"bread"')
    assert callee.arguments == {"minutes": 2, "trio_rpc.accepts": "progress"}


@pytest.mark.rule("T15")
async def test_a_callee_of_this_library_is_asked_by_an_attribute_alone(pair: Pair) -> None:
    payloads: list[str] = []

    async def answer(data: Any) -> str:
        payloads.append(data.payload)
        return "[]"

    pair.bob.register_rpc_method("text.watch", answer)
    async with pair.alice.stream(Kitchen.watch, "bob", "pan 1", prefix="text.") as items:
        assert [item async for item in items] == []
    assert [json.loads(each) for each in payloads] == [{"pan": "pan 1"}]


@pytest.mark.rule("T15", "T8")
async def test_a_callee_of_another_sdk_is_told_that_no_more_is_taken() -> None:
    callee = Callee()
    async with Room().connect(callee.server, "a token", reconnect=None) as room:
        async with room.stream(Kitchen.watch, "bob", "pan 1"):
            await callee.expect_request()
        await callee.expect_end()


@pytest.mark.rule("T15", "T8")
async def test_a_callee_of_another_sdk_is_told_of_the_timeout() -> None:
    callee = Callee()
    async with Room().connect(callee.server, "a token", reconnect=None) as room:
        async with room.stream(Kitchen.watch, "bob", "pan 1", timeout=2) as items:
            await callee.expect_request()
            with pytest.raises(RpcError) as caught:
                await anext(items)
        assert caught.value.code == TIMED_OUT
        await callee.expect_end()


@pytest.mark.rule("T15", "T8")
async def test_items_that_do_not_end_after_the_response_end_with_the_timeout() -> None:
    callee = Callee()
    async with Room().connect(callee.server, "a token", reconnect=None) as room:
        started = anyio.current_time()
        async with room.stream(Kitchen.watch, "bob", "pan 1", timeout=8) as items:
            await callee.expect_request()
            header = models.DataStream.Header(
                stream_id="S1",
                topic="trio_rpc.items",
                mime_type="text/plain",
                attributes={"lk.rpc_request_id": callee.request_id},
                text_header=models.DataStream.TextHeader(),
            )
            callee.server.send_from("bob", stream_header=header)
            chunk = models.DataStream.Chunk(stream_id="S1", content=b"1.5\n")
            callee.server.send_from("bob", stream_chunk=chunk)
            callee.respond("null")
            assert await anext(items) == 1.5
            with pytest.raises(RpcError, match="did not end after the response") as caught:
                await anext(items)
        assert caught.value.code == TIMED_OUT
        assert anyio.current_time() - started == pytest.approx(8, abs=0.1)
        await callee.expect_end()
