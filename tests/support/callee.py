"""A participant that answers, and a test that exchanges packets with it one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from livekit.protocol import models, rtc

from trio_rpc import Room
from trio_rpc.client.loss import OnDisconnect

from .scripted_server import ScriptedServer

#: The method that the participant answers to.
METHOD: Final = "greet"


@asynccontextmanager
async def callee(
    handler: Any, *, on_disconnect: OnDisconnect = "raise", **limits: Any
) -> AsyncIterator[tuple[Room, ScriptedServer]]:
    """Connect "alice", who answers to `METHOD` with `handler`, to a scripted server."""
    room, server = Room(**limits), ScriptedServer()
    room.register_rpc_method(METHOD, handler)
    async with room.connect(server, "a token", reconnect=None, on_disconnect=on_disconnect):
        yield room, server


def send_request(
    server: ScriptedServer,
    request_id: str = "1",
    *,
    method: str = METHOD,
    payload: str = "hi",
    timeout_ms: int = 5_000,
    version: int = 1,
) -> None:
    """Send a request of "bob"."""
    server.send_from(
        "bob",
        rpc_request=models.RpcRequest(
            id=request_id,
            method=method,
            payload=payload,
            response_timeout_ms=timeout_ms,
            version=version,
        ),
    )


async def expect_ack(server: ScriptedServer) -> str:
    """Receive the next message, which must be an ack, and return the id of its request."""
    packet = await server.expect_packet("rpc_ack")
    assert packet.destination_identities == ["bob"]
    return packet.rpc_ack.request_id


async def expect_response(server: ScriptedServer) -> models.RpcResponse:
    """Receive the next message, which must be a response."""
    packet = await server.expect_packet("rpc_response")
    assert packet.destination_identities == ["bob"]
    return packet.rpc_response


async def leave(room: Room, server: ScriptedServer) -> list[models.DataPacket]:
    """Leave the room; the packets that were sent since the last that was received."""
    await room.disconnect()
    return await receive_last_packets(server)


async def receive_last_packets(server: ScriptedServer) -> list[models.DataPacket]:
    """Receive the packets until the link is closed; a single `LeaveRequest` is left out."""
    messages, _ = await server.receive_rest()
    requests = [each for each in messages if isinstance(each, rtc.SignalRequest)]
    assert [request.WhichOneof("message") for request in requests] == ["leave"]
    return [each for each in messages if isinstance(each, models.DataPacket)]


async def exchange(handler: Any, **request: Any) -> models.RpcResponse:
    """Send "alice" a request, and return the response: an ack comes before it, nothing after it."""
    async with callee(handler) as (room, server):
        send_request(server, **request)
        assert await expect_ack(server) == "1"
        response = await expect_response(server)
        assert response.request_id == "1"
        assert await leave(room, server) == []
    return response


def failure(response: models.RpcResponse) -> tuple[int, str, str]:
    """Return the code, message and data of an error response."""
    assert response.WhichOneof("value") == "error", response
    error = response.error
    return error.code, error.message, error.data
