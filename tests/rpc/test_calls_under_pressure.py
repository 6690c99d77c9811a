"""Calls whose request has no room on its way: rules C1, C3, C4, C8 and C13 for RPC v2."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
import pytest
from attrs import define
from livekit.protocol import models

from trio_rpc import Room, RpcError

from ..support.caller import Call, Caller, built_in, caller
from ..support.clients import Holding, HoldingLink
from ..support.scripted_server import ScriptedServer
from ..support.stream_packets import (
    peer,
    response_header,
    send_header,
    server_with,
)

pytestmark = pytest.mark.anyio

#: Larger than a packet with inline content, to a peer that does not inflate.
PAYLOAD: Final = "x" * 40_000
codes = RpcError.ErrorCode


@define
class Held:
    alice: Caller
    server: ScriptedServer
    link: HoldingLink

    async def header(self) -> models.DataStream.Header:
        return (await self.server.expect_packet()).stream_header


@asynccontextmanager
async def alice_holding(
    holds: Callable[[models.DataPacket], bool],
    *,
    client_protocol: int = 2,
    capabilities: tuple[int, ...] = (),
) -> AsyncIterator[Held]:
    """Alice, whose link has no room for what `holds` names."""
    server = server_with(peer("bob", client_protocol, capabilities))
    holding = Holding(server, holds)
    async with caller(holding, room=Room(max_payload_bytes=100_000)) as alice:  # type: ignore[arg-type]
        alice.server = server
        yield Held(alice, server, holding.link)


def everything(packet: models.DataPacket) -> bool:
    return True


def all_but_headers(packet: models.DataPacket) -> bool:
    return not packet.HasField("stream_header")


def gone(identity: str) -> models.ParticipantInfo:
    info = peer(identity)
    info.state = models.ParticipantInfo.DISCONNECTED
    return info


@pytest.mark.rule("C3")
@pytest.mark.parametrize("client_protocol", [0, 1, 2])
async def test_the_timeout_on_the_wire_is_what_is_left_when_the_header_is_written(
    client_protocol: int,
) -> None:
    async with alice_holding(everything, client_protocol=client_protocol) as held:
        held.alice.call("hi", response_timeout=5)
        await anyio.sleep(2)
        held.link.released.set()
        packet = await held.server.expect_packet()
        timeout_ms = packet.rpc_request.response_timeout_ms or int(
            packet.stream_header.attributes["lk.rpc_request_response_timeout_ms"]
        )
        assert timeout_ms == 2_999


@pytest.mark.rule("C1", "C2")
@pytest.mark.parametrize("holds", [everything, all_but_headers])
@pytest.mark.parametrize(("response_timeout", "seconds"), [(2, 2), (20, 7)])
async def test_a_call_whose_request_finds_no_room_takes_no_longer_than_it_may(
    holds: Callable[[models.DataPacket], bool], response_timeout: float, seconds: float
) -> None:
    async with alice_holding(holds) as held:
        call = held.alice.call(PAYLOAD, response_timeout=response_timeout)
        code, _, _ = await call.failure()
        assert code == (codes.RESPONSE_TIMEOUT if seconds == 2 else codes.CONNECTION_TIMEOUT)
        assert call.seconds == pytest.approx(seconds)
        assert held.alice.pending_calls == 0


@pytest.mark.rule("C13")
async def test_a_call_is_forgotten_at_once_though_its_request_finds_no_room() -> None:
    async with alice_holding(all_but_headers) as held:
        with anyio.move_on_after(1) as scope:
            await held.alice.room.local_participant.perform_rpc(
                destination_identity="bob", method="greet", payload=PAYLOAD
            )
        assert scope.cancelled_caught
        assert anyio.current_time() == pytest.approx(scope.deadline)
        assert held.alice.pending_calls == 0


@pytest.mark.rule("C4")
@pytest.mark.parametrize("as_stream", [False, True])
async def test_a_response_ends_a_call_whose_request_is_not_sent_yet(as_stream: bool) -> None:
    async with alice_holding(all_but_headers) as held:
        call = held.alice.call(PAYLOAD)
        request_id = (await held.header()).attributes["lk.rpc_request_id"]
        await held.link.held.wait()
        if as_stream:
            send_header(held.server, response_header(request_id, b"hello"))
        else:
            held.alice.respond(request_id, "hello")
        assert await call.outcome() == "hello"
        assert call.seconds == 0


@pytest.mark.rule("C5", "C13")
async def test_a_call_that_is_cancelled_after_its_response_leaves_nothing_to_the_next() -> None:
    async with alice_holding(all_but_headers) as held:
        room = held.alice.room
        for _ in range(3):
            with anyio.CancelScope() as scope:
                room.once("data_received", lambda _, scope=scope: scope.cancel())
                async with anyio.create_task_group() as task_group:
                    arguments = {"destination_identity": "bob", "method": "greet"}
                    task_group.start_soon(Call(room, arguments | {"payload": PAYLOAD}).run)
                    request_id = (await held.header()).attributes["lk.rpc_request_id"]
                    await held.link.held.wait()
                    # Both in one message, before its task has had a turn
                    held.alice.respond(request_id, "earlier")
                    held.server.send_from("bob", user=models.UserPacket(payload=b"now"))
            later = held.alice.call("hi")
            request_id = (await held.header()).attributes["lk.rpc_request_id"]
            held.alice.respond(request_id)
            assert await later.outcome() == "hello"


@pytest.mark.rule("C8")
@pytest.mark.parametrize("client_protocol", [0, 2])
async def test_the_callee_leaves_while_the_request_finds_no_room(client_protocol: int) -> None:
    async with alice_holding(everything, client_protocol=client_protocol) as held:
        call = held.alice.call("hi")
        await held.link.held.wait()
        held.server.announce(gone("bob"))
        assert await call.failure() == built_in(codes.RECIPIENT_DISCONNECTED, "'bob' left the room")
        assert call.seconds == 0


@pytest.mark.rule("C13")
async def test_the_link_is_of_use_after_a_request_was_given_up() -> None:
    async with alice_holding(all_but_headers) as held:
        call = held.alice.call(PAYLOAD, response_timeout=1)
        await call.failure()
        assert not (await held.header()).HasField("inline_content")
        held.link.released.set()
        second = held.alice.call("hi")
        header = await held.header()
        assert header.inline_content == b"hi"
        held.alice.respond(header.attributes["lk.rpc_request_id"])
        assert await second.outcome() == "hello"
