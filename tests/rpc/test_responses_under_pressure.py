"""Responses that have no room on their way when their participant leaves: rules A9 and A12."""

from __future__ import annotations

import pytest
from livekit.protocol import models

from trio_rpc import Room, RpcError, RpcInvocationData
from trio_rpc.protocol.limits import MAX_PACKET_BYTES

from ..support.callee import METHOD, expect_ack, failure, leave
from ..support.clients import Holding
from ..support.stream_packets import peer, request_header, send_header, server_with

pytestmark = pytest.mark.anyio


def response_chunks(packet: models.DataPacket) -> bool:
    return packet.HasField("stream_chunk")


@pytest.mark.rule("A9", "A12", "P7")
@pytest.mark.parametrize("size", [15_360, 15_361, 100_000])
async def test_a_final_response_is_one_packet_that_the_server_takes(size: int) -> None:
    async def answer(_data: RpcInvocationData) -> str:
        return "x" * size

    server = server_with(peer("bob", 1))
    holding = Holding(server, response_chunks)
    room = Room(max_payload_bytes=100_000)
    room.register_rpc_method(METHOD, answer)
    async with room.connect(holding, "a token"):
        send_header(server, request_header())
        await expect_ack(server)
        await server.expect_packet("stream_header")
        await holding.link.held.wait()
        (packet,) = [each for each in await leave(room, server) if each.HasField("rpc_response")]
        assert packet.ByteSize() <= MAX_PACKET_BYTES
        if size > 15_360:
            assert failure(packet.rpc_response)[0] == RpcError.ErrorCode.RECIPIENT_DISCONNECTED
        else:
            assert len(packet.rpc_response.payload) == size
