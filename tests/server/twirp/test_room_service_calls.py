"""Calls of the server's own: `RoomServer.perform_rpc`, and `PerformRpc` of RoomService."""

from __future__ import annotations

import anyio
import pytest
from livekit.protocol import models

from trio_rpc import RpcInvocationData
from trio_rpc.server import RoomServer, ServerLimits

from ...conftest import Join
from ...support.clients import As, client
from ...support.messages import packets
from ...support.scripted_client import scripted_client, scripted_clients, settle_all
from ...support.tokens import API_KEYS, ROOM
from .calls import ack, callee, failure, greet, receive_request, response

pytestmark = pytest.mark.anyio


# The callee's view


@pytest.mark.rule("R5", "A3", "N3")
async def test_a_participant_is_called_and_its_result_returned(
    server: RoomServer, join: Join
) -> None:
    seen: list[RpcInvocationData] = []

    async def handler(data: RpcInvocationData) -> str:
        seen.append(data)
        return f"{data.payload}!"

    async with callee(join, handler) as bob:
        assert await greet(server, "höflich") == "höflich!"
        assert bob.remote_participants.keys() == set()
    [data] = seen
    assert data.payload == "höflich"
    assert data.response_timeout == pytest.approx(10, abs=0.1)
    assert data.caller_identity not in ("", "bob")


@pytest.mark.rule("R5", "N3")
async def test_a_participant_of_version_1_is_called_by_version_1(server: RoomServer) -> None:
    async with scripted_client(server, "bob") as bob, anyio.create_task_group() as task_group:

        async def answer() -> None:
            caller, request = await receive_request(bob)
            assert (request.method, request.payload, request.version) == ("greet", "hi", 1)
            assert request.response_timeout_ms < 10_000
            bob.send(ack(caller, request.id))
            bob.send(response(caller, request.id, "hello"))

        task_group.start_soon(answer)
        assert await greet(server) == "hello"


@pytest.mark.rule("R5", "V2", "V4")
async def test_nobody_else_sees_a_call_or_its_caller(server: RoomServer, join: Join) -> None:
    async with (
        scripted_clients(server, "alice", "carol") as others,
        callee(join, lambda data: data.caller_identity),
    ):
        await settle_all(others)
        caller = await greet(server)
        listed = [each.identity for each in server.list_participants(ROOM)]
        assert listed == ["alice", "carol", "bob"]
        others[0].send(response(caller, "1", "too late"))
        assert await settle_all(others) == {"alice": [], "carol": []}


@pytest.mark.rule("R5")
async def test_every_call_comes_from_another_identity(server: RoomServer, join: Join) -> None:
    async with callee(join, lambda data: data.caller_identity):
        callers = [await greet(server) for _ in range(3)]
    assert len(set(callers)) == 3


@pytest.mark.rule("R5", "C5")
async def test_concurrent_calls_do_not_cross(server: RoomServer, join: Join) -> None:
    async def handler(data: RpcInvocationData) -> str:
        await anyio.sleep(10 - int(data.payload))
        return data.payload

    answers: dict[int, str] = {}

    async def call(number: int) -> None:
        answers[number] = await greet(server, str(number), 20)

    async with callee(join, handler), anyio.create_task_group() as task_group:
        for number in range(10):
            task_group.start_soon(call, number)
    assert answers == {number: str(number) for number in range(10)}


@pytest.mark.rule("R5", "C10")
@pytest.mark.parametrize("text", ["x" * 15_360, "é" * 7_680])
async def test_the_largest_payload_fits(server: RoomServer, join: Join, text: str) -> None:
    async with callee(join, lambda data: data.payload):
        assert await greet(server, text) == text


@pytest.mark.rule("R5", "S7")
async def test_a_large_response_comes_as_a_stream(server: RoomServer, join: Join) -> None:
    large = "x" * 200_000
    async with callee(join, lambda _: large, max_payload_bytes=1_000_000):
        assert await greet(server) == large


@pytest.mark.rule("R5", "S7")
async def test_a_response_over_the_servers_limit_fails_its_call(
    server: RoomServer, join: Join
) -> None:
    limit = server.limits.max_message_bytes
    sizes = {"large": limit + 1, "small": 10}

    def handler(data: RpcInvocationData) -> str:
        return "x" * sizes[data.payload]

    async with callee(join, handler, max_payload_bytes=2 * limit):
        code, _, data = await failure(greet(server, "large"))
        assert code == 1500
        assert data is not None
        assert data.startswith("the response broke off: ")
        assert await greet(server, "small") == "x" * 10


@pytest.mark.rule("R5", "B4", "S7")
@pytest.mark.parametrize("limit", ["max_message_bytes", "max_peer_bytes"])
async def test_a_response_inline_in_its_header_is_limited_too(join: Join, limit: str) -> None:
    limits: dict[str, int] = {limit: 9_000}
    server = RoomServer(API_KEYS, ServerLimits(**limits))
    sizes = {"large": 9_001, "small": 10}
    # It takes inline content and does not inflate: neither does the server then.
    to = As(server, client(2))
    async with callee(join, lambda data: "x" * sizes[data.payload], to=to):
        code, _, data = await failure(greet(server, "large"))
        assert code == 1500
        assert data is not None
        assert data.startswith("the response broke off: ")
        assert await greet(server, "small") == "x" * 10


# Callees


@pytest.mark.rule("R5", "C6", "P5")
async def test_only_the_participant_that_was_called_can_answer(server: RoomServer) -> None:
    async with (
        scripted_clients(server, "bob", "mallory") as (bob, mallory),
        anyio.create_task_group() as task_group,
    ):

        async def answer() -> None:
            caller, request = await receive_request(bob)
            for forged in (ack(caller, request.id), response(caller, request.id, "forged")):
                forged.participant_identity = "bob"
                mallory.send(forged)
            await mallory.settle()
            bob.send(response(caller, "another id", "wrong"))
            bob.send(response(caller, request.id, "right"))
            bob.send(response(caller, request.id, "again"))

        task_group.start_soon(answer)
        assert await greet(server) == "right"


@pytest.mark.rule("R5", "V3", "C7")
async def test_the_servers_identity_cannot_be_called(server: RoomServer) -> None:
    async with scripted_clients(server, "bob") as [bob], anyio.create_task_group() as task_group:

        async def call_back() -> None:
            caller, request = await receive_request(bob)
            back = models.DataPacket(
                destination_identities=[caller],
                rpc_request=models.RpcRequest(id="back", method="greet", version=1),
            )
            bob.send(back)
            _ack, refused = packets(await bob.settle())
            assert refused.rpc_response.request_id == "back"
            assert refused.rpc_response.error.code == 1401
            bob.send(response(caller, request.id, "hello"))

        task_group.start_soon(call_back)
        assert await greet(server) == "hello"


@pytest.mark.rule("R5", "P2", "P8")
async def test_what_is_no_answer_is_ignored(server: RoomServer) -> None:
    async with scripted_client(server, "bob") as bob, anyio.create_task_group() as task_group:

        async def answer() -> None:
            caller, request = await receive_request(bob)
            stream = models.DataStream
            for packet in (
                models.DataPacket(user=models.UserPacket(payload=b"x")),
                models.DataPacket(stream_header=stream.Header(stream_id="s", topic="mine")),
                models.DataPacket(stream_chunk=stream.Chunk(stream_id="s", content=b"x")),
                models.DataPacket(stream_trailer=stream.Trailer(stream_id="s")),
                models.DataPacket(rpc_response=models.RpcResponse(request_id=request.id)),
            ):
                packet.destination_identities.append(caller)
                bob.send(packet)
            bob.send(response(caller, request.id, "hello"))

        task_group.start_soon(answer)
        assert await greet(server) == "hello"
