"""Rules N1 and N3: what participants announce, and how a call travels between any two of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import pytest
from livekit.protocol import rtc

from trio_rpc import Room, RpcInvocationData
from trio_rpc.links import Link
from trio_rpc.protocol.capabilities import CAN_RESUME, CLEARS_EMPTY
from trio_rpc.protocol.limits import MAX_PAYLOAD_BYTES
from trio_rpc.server import RoomServer

from ..conftest import Join
from ..support.callee import callee, expect_ack, expect_response, send_request
from ..support.caller import caller
from ..support.clients import OLD, As
from ..support.scripted_server import ScriptedServer
from ..support.stream_packets import (
    CANCELLATION,
    DEFLATE_RAW,
    REQUEST_TOPIC,
    RESPONSE_TOPIC,
    expect_whole_stream,
    peer,
    request_header,
    response_header,
    send_header,
    server_with,
)
from ..support.tokens import ROOM, make_token

pytestmark = pytest.mark.anyio

PROTOCOLS: Final = [0, 1, 2, 3, 1_000]


async def greet(data: object) -> str:
    return "hello"


# Announcements


@pytest.mark.rule("N1")
async def test_we_announce_protocol_2_and_what_we_can_do() -> None:
    server = ScriptedServer()
    async with Room().connect(server, "a token", reconnect=None):
        assert server.client is not None
        assert server.client.client_protocol == 2
        assert list(server.client.capabilities) == [DEFLATE_RAW, CANCELLATION, CLEARS_EMPTY]


@pytest.mark.rule("N1")
async def test_others_learn_what_a_participant_announced(join: Join) -> None:
    async with join("alice") as alice, join("bob"):
        bob = await alice.wait_for_participant("bob")
        assert bob.client_protocol == 2
        assert bob.capabilities == {DEFLATE_RAW, CANCELLATION, CLEARS_EMPTY, CAN_RESUME}


@pytest.mark.real_time
@pytest.mark.rule("N1")
async def test_others_learn_over_a_websocket_what_a_participant_announced(
    join: Join, url: str
) -> None:
    async with join("alice") as alice, join("bob", to=url):
        bob = await alice.wait_for_participant("bob")
        assert bob.client_protocol == 2
        assert bob.capabilities == {DEFLATE_RAW, CANCELLATION, CLEARS_EMPTY, CAN_RESUME}


@pytest.mark.rule("N1")
async def test_who_announces_nothing_has_protocol_0(join: Join, server: RoomServer) -> None:
    async with (
        join("alice") as alice,
        server.open_link(make_token("bob"), rtc.JoinRequest()),
    ):
        bob = await alice.wait_for_participant("bob")
        assert bob.client_protocol == 0
        assert bob.capabilities == frozenset()


# Requests


@pytest.mark.rule("N1", "N3")
@pytest.mark.parametrize("client_protocol", PROTOCOLS)
@pytest.mark.parametrize("capabilities", [(), (DEFLATE_RAW, 9_999)], ids=["plain", "capable"])
async def test_a_request_is_a_stream_to_a_v2_callee_and_a_packet_to_others(
    client_protocol: int, capabilities: tuple[int, ...]
) -> None:
    async with caller(server_with(peer("bob", client_protocol, capabilities))) as alice:
        alice.call("hi")
        if client_protocol == 0:
            request = await alice.expect_request()
            assert (request.method, request.payload, request.version) == ("greet", "hi", 1)
        else:
            stream = await expect_whole_stream(alice.server)
            assert stream.header.topic == REQUEST_TOPIC
            assert stream.content == b"hi"
            assert stream.form == ("chunked" if client_protocol == 1 else "inline")


@pytest.mark.rule("N3")
async def test_each_callee_is_called_as_it_understands() -> None:
    server = server_with(peer("bob", 2), peer("carol", 0), peer("dave", 1))
    async with caller(server) as alice:
        alice.call(destination_identity="carol")
        await alice.expect_request()
        alice.call(destination_identity="bob")
        assert (await expect_whole_stream(server)).destinations == {("bob",)}
        alice.call(destination_identity="dave")
        assert (await expect_whole_stream(server)).destinations == {("dave",)}


@pytest.mark.rule("N3")
async def test_a_callee_that_comes_back_with_another_protocol_is_called_in_the_new_way() -> None:
    async with caller(server_with(peer("bob", 2))) as alice:
        newcomer = peer("bob", 0)
        newcomer.sid = "PA_bob_again"
        alice.server.announce(newcomer)
        await alice.settle()
        alice.call()
        assert (await alice.expect_request()).version == 1


# Responses


@pytest.mark.rule("N3")
@pytest.mark.parametrize("client_protocol", PROTOCOLS)
async def test_a_response_to_a_packet_is_a_packet_whatever_its_caller_announced(
    client_protocol: int,
) -> None:
    async with callee(greet) as (_, server):
        server.announce(peer("bob", client_protocol))
        send_request(server)
        assert await expect_ack(server) == "1"
        assert (await expect_response(server)).payload == "hello"


@pytest.mark.rule("N3")
@pytest.mark.parametrize("client_protocol", PROTOCOLS)
async def test_a_response_to_a_stream_is_a_stream_whatever_its_caller_announced(
    client_protocol: int,
) -> None:
    async with callee(greet) as (_, server):
        server.announce(peer("bob", client_protocol))
        send_header(server, request_header())
        assert await expect_ack(server) == "1"
        response = await expect_whole_stream(server)
        assert response.header.topic == RESPONSE_TOPIC
        assert response.content == b"hello"
        assert response.destinations == {("bob",)}
        assert response.form == ("inline" if client_protocol >= 2 else "chunked")


@pytest.mark.rule("N3")
@pytest.mark.parametrize("client_protocol", [0, 2])
@pytest.mark.parametrize("answer", ["packet", "stream"])
async def test_a_caller_accepts_a_response_of_either_kind(
    client_protocol: int, answer: str
) -> None:
    async with caller(server_with(peer("bob", client_protocol))) as alice:
        call = alice.call()
        if client_protocol == 0:
            request_id = (await alice.expect_request()).id
        else:
            stream = await expect_whole_stream(alice.server)
            request_id = stream.attributes["lk.rpc_request_id"]
        if answer == "packet":
            alice.respond(request_id, "hello")
        else:
            send_header(alice.server, response_header(request_id, b"hello"))
        assert await call.outcome() == "hello"
        await alice.settle()
        assert alice.pending_calls == 0


# Between participants of this library


@pytest.mark.rule("N4", "C10")
@pytest.mark.parametrize("client_protocol", [1, 2])
async def test_a_small_request_to_one_of_ours_is_a_packet(client_protocol: int) -> None:
    ours = peer("bob", client_protocol, [CANCELLATION])
    async with caller(server_with(ours), room=Room(max_payload_bytes=100_000)) as alice:
        alice.call("\u00e9" * (MAX_PAYLOAD_BYTES // 2))
        assert len((await alice.expect_request()).payload.encode()) == MAX_PAYLOAD_BYTES
        alice.call("\u00e9" * (MAX_PAYLOAD_BYTES // 2) + "x")
        stream = await expect_whole_stream(alice.server)
        assert len(stream.content) == MAX_PAYLOAD_BYTES + 1


@pytest.mark.rule("N4", "A8")
@pytest.mark.parametrize("client_protocol", [1, 2])
@pytest.mark.parametrize("excess", [0, 1])
async def test_the_response_to_a_packet_of_ours_is_a_stream_if_it_is_large(
    client_protocol: int, excess: int
) -> None:
    text = "\u00e9" * (MAX_PAYLOAD_BYTES // 2) + "x" * excess

    async def answer(_: object) -> str:
        return text

    async with callee(answer, max_payload_bytes=MAX_PAYLOAD_BYTES + 1) as (_, server):
        server.announce(peer("bob", client_protocol, [CANCELLATION]))
        send_request(server)
        assert await expect_ack(server) == "1"
        if excess:
            response = await expect_whole_stream(server)
            assert response.header.topic == RESPONSE_TOPIC
            assert response.attributes == {"lk.rpc_request_id": "1"}
            assert response.content == text.encode()
        else:
            assert (await expect_response(server)).payload == text


@pytest.mark.rule("N4", "A8")
async def test_a_response_to_a_packet_of_ours_has_the_limit_of_the_room() -> None:
    async def answer(_: object) -> str:
        return "x" * 20_001

    async with callee(answer, max_payload_bytes=20_000) as (_, server):
        server.announce(peer("bob", 2, [CANCELLATION]))
        send_request(server)
        await expect_ack(server)
        assert (await expect_response(server)).error.code == 1504


@pytest.mark.rule("N4", "A8")
@pytest.mark.parametrize("is_in_room", [False, True])
async def test_a_large_response_to_a_packet_of_anybody_else_is_refused(is_in_room: bool) -> None:
    async def answer(_: object) -> str:
        return "x" * (MAX_PAYLOAD_BYTES + 1)

    async with callee(answer, max_payload_bytes=100_000) as (_, server):
        if is_in_room:
            server.announce(peer("bob", 2, [DEFLATE_RAW]))
        send_request(server)
        await expect_ack(server)
        assert (await expect_response(server)).error.code == 1504


@pytest.mark.rule("N4")
@pytest.mark.parametrize("size", [0, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 1, 60_000])
async def test_responses_of_any_size_come_back_between_ours(join: Join, size: int) -> None:
    rooms = {identity: Room(max_payload_bytes=60_000) for identity in ("alice", "bob")}

    @rooms["bob"].register_rpc_method("repeat")
    async def repeat(data: RpcInvocationData) -> str:
        return "x" * int(data.payload)

    async with join("alice", room=rooms["alice"]) as alice, join("bob", room=rooms["bob"]):
        bob = await alice.wait_for_participant("bob")
        assert await bob.perform_rpc("repeat", str(size)) == "x" * size


@pytest.mark.rule("N4", "R5")
async def test_the_calls_of_a_server_are_answered_at_any_size(
    join: Join, server: RoomServer
) -> None:
    room = Room(max_payload_bytes=60_000)

    @room.register_rpc_method("repeat")
    async def repeat(data: RpcInvocationData) -> str:
        return "x" * int(data.payload)

    async with join("bob", room=room):
        answer = await server.perform_rpc(ROOM, "bob", "repeat", "60000")
        assert answer == "x" * 60_000


class LateServer(ScriptedServer):
    """A server that may announce participants late."""

    @asynccontextmanager
    async def open_link(self, token: str, request: rtc.JoinRequest) -> AsyncIterator[Link]:
        async with super().open_link(token, request) as link:
            link.roster_delay = 3.0
            yield link


@pytest.mark.rule("N4")
async def test_where_participants_are_announced_late_requests_are_streams() -> None:
    """The callee may not know yet that its caller accepts streams."""
    server = LateServer(others=())
    server.join.other_participants.append(peer("bob", 2, [CANCELLATION]))
    async with caller(server) as alice:
        alice.call("hi")
        assert (await expect_whole_stream(server)).content == b"hi"


# Older SDKs


@pytest.mark.rule("N3")
async def test_a_participant_of_an_older_sdk_and_one_of_ours_call_each_other(
    join: Join, server: RoomServer
) -> None:
    """Our own rooms on both sides, one of which the server takes for an old one."""
    old, new = Room(), Room()
    for room in (old, new):
        room.register_rpc_method("greet", greet)
    async with join("new", room=new), join("old", room=old, to=As(server, OLD)):
        for room, other in ((old, "new"), (new, "old")):
            await room.wait_for_participant(other)
            with anyio.fail_after(1):
                answer = await room.local_participant.perform_rpc(
                    destination_identity=other, method="greet", payload="hi"
                )
            assert answer == "hello"
